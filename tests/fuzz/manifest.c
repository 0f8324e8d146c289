/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a manifest: an error or a manifest whose normalised text reads back as the same. */
#include "base/base.h"
#include "manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_manifest *m = NULL, *again = NULL;
	char *text, *text2;
	struct kp_err err = {0};
	int rc = kp_manifest_parse((const char *)data, size, "m", &m, &err);

	if (rc) {
		if (!err.text[0] || m)
			abort();
		return 0;
	}
	text = kp_manifest_normalised(m, NULL);
	if (kp_manifest_parse(text, strlen(text), "n", &again, &err) < 0)
		abort();
	text2 = kp_manifest_normalised(again, NULL);
	if (strcmp(text, text2) != 0)
		abort();
	free(text);
	free(text2);
	kp_manifest_free(m);
	kp_manifest_free(again);
	return 0;
}

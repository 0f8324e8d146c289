/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as what a guest asks of the registry: refused, or the same bytes when it is written again, and an answer. */
#include "registry/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_buf kp_autobuf again = {0}, out = {0}, answer = {0};
	struct kp_err err = {0}, told = {0};
	struct kp_reg_request q;
	struct kp_hive_tree *t;
	struct kp_reg *r = NULL;
	const char *text;
	size_t len;
	int rc;

	if (kp_reg_request_decode((const char *)data, size, &q))
		return 0;
	kp_reg_request_encode(&q, &again);
	if (again.len != size || memcmp(again.data, data, size) != 0)
		abort();
	t = kp_hive_tree_new();
	(void)kp_hive_tree_set(t, "HKCU\\a\\b", "v", &(struct kp_reg_data){KP_REG_SZ, 4, "text"});
	if (kp_reg_open(&(struct kp_reg_options){.policy = t}, &r, &err) < 0)
		abort();
	rc = kp_reg_perform(r, &q, &out, &err);
	if (rc && !err.text[0])
		abort();
	kp_reg_answer_encode(rc, &err, &out, &answer);
	if (kp_reg_answer_decode(answer.data, answer.len, &text, &len, &told) != rc || (!rc && (len != out.len || memcmp(text, out.data ? out.data : "", len) != 0)))
		abort();
	(void)kp_reg_free(r);
	(void)kp_hive_tree_free(t);
	return 0;
}

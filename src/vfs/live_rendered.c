/* SPDX-License-Identifier: Apache-2.0 */
/* Projected files of an instance that is only looked at: is one as it was rendered, or has it anything of its own? */
#include <fcntl.h>

#include "projection/merge.h"
#include "vfs/internal.h"
#include "vfs/live.h"

void kp_live_record_name(const char *guest, char out[KP_LIVE_RECORD])
{
	(void)snprintf(out, KP_LIVE_RECORD, "%016llx", (unsigned long long)kp_hash_string(guest));
}

const struct kp_live_file *kp_live_projected(const struct kp_vfs *v, const char *guest)
{
	for (size_t i = 0; i < v->projected_count; i++)
		if (!strcmp(v->projected[i].guest, guest))
			return &v->projected[i];
	return NULL;
}

bool kp_live_is_rendered(const struct kp_live_file *f, int upper_fd, const char *text, size_t len, const char *below, size_t below_len)
{
	kp_autoclose int dir = openat(upper_fd, "../" KP_LIVE_RECORDS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	kp_autosettings struct kp_settings values = {0};
	kp_autobuf struct kp_buf printed = {0};
	kp_autofree char *record = NULL;
	char name[KP_LIVE_RECORD];
	struct kp_doc *doc = NULL;
	const char *left;
	size_t size, left_len;

	kp_live_record_name(f->guest, name);
	if (dir < 0 || kp_read_file(dir, name, 4UL * KP_PROJECTION_MAX, &record, &size) || kp_projection_unpack(record, size, &left, &left_len, &values) ||
	    left_len != len || memcmp(left, text, len) != 0 || kp_doc_parse(f->format, below, below_len, &doc, NULL))
		return false;
	kp_projection_render(doc, NULL, &values, NULL);
	kp_doc_print(doc, &printed);
	kp_doc_free(doc);
	return printed.len == len && (!len || !memcmp(printed.data, text, len));
}

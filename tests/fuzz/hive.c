/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a hive: walked, looked up, never read outside. The first byte is for alignment only. */
#include "registry/hive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long sum;

static void touch(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += ((const unsigned char *)bytes)[i];
}

static void look(const struct kp_hive *h, uint32_t id)
{
	struct kp_hive_value v;
	struct kp_hive_key k, kid;
	uint32_t found;

	if (kp_hive_key(h, id, &k))
		return;
	touch(k.name, k.name_len + 1);
	touch(k.fold, k.fold_len + 1);
	for (uint32_t i = 0; i < k.key_count && i < 64; i++)
		if (!kp_hive_key(h, k.first_key + i, &kid) && !kp_hive_find_key(h, id, kid.fold, kid.fold_len, &found) && found >= h->head.key_count)
			abort();
	for (uint32_t i = 0; i < k.value_count && i < 64; i++) {
		if (kp_hive_value(h, k.first_value + i, &v))
			continue;
		touch(v.name, v.name_len + 1);
		touch(v.d.data, v.d.len);
		if (!kp_hive_find_value(h, id, v.fold, v.fold_len, &found) && found >= h->head.value_count)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	kp_autofree char *mem = kp_calloc(1, size ? size : 1);
	struct kp_hive h;

	if (size)
		memcpy(mem, data, size);
	if (!kp_hive_open_memory(mem, size, &h))
		for (uint32_t id = 0; id < h.head.key_count && id < 4096; id++)
			look(&h, id);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel cache: looks after the object store. */
#include <inttypes.h>

#include "cmd/cmd.h"
#include "instance/config.h"
#include "store/store.h"

static int show(struct kp_store *store, bool json, struct kp_err *err)
{
	kp_autofree char *root = kp_shown(kp_store_root(store));
	struct kp_store_usage u = {0};
	char all[16], unused[16];
	int r = kp_store_usage(store, &u, err);

	if (r < 0)
		return r;
	if (json) {
		struct kp_buf kp_autobuf b = {0};

		kp_buf_quoted(&b, kp_store_root(store));
		printf("{\"path\":%s,\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"images\":%" PRIu64
		       ",\"unused_objects\":%" PRIu64 ",\"unused_bytes\":%" PRIu64 ",\"noexec\":%s}\n",
		       b.data, u.objects, u.bytes, u.images, u.unused_objects, u.unused_bytes,
		       kp_store_noexec(store) ? "true" : "false");
		return 0;
	}
	kp_size_text(u.bytes, all, sizeof(all));
	kp_size_text(u.unused_bytes, unused, sizeof(unused));
	printf("%s%s\n%" PRIu64 " objects, %s, of %" PRIu64 " images\n%" PRIu64 " objects, %s, belong to no image\n", root,
	       kp_store_noexec(store) ? " (noexec)" : "", u.objects, all, u.images, u.unused_objects, unused);
	return 0;
}

static int trim(struct kp_store *store, const char *days_text, bool json, struct kp_err *err)
{
	uint64_t freed = 0;
	long days = 0;
	char text[16];
	int r = days_text ? kp_args_number("older-than", days_text, 0, 36500, &days, err) : 0;

	if (!r)
		r = kp_store_trim(store, (uint64_t)days * 86400, &freed, err);
	if (r < 0)
		return r;
	kp_size_text(freed, text, sizeof(text));
	if (json)
		printf("{\"freed\":%" PRIu64 "}\n", freed);
	else
		printf("%s freed\n", text);
	return 0;
}

static int verify(struct kp_store *store, bool repair, bool json, struct kp_err *err)
{
	uint64_t checked = 0, bad = 0;
	int r = kp_store_verify(store, repair, &checked, &bad, err);

	if (r < 0)
		return r;
	if (json)
		printf("{\"checked\":%" PRIu64 ",\"bad\":%" PRIu64 "}\n", checked, bad);
	else
		printf("%" PRIu64 " objects checked, %" PRIu64 " damaged%s\n", checked, bad,
		       bad && repair ? ", removed" : "");
	if (!bad || repair)
		return 0;
	(void)kp_fail(err, EIO, "%s: %" PRIu64 " damaged objects", kp_store_root(store), bad);
	return kp_hint(err, "kapsel cache verify --repair removes them; they are unpacked anew when needed");
}

int kp_cmd_cache(const struct kp_args *args, struct kp_err *err)
{
	const char *what = args->operands[0];
	bool json = kp_args_has(args, "json");
	struct kp_store *store;
	int r;

	if (strcmp(what, "show") && strcmp(what, "trim") && strcmp(what, "verify")) {
		(void)kp_fail(err, EINVAL, "cache: %s: unknown", what);
		return kp_hint(err, "usage: kapsel cache %s", args->verb->usage);
	}
	r = kp_store_open(&store, err);
	if (r < 0)
		return r;
	if (!strcmp(what, "show"))
		r = show(store, json, err);
	else if (!strcmp(what, "trim"))
		r = trim(store, kp_args_get(args, "older-than"), json, err);
	else
		r = verify(store, kp_args_has(args, "repair"), json, err);
	(void)kp_store_free(store);
	return r < 0 ? r : kp_flush(err);
}

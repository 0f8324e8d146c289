/* SPDX-License-Identifier: Apache-2.0 */
/* Host paths (links of /proc/PID/fd and cwd, lines of maps) back to guest paths. Pure but for the image's index,
 * and a look at names that end as those of deleted objects do. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "vfs/internal.h"
#include "vfs/resolve.h"

#define MEMFD_UPPER "/memfd:" KP_MEMFD_UPPER

static bool take_guest(struct kp_mapped *m, enum kp_map_kind kind, const char *prefix, const char *rest)
{
	if (!strcmp(prefix, "/"))
		prefix = "";
	if (!*prefix && !*rest)
		rest = "/";
	if ((size_t)snprintf(m->guest.s, sizeof(m->guest.s), "%s%s", prefix, rest) >= sizeof(m->guest.s))
		return false;
	m->kind = kind;
	return true;
}

static bool take_id(const struct kp_vfs *v, size_t layer, unsigned long id, struct kp_mapped *m)
{
	if (id >= kp_image_count(v->layers[layer].image))
		return false;
	if (kp_image_path(v->layers[layer].image, (uint32_t)id, m->guest.s, sizeof(m->guest.s)))
		return false;
	m->kind = KP_MAP_IMAGE;
	m->layer = layer;
	m->entry = (uint32_t)id;
	return true;
}

static bool take_entry(const struct kp_vfs *v, size_t layer, const char *number, struct kp_mapped *m)
{
	char *end;
	unsigned long id = strtoul(number, &end, 10);

	return end != number && !*end && take_id(v, layer, id, m);
}

/* A copy of a library's code: "LAYER.ENTRY.SLOTS.N" (internal.h). */
static bool parse_code(const struct kp_vfs *v, const char *host, unsigned *ret_layer, unsigned *ret_entry, uint64_t *ret_slots)
{
	const char *name = kp_path_below(host, v->code.s);

	return name && sscanf(name, "/%u.%u.%" SCNx64 ".", ret_layer, ret_entry, ret_slots) == 3 && *ret_layer < v->layer_count;
}

bool kp_map_slots(const struct kp_vfs *v, const char *host, uint64_t *ret_offset)
{
	unsigned layer, entry;

	return parse_code(v, host, &layer, &entry, ret_offset);
}

/* "/memfd:kapsel:<16 hex digits>:<id>": an ELF file of an image on a store that does not allow exec. */
static bool take_memfd(const struct kp_vfs *v, const char *host, struct kp_mapped *m)
{
	const char *p = host + strlen("/memfd:kapsel:");
	char hex[KP_DIGEST_LEN * 2 + 1];

	for (size_t i = 0; i < v->layer_count; i++) {
		kp_hex(hex, kp_image_digest(v->layers[i].image), KP_DIGEST_LEN);
		if (!strncmp(p, hex, 16) && p[16] == ':')
			return take_entry(v, i, p + 17, m);
	}
	return false;
}

static bool map_text(const struct kp_vfs *v, const char *host, struct kp_mapped *m)
{
	const struct kp_bind *best = NULL;
	unsigned code_layer, code_entry;
	const char *rest;
	size_t best_len = 0;
	uint64_t slots;

	for (size_t i = 0; i < v->layer_count; i++) {
		rest = kp_path_below(host, v->store_dir[i].s);
		if (rest && *rest && take_entry(v, i, rest + 1, m))
			return true;
	}
	if (kp_path_below(host, v->code.s))
		return parse_code(v, host, &code_layer, &code_entry, &slots) && take_id(v, code_layer, code_entry, m);
	if ((rest = kp_path_below(host, v->upper.s)))
		return take_guest(m, KP_MAP_UPPER, "", rest);
	if ((rest = kp_path_below(host, v->dirs.s)))
		return take_guest(m, KP_MAP_GUEST, "", rest);
	if ((rest = kp_path_below(host, v->base_dir.s)))
		return take_guest(m, KP_MAP_GUEST, "", rest);
	if (!strncmp(host, "/memfd:kapsel:", 14))
		return take_memfd(v, host, m);
	if (!strncmp(host, MEMFD_UPPER, sizeof(MEMFD_UPPER) - 1)) {
		m->copy = true;
		return take_guest(m, KP_MAP_GUEST, "", host + sizeof(MEMFD_UPPER) - 1);
	}
	for (size_t i = 0; i < v->bind_count; i++) {
		rest = kp_path_below(host, v->binds[i].host);
		if (rest && strlen(v->binds[i].host) >= best_len) {
			best = &v->binds[i];
			best_len = strlen(best->host);
		}
	}
	if (kp_path_below(host, "/proc"))
		return take_guest(m, KP_MAP_GUEST, "", host);
	if (!strncmp(host, "/memfd:", 7) || !strncmp(host, "/SYSV", 5))
		return false;
	for (size_t i = 0; i < v->rule_count; i++) {
		const char *below = kp_path_below(host, v->rules[i].host);
		size_t len = strlen(v->rules[i].host);

		if (v->rules[i].dots) {
			if (below && (below[0] != '/' || below[1] != '.'))
				continue;
			len += 2; /* deeper than the rule for the directory itself */
		}
		if (below && (len > best_len || (len == best_len && !best))) {
			best = NULL;
			m->rule = &v->rules[i];
			best_len = len;
		}
	}
	m->read_only = best && best->read_only;
	if (best)
		return take_guest(m, KP_MAP_GUEST, best->guest, kp_path_below(host, best->host));
	if (!m->rule || m->rule->mode == KP_MODE_FULL)
		return false;
	return take_guest(m, KP_MAP_GUEST, m->rule->guest, kp_path_below(host, m->rule->host));
}

/* The deepest rule or bind at a guest path is r. */
static bool rules(const struct kp_vfs *v, const struct kp_rule *r, const char *guest)
{
	size_t len = strlen(r->guest);

	for (size_t i = 0; i < v->bind_count; i++)
		if (strlen(v->binds[i].guest) >= len && kp_path_below(guest, v->binds[i].guest))
			return false;
	for (size_t i = 0; i < v->rule_count; i++)
		if (&v->rules[i] != r && strlen(v->rules[i].guest) > len && kp_path_below(guest, v->rules[i].guest))
			return false;
	return !r->dots || kp_path_below(guest, r->guest)[1] == '.';
}

/* A mode under which the host stays as it is shows that host path, too. */
static bool is_kept(const struct kp_vfs *v, const char *host)
{
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];
		const char *below = kp_path_below(host, r->host);
		struct kp_hpath guest;

		if (r->mode == KP_MODE_WRITECOPY && below && !kp_path_join(guest.s, sizeof(guest.s), r->guest, below) && rules(v, r, guest.s))
			return true;
	}
	return false;
}

void kp_map_host(const struct kp_vfs *v, const char *host, struct kp_mapped *ret)
{
	static const char mark[] = " (deleted)";
	size_t len = strlen(host), cut = sizeof(mark) - 1;
	char text[PATH_MAX + sizeof(mark)];

	ret->kind = KP_MAP_FOREIGN;
	ret->deleted = ret->copy = ret->kept = ret->read_only = false;
	ret->loader = !strcmp(host, v->loader.s);
	ret->rule = NULL;
	if (host[0] != '/' || len >= sizeof(text))
		return;
	memcpy(text, host, len + 1);
	/* An object may be called so: then it is there under that name. */
	if (len > cut && !strcmp(text + len - cut, mark) && faccessat(AT_FDCWD, host, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		text[len - cut] = '\0';
		ret->deleted = strncmp(text, "/memfd:kapsel", 13) != 0 && !kp_path_below(text, v->code.s);
	}
	if (!map_text(v, text, ret)) {
		ret->kind = KP_MAP_FOREIGN;
		ret->rule = NULL;
	} else if (ret->kind == KP_MAP_IMAGE || (ret->rule && ret->rule->mode == KP_MODE_WRITECOPY) || kp_path_below(text, v->base_dir.s)) {
		kp_moves_find(v, &ret->guest);
	} else if (ret->kind == KP_MAP_GUEST) {
		ret->kept = is_kept(v, text);
	}
}

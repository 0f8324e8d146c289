/* SPDX-License-Identifier: Apache-2.0 */
/* Mode expressions as chmod(1) reads them, and paths as the manifest takes them. */
#include <limits.h>
#include <sys/stat.h>

#include "base/base.h"
#include "manifest/manifest.h"

static mode_t who_mask(char c)
{
	return c == 'u' ? 0700 : c == 'g' ? 0070 : c == 'o' ? 0007 : c == 'a' ? 0777 : 0;
}

/* One permission letter, spread over user, group and others; ~0 for none. */
static mode_t perm_bits(char c, mode_t mode, bool is_dir)
{
	switch (c) {
	case 'r': return 0444;
	case 'w': return 0222;
	case 'x': return 0111;
	case 'X': return is_dir || (mode & 0111) ? 0111 : 0;
	case 'u': return (mode >> 6 & 7) * 0111;
	case 'g': return (mode >> 3 & 7) * 0111;
	case 'o': return (mode & 7) * 0111;
	case 's': return 0;
	case 't': return 01000;
	default: return (mode_t)~0U;
	}
}

/* One clause ("go=rX"): returns what stands after it, or NULL. */
static const char *clause(const char *s, mode_t *mode, bool is_dir)
{
	mode_t who = 0;

	while (who_mask(*s))
		who |= who_mask(*s++);
	if (*s != '+' && *s != '-' && *s != '=')
		return NULL;
	while (*s == '+' || *s == '-' || *s == '=') {
		char op = *s++;
		mode_t bits = 0, limit = who ? who : 0755, one;

		for (; *s && !strchr("+-=,", *s); s++) {
			one = perm_bits(*s, *mode, is_dir);
			if (one == (mode_t)~0U)
				return NULL;
			bits |= one;
		}
		bits &= limit | 01000;
		if (op == '=')
			*mode &= ~(who ? who : (mode_t)0777);
		*mode = op == '-' ? *mode & ~bits : *mode | bits;
	}
	return s;
}

int kp_mode_apply(const char *expr, mode_t mode, bool is_dir, mode_t *ret_mode)
{
	const char *s = expr;

	mode &= 01777;
	if (*s >= '0' && *s <= '7') {
		char *end;
		unsigned long v = strtoul(s, &end, 8);

		if (*end || end - s > 5 || v > 07777)
			return -EINVAL;
		*ret_mode = (mode_t)v & 01777;
		return 0;
	}
	for (;;) {
		s = clause(s, &mode, is_dir);
		if (!s)
			return -EINVAL;
		if (!*s)
			break;
		s++;
	}
	*ret_mode = mode;
	return 0;
}

int kp_path_normalise(const char *path, char **ret_path)
{
	struct kp_buf b = {0};
	int rc = 0;

	if (path[0] != '/')
		return -EINVAL;
	while (!rc && *path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !strncmp(path, "..", 2))
			rc = -EINVAL;
		else if (len > NAME_MAX || b.len + len + 2 > PATH_MAX)
			rc = -ENAMETOOLONG;
		else if (len && !(len == 1 && *path == '.')) {
			kp_buf_puts(&b, "/");
			kp_buf_add(&b, path, len);
		}
		path += len + (path[len] == '/');
	}
	if (rc) {
		kp_buf_free(&b);
		return rc;
	}
	*ret_path = b.len ? b.data : kp_strdup("/");
	return 0;
}

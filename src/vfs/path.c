/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical guest paths as text. */
#include "base/base.h"
#include "vfs/node.h"

const char *kp_gpath_name(const struct kp_gpath *p)
{
	return strrchr(p->s, '/') + 1;
}

void kp_gpath_parent(const struct kp_gpath *p, struct kp_gpath *ret_parent)
{
	size_t len = (size_t)(kp_gpath_name(p) - p->s);

	if (len > 1)
		len--;
	memmove(ret_parent->s, p->s, len);
	ret_parent->s[len] = '\0';
}

int kp_gpath_push(struct kp_gpath *p, const char *name, size_t len)
{
	size_t at = strlen(p->s);

	if (at == 1)
		at = 0;
	if (at + 1 + len >= sizeof(p->s))
		return -ENAMETOOLONG;
	p->s[at] = '/';
	memcpy(p->s + at + 1, name, len);
	p->s[at + 1 + len] = '\0';
	return 0;
}

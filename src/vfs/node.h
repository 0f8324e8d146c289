/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolved names: what a guest path stands for, and in which layer. Values only; nothing here owns
 * memory or descriptors, and nothing stays true after the vfs lock is let go.
 */
#ifndef KAPSEL_VFS_NODE_H
#define KAPSEL_VFS_NODE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "vfs/vfs.h"

#define KP_MAX_LAYERS 16
#define KP_MAX_LINKS 40 /* the kernel's MAXSYMLINKS */

/* Canonical absolute path in the guest's terms: no symlinks, no "." or "..", no trailing slash. */
struct kp_gpath {
	char s[PATH_MAX];
};

/* Absolute path in the host's terms. */
struct kp_hpath {
	char s[PATH_MAX];
};

/* Who asks: the caller's file system identity. */
struct kp_cred {
	uid_t uid;
	gid_t gid;
	gid_t groups[64];
	size_t group_count;
	bool privileged; /* has the capabilities that make file modes and owners not count */
};

enum kp_origin {
	KP_ABSENT, /* no such name; node.parent says where it would be made */
	KP_UPPER,  /* the instance */
	KP_IMAGE,  /* an image: layer and entry */
	KP_BASE,   /* generated for this run (base.c) */
	KP_HOST,   /* shown by a bind, or by the modes writecopy and merged */
	KP_PROC,   /* /proc: the host's, filtered and translated */
	KP_REG,    /* /proc/registry: the registry as files (regtree.h) */
	KP_MAGIC,  /* reached through a /proc/PID/fd link that has no guest path: node.host is that link */
};

/* Where a guest directory lies in each layer: all that a look-up of a child needs. */
struct kp_dir {
	bool upper;                    /* the upper has it */
	bool base;                     /* the generated layer has it */
	bool proc;                     /* at or below /proc */
	bool reg;                      /* at or below /proc/registry */
	const struct kp_bind *bind;    /* inside a bind: no other layer counts */
	const struct kp_rule *rule;    /* its isolation mode; NULL: full */
	bool host;                     /* shown by the rule: the host has it */
	bool host_open;                /* nothing above hides the host's part, if there is one */
	const char *moved;             /* it, or a directory above it, was renamed: its path in the layers below is this ... */
	size_t moved_len;              /* ... and what follows so many bytes of its own path. NULL: the same path */
	uint32_t entry[KP_MAX_LAYERS]; /* per image, KP_NO_ENTRY where it has none */
	mode_t mode;                   /* guest-visible */
	uid_t uid;
	gid_t gid;
};

/* What follows the last '/': decides errors of mkdir, rmdir, unlink, rename. */
enum kp_last { KP_LAST_NORM, KP_LAST_ROOT, KP_LAST_DOT, KP_LAST_DOTDOT };

struct kp_node {
	struct kp_gpath guest;
	enum kp_origin origin;
	mode_t mode;        /* guest-visible, with type; 0 when absent */
	size_t layer;       /* KP_IMAGE */
	uint32_t entry;     /* KP_IMAGE */
	uint64_t ino;       /* guest-visible; 0 for host and proc (the kernel's own) */
	struct stat st;     /* KP_UPPER, KP_BASE, KP_HOST: lstat of the host file */
	struct kp_hpath host; /* KP_HOST, KP_PROC, KP_MAGIC: host path; KP_ABSENT: where the host would have it, if kp_node_on_host */
	bool lower;         /* a layer below the upper has this name: deleting needs a whiteout */
	bool through;       /* mode merged: changes of it go to node.host */
	bool whiteout;      /* absent because the upper hides it */
	bool nameless;      /* reached through a descriptor: it cannot be changed (there is no name to copy it up to) */
	bool opaque;        /* a directory of the upper that hides what is below */
	int last_error;     /* absent, and this is why: said when the kernel would look the last name up, after other checks */
	bool hosted;        /* the way here leads through what the host shows, which may change at any time */
	bool through_link;  /* links were followed on the way */
	bool cut_short;     /* a directory on the way is not there: the node is that one */
	bool trailing_slash; /* the caller wrote one: must be a directory */
	enum kp_last last;
	struct kp_dir parent; /* the directory that holds the name */
	struct kp_dir self;   /* directories: itself */
};

/* Changes of this name are made at node.host: no upper. */
static inline bool kp_node_on_host(const struct kp_node *n)
{
	return n->through || (n->parent.bind && (n->origin == KP_HOST || n->origin == KP_ABSENT));
}

/* Last component of a canonical path; "" for the root. */
const char *kp_gpath_name(const struct kp_gpath *p);
/* Relative form for *at() calls below a layer's root: "." for the root. */
static inline const char *kp_gpath_rel(const struct kp_gpath *p)
{
	return p->s[1] ? p->s + 1 : ".";
}
/* The parent's path. */
void kp_gpath_parent(const struct kp_gpath *p, struct kp_gpath *ret_parent);
/* Appends a component. 0 or -ENAMETOOLONG. */
int kp_gpath_push(struct kp_gpath *p, const char *name, size_t len);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Contents of an instance's files and of those below them; choosing among changes; paths as text. */
#include <fcntl.h>
#include <linux/stat.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <uthash.h>

#include "changes/internal.h"
#include "vfs/change.h"
#include "vfs/resolve.h"

#define PIECE (1U << 16)

/* A regular file, or nothing: no FIFO is waited for, no symlink followed. */
static int open_regular(int dirfd, const char *rel, int *ret_fd)
{
	kp_autoclose int fd = kp_open_beneath(dirfd, rel, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret_fd = kp_take_fd(&fd);
	return 0;
}

int kp_changes_open_upper(int upper_fd, const char *guest, int *ret_fd)
{
	return open_regular(upper_fd, guest + 1, ret_fd);
}

static int open_node(struct kp_vfs *lower, const struct kp_node *n, int *ret_fd)
{
	kp_autoclose int root = -1;
	struct kp_hpath host;
	int r = kp_node_host_path(lower, n, &host);

	if (r < 0)
		return r;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return open_regular(root, host.s + strspn(host.s, "/"), ret_fd);
}

static int from_image(struct kp_vfs *lower, const struct kp_node *n, uint64_t max, int *ret_fd)
{
	kp_autoclose int fd = memfd_create("kapsel-lower", MFD_CLOEXEC);
	const struct kp_image *image = kp_vfs_image(lower, n->layer);
	struct kp_entry e;
	int r = fd < 0 ? -errno : kp_image_entry(image, n->entry, &e);

	if (!r && e.size > max)
		r = -EFBIG;
	if (!r)
		r = kp_image_extract(image, n->entry, fd, NULL);
	if (!r && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (!r)
		*ret_fd = kp_take_fd(&fd);
	return r;
}

int kp_changes_open_lower(struct kp_vfs *lower, const char *guest, uint64_t max, int *ret_fd)
{
	kp_autofree struct kp_node *n = kp_calloc(1, sizeof(*n));
	int r;

	kp_vfs_read_lock(lower);
	r = kp_resolve_exact(lower, guest, getpid(), n);
	kp_vfs_unlock(lower);
	if (!r && !S_ISREG(n->mode))
		r = n->mode ? -EINVAL : -ENOENT;
	if (r)
		return r;
	return n->origin == KP_IMAGE ? from_image(lower, n, max, ret_fd) : open_node(lower, n, ret_fd);
}

int kp_changes_open(int upper_fd, struct kp_vfs *lower, const struct kp_change *c, int *ret_fd)
{
	return c->source ? kp_changes_open_lower(lower, c->source, UINT64_MAX, ret_fd) : kp_changes_open_upper(upper_fd, c->path, ret_fd);
}

int kp_changes_readlink(int upper_fd, struct kp_vfs *lower, const struct kp_change *c, char target[PATH_MAX])
{
	kp_autofree struct kp_node *n = c->source ? kp_calloc(1, sizeof(*n)) : NULL;
	kp_autoclose int fd = -1;
	const char *name;
	ssize_t len;
	int r;

	if (c->source) {
		kp_vfs_read_lock(lower);
		r = kp_resolve_exact(lower, c->source, getpid(), n);
		if (!r)
			r = kp_node_readlink(lower, n, target, PATH_MAX);
		kp_vfs_unlock(lower);
		return r;
	}
	fd = kp_upper_parent(upper_fd, c->path, &name);
	len = fd < 0 ? -1 : readlinkat(fd, name, target, PATH_MAX - 1);
	if (len < 0)
		return fd < 0 ? fd : -errno;
	target[len] = '\0';
	return 0;
}

static bool same_digest(int fd, const uint8_t *digest)
{
	kp_autofree uint8_t *buf = kp_calloc(1, PIECE);
	uint8_t own[KP_DIGEST_LEN];
	crypto_generichash_state state;
	ssize_t n;

	crypto_generichash_init(&state, NULL, 0, sizeof(own));
	while ((n = read(fd, buf, PIECE)) > 0)
		crypto_generichash_update(&state, buf, (unsigned long long)n);
	crypto_generichash_final(&state, own, sizeof(own));
	return !n && !memcmp(own, digest, sizeof(own));
}

static bool same_bytes(int a, int b)
{
	kp_autofree char *one = kp_calloc(2, PIECE);
	char *two = one + PIECE;

	for (uint64_t at = 0;; at += PIECE) {
		ssize_t n = pread(a, one, PIECE, (off_t)at), m = pread(b, two, PIECE, (off_t)at);

		if (n < 0 || n != m || memcmp(one, two, (size_t)n) != 0)
			return false;
		if ((size_t)n < PIECE)
			return true;
	}
}

bool kp_same_content(int upper_fd, struct kp_vfs *lower, const struct kp_node *n, const char *path)
{
	kp_autoclose int mine = -1, below = -1;
	struct kp_entry e;

	if (kp_changes_open_upper(upper_fd, path, &mine) < 0)
		return false;
	if (n->origin == KP_IMAGE)
		return !kp_image_entry(kp_vfs_image(lower, n->layer), n->entry, &e) && e.digest && same_digest(mine, e.digest);
	return !open_node(lower, n, &below) && same_bytes(mine, below);
}

int kp_changes_since(int dirfd, const char *name, struct timespec *ret)
{
	struct kp_since since;
	struct statx x;
	char proc[NAME_MAX + 64];

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
		return -errno;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dirfd, name);
	if ((S_ISREG(x.stx_mode) || S_ISDIR(x.stx_mode)) &&
	    lgetxattr(proc, KP_SINCE_XATTR, &since, sizeof(since)) == (ssize_t)sizeof(since)) {
		*ret = (struct timespec){.tv_sec = since.sec, .tv_nsec = since.nsec};
		return 0;
	}
	/* A whiteout is never touched after it was made, and copies keep its time; so for links, FIFOs and sockets the older counts. */
	if (!S_ISREG(x.stx_mode) && !S_ISDIR(x.stx_mode)) {
		*ret = (struct timespec){.tv_sec = x.stx_mtime.tv_sec, .tv_nsec = x.stx_mtime.tv_nsec};
		return 0;
	}
	if (!(x.stx_mask & STATX_BTIME) || !x.stx_btime.tv_sec)
		return -ENODATA;
	*ret = (struct timespec){.tv_sec = x.stx_btime.tv_sec, .tv_nsec = x.stx_btime.tv_nsec};
	return 0;
}

void kp_moved_from(int dirfd, const char *name, char from[PATH_MAX])
{
	char proc[NAME_MAX + 64];
	ssize_t len;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dirfd, name);
	len = lgetxattr(proc, KP_MOVED_XATTR, from, PATH_MAX - 1);
	from[len < 0 ? 0 : len] = '\0';
	if (len < 0 || kp_moved_check(from, len))
		from[0] = '\0';
}

void kp_changes_free(struct kp_changes *c)
{
	for (size_t i = 0; i < c->count; i++) {
		free(c->items[i].path);
		free(c->items[i].from);
		free(c->items[i].host);
		free(c->items[i].source);
		free(c->items[i].base);
	}
	free(c->items);
	*c = (struct kp_changes){0};
}

char *kp_change_path(const char *path)
{
	kp_autofree char *absolute = kp_asprintf("/%s", path + strspn(path, "/"));
	char *out = NULL;

	return kp_path_normalise(absolute, &out) < 0 ? NULL : out;
}

int kp_changes_choose(struct kp_changes *c, const char *const *paths, size_t count, struct kp_err *err)
{
	for (size_t i = 0; i < c->count && !count; i++)
		c->items[i].chosen = true;
	for (size_t p = 0; p < count; p++) {
		kp_autofree char *path = kp_change_path(paths[p]);
		bool any = false;

		if (!path)
			return kp_fail(err, EINVAL, "%s: not a path without ..", paths[p]);
		for (size_t i = 0; i < c->count; i++)
			if (kp_path_below(c->items[i].path, path))
				any = c->items[i].chosen = true;
		if (!any) {
			(void)kp_fail(err, ENOENT, "%s: no change there", path);
			return kp_hint(err, "kapsel diff lists what changed");
		}
	}
	return 0;
}

static struct kp_change *at_path(struct kp_changes *c, const char *path)
{
	struct kp_change key = {.path = (char *)(uintptr_t)path};

	return c->count ? bsearch(&key, c->items, c->count, sizeof(key), kp_change_by_path) : NULL;
}

struct name {
	uint64_t number;
	UT_hash_handle hh;
};

/* All names of the upper's files of which one is chosen. */
static void choose_names(struct kp_changes *c)
{
	struct name *names = NULL, *n, *next;

	for (size_t i = 0; i < c->count; i++) {
		struct kp_change *k = &c->items[i];

		if (!k->chosen || k->links < 2 || S_ISDIR(k->mode))
			continue;
		HASH_FIND(hh, names, &k->number, sizeof(k->number), n);
		if (n)
			continue;
		n = kp_calloc(1, sizeof(*n));
		n->number = k->number;
		HASH_ADD(hh, names, number, sizeof(n->number), n);
	}
	for (size_t i = 0; i < c->count && names; i++) {
		HASH_FIND(hh, names, &c->items[i].number, sizeof(c->items[i].number), n);
		c->items[i].chosen |= n && c->items[i].links > 1 && !S_ISDIR(c->items[i].mode);
	}
	HASH_ITER (hh, names, n, next) {
		HASH_DEL(names, n);
		free(n);
	}
}

/* A directory that was renamed: what went with it. */
static void choose_moved(struct kp_changes *c, const struct kp_change *k)
{
	for (size_t i = 0; i < c->count; i++) {
		struct kp_change *o = &c->items[i];

		if ((k->moved && o->from && kp_path_below(o->from, k->path)) || (k->from && kp_path_below(o->path, k->path)))
			o->chosen = true;
	}
}

/* What the renamed one was, or was in, is gone for that: the other end. */
static void choose_origin(struct kp_changes *c, struct kp_change *k)
{
	kp_autofree char *from = kp_strdup(k->from);

	for (char *end = from + strlen(from); end > from; end = strrchr(from, '/')) {
		struct kp_change *old;

		*end = '\0';
		old = *from ? at_path(c, from) : NULL;
		if (old && old->moved && (old->chosen || k->chosen))
			old->chosen = k->chosen = true;
	}
}

void kp_changes_choose_whole(struct kp_changes *c)
{
	size_t chosen = 0;

	for (size_t i = 0; i < c->count; i++)
		chosen += c->items[i].chosen;
	if (chosen == c->count)
		return;
	choose_names(c);
	for (size_t i = 0; i < c->count; i++)
		if (c->items[i].from)
			choose_origin(c, &c->items[i]);
	for (size_t i = 0; i < 2 * c->count; i++) { /* twice: an end may come before what chooses it */
		const struct kp_change *k = &c->items[i % c->count];

		if (k->chosen && ((k->moved && S_ISDIR(k->old_mode)) || (k->from && S_ISDIR(k->mode))))
			choose_moved(c, k);
	}
	choose_names(c);
}

char *kp_path_quoted(const char *path)
{
	kp_autofree char *safe = kp_strdup(path);
	struct kp_buf out = {0};

	kp_printable(safe);
	if (!strcmp(safe, path) && !strpbrk(path, "\"\\"))
		return kp_take_ptr(safe);
	kp_buf_puts(&out, "\"");
	for (size_t i = 0; path[i]; i++) {
		if (path[i] == '\n')
			kp_buf_puts(&out, "\\n");
		else if (path[i] == '\t')
			kp_buf_puts(&out, "\\t");
		else if (path[i] == '"' || path[i] == '\\')
			kp_buf_printf(&out, "\\%c", path[i]);
		else if (path[i] == safe[i])
			kp_buf_add(&out, path + i, 1);
		else
			kp_buf_printf(&out, "\\%03o", (unsigned char)path[i]);
	}
	kp_buf_puts(&out, "\"");
	return out.data;
}

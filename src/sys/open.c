/* SPDX-License-Identifier: Apache-2.0 */
/* open, openat, openat2, creat. */
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kapsel/fast.h"
#include "sys/call.h"
#include "sys/handlers.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/internal.h"
#include "vfs/makes.h"
#include "vfs/proc.h"
#include "vfs/pts.h"
#include "vfs/regtree.h"

struct open_args {
	int flags;
	mode_t mode;
	uint64_t resolve;
};

static int wanted_access(int flags)
{
	int want = 0;

	if (flags & O_PATH)
		return 0;
	if ((flags & O_ACCMODE) != O_WRONLY)
		want |= R_OK;
	if ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)
		want |= W_OK;
	return want;
}

/* The guest opens it by its host path: FIFOs block, terminals belong to its session. */
static int open_itself(struct kp_call *c, const struct kp_node *n, int flags)
{
	struct kp_hpath host;
	struct kp_rewrite *rw;
	int rc = kp_node_host_path(c->vfs, n, &host);

	if (rc)
		return rc;
	rw = kp_call_rewrite(c, SYS_openat);
	rw->args[0] = (uint64_t)(int64_t)AT_FDCWD;
	rw->args[2] = (uint64_t)(flags & ~(O_CREAT | O_EXCL));
	if (n->origin == KP_MAGIC && !S_ISLNK(n->mode))
		rw->args[2] &= ~(uint64_t)O_NOFOLLOW; /* the link has been followed */
	rw->args[3] = 0;
	return kp_rewrite_string(rw, 1, host.s);
}

/* A descriptor that is only a path cannot be given (the kernel refuses to install one): the guest opens it by its host
 * path. Supervisor's own opening first makes an image's object exist. */
static int open_path_only(struct kp_call *c, const struct kp_node *n, int flags)
{
	/* Seen by F_GETFL, so only where it was asked for or protects: a link itself, names that host programs can change. */
	bool exact = S_ISLNK(n->mode) || flags & O_NOFOLLOW || n->origin == KP_HOST;
	bool followed = n->origin == KP_MAGIC && !S_ISLNK(n->mode);
	int fd, rc = kp_node_open(c->vfs, n, flags, &fd);

	if (rc)
		return rc;
	(void)kp_close(fd);
	rc = open_itself(c, n, flags);
	if (!rc && exact && !followed)
		c->rewrite->args[2] |= O_NOFOLLOW;
	return rc;
}

/* A session leader that has no terminal gets the first one that it opens. */
static bool takes_terminal(const struct kp_call *c, int fd, int flags)
{
	char path[48], text[512];
	kp_autoclose int stat_fd = -1;
	int session = 0, terminal = -1;
	const char *at;
	ssize_t n;

	if (flags & O_NOCTTY || (flags & O_ACCMODE) == O_WRONLY || !isatty(fd))
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", c->tid);
	stat_fd = open(path, O_RDONLY | O_CLOEXEC);
	n = stat_fd < 0 ? -1 : read(stat_fd, text, sizeof(text) - 1);
	text[KP_MAX(n, 0)] = '\0';
	at = strrchr(text, ')');
	return at && sscanf(at + 2, "%*c %*d %*d %d %d", &session, &terminal) == 2 && terminal == 0 && session == kp_proc_tgid(c->tid);
}

/* Pseudo terminals are opened here: the guest's own (vfs/pts.c) lie among those of all other programs of the user. */
static int open_terminal(struct kp_call *c, const struct kp_node *n, int flags)
{
	bool slave = kp_pts_is_slave(&n->st);
	kp_autoclose int held = -1;
	struct kp_hpath host;
	unsigned number;
	int rc = n->origin == KP_MAGIC ? kp_node_hold(c->vfs, n, &held, &host) : kp_node_host_path(c->vfs, n, &host);

	if (!rc && slave && !kp_pts_has(c->vfs, minor(n->st.st_rdev)))
		rc = -EACCES;
	if (rc)
		return rc;
	c->fd = open(host.s, (flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) | O_NOCTTY | O_CLOEXEC);
	if (c->fd < 0)
		return -errno;
	if (slave)
		c->takes_terminal = takes_terminal(c, c->fd, flags);
	else if (ioctl(c->fd, TIOCGPTN, &number) == 0)
		kp_pts_put(c->vfs, number);
	c->reply = KP_REPLY_FD;
	return 0;
}

static bool is_terminal(const struct kp_node *n)
{
	return S_ISCHR(n->mode) && (kp_pts_is_slave(&n->st) || (n->origin == KP_HOST && n->st.st_rdev == makedev(5, 2)));
}

static int open_existing(struct kp_call *c, struct kp_node *n, int flags)
{
	int want = wanted_access(flags), rc;

	if (flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (S_ISLNK(n->mode) && !(flags & O_PATH))
		return flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
	if (S_ISDIR(n->mode) && (want & W_OK || flags & O_CREAT))
		return -EISDIR;
	if (!S_ISDIR(n->mode) && flags & O_DIRECTORY)
		return -ENOTDIR;
	if (n->origin != KP_PROC || S_ISDIR(n->mode)) {
		rc = n->origin == KP_MAGIC && !n->ino ? 0 : kp_node_permit(c->vfs, n, kp_call_cred(c), want);
		if (rc)
			return rc;
	}
	if (want & W_OK && n->origin == KP_PROC && !kp_proc_is_of_process(n))
		return -EACCES;
	if (want & W_OK && n->origin == KP_HOST && n->self.bind && n->self.bind->read_only && !S_ISCHR(n->mode))
		return -EROFS;
	if (want & W_OK && (S_ISREG(n->mode)) && n->origin != KP_PROC) {
		bool emptied = flags & O_TRUNC;

		rc = kp_copy_up(c->vfs, n, emptied ? KP_COPY_NO_DATA : KP_COPY_DATA);
		if (rc)
			return rc;
	}
	if (flags & O_PATH)
		return open_path_only(c, n, flags);
	if (is_terminal(n))
		return open_terminal(c, n, flags);
	rc = kp_node_open(c->vfs, n, flags & ~(O_CREAT | O_EXCL), &c->fd);
	if (rc == -EAGAIN)
		return open_itself(c, n, flags);
	if (!rc)
		c->reply = KP_REPLY_FD;
	return rc;
}

static int open_node(struct kp_call *c, struct kp_node *n, const struct open_args *a)
{
	int rc;

	if ((a->flags & O_TMPFILE) == O_TMPFILE) {
		if (n->origin == KP_ABSENT)
			return -ENOENT;
		rc = kp_create_unnamed(c->vfs, n, kp_call_cred(c), a->flags & ~O_NOFOLLOW, kp_call_mode(c, a->mode), &c->fd);
		if (!rc)
			c->reply = KP_REPLY_FD;
		return rc;
	}
	if (n->origin != KP_ABSENT)
		return open_existing(c, n, a->flags);
	if (!(a->flags & O_CREAT))
		return -ENOENT;
	if (a->flags & O_PATH)
		return -ENOENT;
	rc = kp_create_file(c->vfs, n, kp_call_cred(c), a->flags, kp_call_mode(c, a->mode), &c->fd);
	if (!rc) {
		c->reply = KP_REPLY_FD;
		c->made = kp_strdup(n->guest.s);
	}
	return rc;
}

/* Does this open change names or contents of the tree? Then it needs the write lock. */
static bool changes(const struct open_args *a)
{
	if (a->flags & O_PATH)
		return false;
	return (a->flags & O_ACCMODE) != O_RDONLY || a->flags & (O_CREAT | O_TRUNC);
}

/* A file of the instance is written to in its place: size and times are nobody's to remember. */
static void declare(struct kp_call *c, const struct kp_node *n, const struct open_args *a)
{
	bool made = n->origin == KP_ABSENT && a->flags & O_CREAT;
	bool copied = n->origin != KP_UPPER && S_ISREG(n->mode) && wanted_access(a->flags) & W_OK && !(a->flags & O_EXCL && a->flags & O_CREAT);

	if (made || copied)
		kp_fast_changes(c->vfs, n);
	else
		kp_fast_unchanged(c->vfs);
}

/* walked: how the walk ended. */
static void note(struct kp_call *c, const struct kp_node *n, const struct open_args *a, bool follow, int walked, int rc)
{
	bool given = !rc && (S_ISREG(n->mode) || S_ISDIR(n->mode)) && c->reply == KP_REPLY_FD;

	if (!changes(a) && !a->resolve && (given || (rc == -ENOENT && n->origin == KP_ABSENT)))
		kp_fast_note(c, follow, walked, n);
}

/* The caller's descriptor of that number holds what it asks of the registry. */
static int open_request(struct kp_call *c, const struct kp_node *n, int number)
{
	char path[48];
	kp_autoclose int fd = -1;
	int rc;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", c->tid, number);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -EBADF;
	if (!kp_trap_valid(c->trap, c->n.id))
		return -ESRCH;
	rc = kp_regtree_ask(c->vfs, n, fd, &c->fd);
	if (!rc)
		c->reply = KP_REPLY_FD;
	return rc;
}

/* With the lock held that it needs. */
static int walk_and_open(struct kp_call *c, const struct open_args *a, struct kp_walk *w, struct kp_node *n, int *request)
{
	int walked = kp_call_walk(c, 0, w, n), rc = walked;

	if (!rc && changes(a))
		declare(c, n, a);
	else if (changes(a))
		kp_fast_unchanged(c->vfs);
	if (!rc && n->origin == KP_REG && !changes(a) && !(a->flags & O_PATH))
		*request = kp_regtree_request(n->guest.s);
	if (!rc && *request >= 0)
		rc = kp_node_permit(c->vfs, n, kp_call_cred(c), R_OK | W_OK);
	else if (!rc)
		rc = open_node(c, n, a);
	note(c, n, a, w->follow, walked, rc);
	return rc;
}

static int do_open(struct kp_call *c, struct open_args *a)
{
	struct kp_walk w = {.resolve = a->resolve};
	struct kp_node *n;
	int rc, request = -1;

	if (c->path_null[0])
		return -EFAULT;
	if (a->flags & O_PATH)
		a->flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	if (a->flags & O_CREAT && a->flags & O_DIRECTORY && (a->flags & O_TMPFILE) != O_TMPFILE)
		return -EINVAL;
	if ((a->flags & O_TMPFILE) == O_TMPFILE && (a->flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	w.create = a->flags & O_CREAT && !(a->flags & O_PATH);
	w.follow = !(a->flags & O_NOFOLLOW) && !(a->flags & O_CREAT && a->flags & O_EXCL);
	c->cloexec = a->flags & O_CLOEXEC;
	n = kp_calloc(1, sizeof(*n));
	kp_vfs_may_defer();
	do {
		if (changes(a))
			kp_vfs_write_lock(c->vfs);
		else
			kp_vfs_read_lock(c->vfs);
		rc = walk_and_open(c, a, &w, n, &request);
		/* Another has made it meanwhile, without us. */
		if (rc == -EEXIST && n->origin == KP_ABSENT && w.create && !(a->flags & O_EXCL))
			rc = walk_and_open(c, a, &w, n, &request);
		kp_vfs_unlock(c->vfs);
	} while (kp_vfs_again(c->vfs, rc));
	if (!rc && request >= 0)
		rc = open_request(c, n, request);
	if (!rc && c->made && !a->resolve)
		kp_fast_note_made(c, n);
	free(n);
	return rc;
}

int kp_sys_open(struct kp_call *c)
{
	struct open_args a = {(int)c->raw[1], (mode_t)c->raw[2], 0};

	return do_open(c, &a);
}

/* The stub has made a file at that host path and holds it as fd, but cannot tell whether the directory was still the one that it knew.
 * -EAGAIN: it hid another, and is gone; the call is to be made again. */
static int settle_made(struct kp_call *c, int fd, const char *host)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	int rc;

	kp_vfs_write_lock(c->vfs);
	rc = kp_call_fd_node_for_change(c, fd, n);
	rc = rc ? 0 : kp_makes_settle(c->vfs, n, host);
	kp_vfs_unlock(c->vfs);
	free(n);
	return rc;
}

int kp_sys_openat(struct kp_call *c)
{
	struct open_args a = {(int)c->raw[2], (mode_t)c->raw[3], 0};

	if (c->n.data.instruction_pointer == KP_ASK_IP && c->engine->fast && !c->path_null[0])
		return settle_made(c, (int)c->raw[0], c->path[0]);
	return do_open(c, &a);
}

int kp_sys_creat(struct kp_call *c)
{
	struct open_args a = {O_CREAT | O_WRONLY | O_TRUNC, (mode_t)c->raw[1], 0};

	return do_open(c, &a);
}

int kp_sys_openat2(struct kp_call *c)
{
	struct open_how how = {0};
	struct open_args a;
	uint8_t more[4096];
	size_t size = c->raw[3];
	int rc;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > sizeof(more))
		return -E2BIG;
	rc = kp_call_get(c, c->raw[2], more, size);
	if (rc)
		return rc;
	memcpy(&how, more, sizeof(how));
	for (size_t i = sizeof(how); i < size; i++)
		if (more[i])
			return -E2BIG;
	if (how.resolve & ~(uint64_t)(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH |
				      RESOLVE_IN_ROOT | RESOLVE_CACHED))
		return -EINVAL;
	if ((how.resolve & RESOLVE_BENEATH) && (how.resolve & RESOLVE_IN_ROOT))
		return -EINVAL;
	if (how.flags & ~(uint64_t)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC |
				    O_ASYNC | O_DIRECT | 0100000 | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE))
		return -EINVAL;
	if (how.flags & O_CREAT || (how.flags & O_TMPFILE) == O_TMPFILE) {
		if (how.mode & ~(uint64_t)07777)
			return -EINVAL;
	} else if (how.mode) {
		return -EINVAL;
	}
	if (how.flags & O_PATH && how.flags & ~(uint64_t)(O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
		return -EINVAL;
	if (how.resolve & RESOLVE_CACHED)
		return -EAGAIN;
	a = (struct open_args){(int)how.flags, (mode_t)how.mode, how.resolve};
	return do_open(c, &a);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks on an image's file. Its object is shared with other instances, so the kernel's own lock would reach them. Whoever opens it only reads,
 * so all locks of ranges there are shared ones: they stop nobody, but F_GETLK tells of them. What flock locks instead are two bytes far
 * behind its end that are this run's alone: open-file-description locks live and die with what flock's would. A descriptor that only reads
 * gets no exclusive one of those, so a shared lock of the second byte stands for it, and who may have one is judged here. A third byte says
 * that a description has, or had, locks of ranges: the kernel does not tell whose those are.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/child.h"
#include "sys/internal.h"
#include "vfs/proc.h"

#define LOCKS_MAX (4U << 20) /* bytes of /proc/locks */
#define BYTES_BEGIN (1LL << 62)    /* of all runs' bytes; ranges of guests end before */
enum { BYTE_SHARED, BYTE_EXCLUSIVE, BYTE_RANGES = 3 /* not beside the others: neighbours of one owner become one lock */ };

static pthread_mutex_t judging = PTHREAD_MUTEX_INITIALIZER;

/* The first of this run's bytes. judging is held. */
static off_t own_byte(void)
{
	static uint64_t number;

	while (!number)
		if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
			number = (uint64_t)getpid();
	return BYTES_BEGIN | (off_t)((number & ((1ULL << 60) - 1)) << 2);
}

static int set(int fd, short type, off_t at, off_t len)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = len};

	return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

/* One lock on the file, as /proc/locks has it. */
struct held {
	bool description; /* else a process's */
	pid_t pid;
	off_t start, end;
};

/* "7: OFDLCK  ADVISORY  READ  -1 fe:00:4711 0 EOF"; a waiter has "->" before the kind. The device is not compared: it is not always st_dev. */
static bool parse_lock(const char *line, ino_t ino, struct held *ret)
{
	unsigned long number;
	char kind[8], end[24];
	long long start;

	if (sscanf(line, "%*d: %7s %*s %*s %d %*x:%*x:%lu %lld %23s", kind, &ret->pid, &number, &start, end) != 5 || number != ino)
		return false;
	ret->description = !strcmp(kind, "OFDLCK");
	ret->start = start;
	ret->end = !strcmp(end, "EOF") ? INT64_MAX : strtoll(end, NULL, 10);
	return ret->description || !strcmp(kind, "POSIX");
}

/* The first lock on fd's file for which fn is true. */
static bool find_lock(int fd, bool (*fn)(const struct held *h, const void *ctx), const void *ctx, struct held *ret)
{
	kp_autofree char *text = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || kp_read_file(AT_FDCWD, "/proc/locks", LOCKS_MAX, &text, NULL))
		return false;
	for (char *at = text, *line; (line = strsep(&at, "\n"));)
		if (parse_lock(line, st.st_ino, ret) && fn(ret, ctx))
			return true;
	return false;
}

static bool is_byte(const struct held *h, const void *at)
{
	return h->description && h->start == *(const off_t *)at && h->end == h->start;
}

/* Has another open file a lock of this byte? fd's own has none. The kernel tells of one lock only, which may be a guest's, of all the file. */
static bool is_busy(int fd, off_t at)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
	struct held h;

	if (fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type == F_UNLCK)
		return false;
	return (l.l_pid == -1 && l.l_start == at && l.l_len == 1) || find_lock(fd, is_byte, &at, &h);
}

/* As the kernel: who wants another kind gives up the one that he has, whether he gets it or not. */
static int try(int fd, int kind)
{
	off_t at;
	int rc;

	pthread_mutex_lock(&judging);
	at = own_byte();
	rc = set(fd, F_UNLCK, at, BYTE_EXCLUSIVE + 1);
	if (!rc && kind != LOCK_UN && (is_busy(fd, at + BYTE_EXCLUSIVE) || (kind == LOCK_EX && is_busy(fd, at + BYTE_SHARED))))
		rc = -EAGAIN;
	if (!rc && kind != LOCK_UN)
		rc = set(fd, F_RDLCK, at + (kind == LOCK_EX ? BYTE_EXCLUSIVE : BYTE_SHARED), 1);
	pthread_mutex_unlock(&judging);
	return rc;
}

struct wait {
	struct kp_engine *engine;
	uint64_t id;
	pid_t tid;
	int fd, kind;
};

static void *waiter(void *arg)
{
	struct wait *w = arg;
	struct timespec pause = {.tv_nsec = 1000000};
	int rc;

	while ((rc = try(w->fd, w->kind)) == -EAGAIN) {
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec = KP_MIN(pause.tv_nsec * 2, 20000000L);
		if (!kp_trap_valid(w->engine->trap, w->id))
			break;
		if (kp_task_signalled(w->tid)) {
			rc = -512; /* ERESTARTSYS: made anew, or EINTR, as the handler was set up */
			break;
		}
	}
	(void)kp_trap_answer(w->engine->trap, w->id, 0, rc);
	(void)kp_close(w->fd);
	kp_waits_give(w->engine, 0, 1);
	free(w);
	return NULL;
}

static int wait_for(struct kp_call *c, int fd, int kind)
{
	struct wait *w;
	pthread_t thread;
	int rc;

	if (!kp_waits_take(c->engine, 0, 1))
		return -ENOLCK;
	w = kp_calloc(1, sizeof(*w));
	*w = (struct wait){c->engine, c->n.id, c->tid, fcntl(fd, F_DUPFD_CLOEXEC, 3), kind};
	rc = w->fd < 0 ? errno : pthread_create(&thread, NULL, waiter, w);
	if (rc) {
		(void)kp_close(w->fd);
		free(w);
		kp_waits_give(c->engine, 0, 1);
		return -ENOLCK;
	}
	(void)pthread_detach(thread);
	c->reply = KP_REPLY_DONE;
	return 0;
}

static bool is_of_image(struct kp_vfs *v, pid_t tid, int fd)
{
	char host[PATH_MAX];
	struct kp_mapped m;

	if (kp_task_fd(tid, fd, host, sizeof(host)))
		return false;
	kp_map_host(v, host, &m);
	return m.kind == KP_MAP_IMAGE;
}

/* A copy of the caller's descriptor if it is of an image's file; or -errno: the kernel's own locks have to do. */
static int image_file(struct kp_call *c, int fd)
{
	return is_of_image(c->vfs, c->tid, fd) ? kp_dup_from(c->tid, fd) : -ENOENT;
}

int kp_sys_flock(struct kp_call *c)
{
	int op = (int)c->raw[1], kind = op & ~LOCK_NB, rc;
	kp_autoclose int copy = -1;

	c->reply = KP_REPLY_KERNEL;
	if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
		return 0;
	copy = image_file(c, (int)c->raw[0]);
	if (copy < 0)
		return 0;
	c->reply = KP_REPLY_VALUE;
	rc = try(copy, kind);
	return rc == -EAGAIN && !(op & LOCK_NB) ? wait_for(c, copy, kind) : rc;
}

/* --- locks of ranges --- */

/* From the beginning of the file; what is wrong with it the kernel says. */
static void make_absolute(int fd, struct flock *l)
{
	struct stat st;
	off_t from = 0;

	if (l->l_whence == SEEK_CUR)
		from = lseek(fd, 0, SEEK_CUR);
	else if (l->l_whence == SEEK_END && fstat(fd, &st) == 0)
		from = st.st_size;
	if (from < 0 || __builtin_add_overflow(from, l->l_start, &l->l_start) || l->l_whence > SEEK_END)
		return;
	l->l_whence = SEEK_SET;
	if (l->l_len < 0 && !__builtin_add_overflow(l->l_start, l->l_len, &l->l_start))
		l->l_len = -l->l_len;
}

/* What a description locks of ranges ends before this run's bytes, which it may have for flock. */
static int set_range(int fd, int cmd, struct flock *l)
{
	int rc = 0;

	make_absolute(fd, l);
	if (l->l_whence == SEEK_SET && l->l_start >= 0 && l->l_start < BYTES_BEGIN && (!l->l_len || l->l_len > BYTES_BEGIN - l->l_start))
		l->l_len = BYTES_BEGIN - l->l_start;
	if (fcntl(fd, cmd, l) < 0)
		return -errno;
	if (l->l_type == F_RDLCK) {
		pthread_mutex_lock(&judging);
		rc = set(fd, F_RDLCK, own_byte() + BYTE_RANGES, 1);
		pthread_mutex_unlock(&judging);
	}
	return rc;
}

struct asked {
	struct kp_vfs *vfs;
	pid_t self; /* whose locks do not count; 0: a description asks */
	bool descriptions; /* others of this run have locks of ranges */
	off_t start, end;
};

static bool is_in_the_way(const struct held *h, const void *asked)
{
	const struct asked *a = asked;

	if (h->start > a->end || h->end < a->start || h->start >= BYTES_BEGIN)
		return false;
	return h->description ? a->descriptions : h->pid != a->self && kp_proc_is_guest(a->vfs, h->pid);
}

static void tell(const struct held *h, struct flock *l)
{
	l->l_type = F_RDLCK;
	l->l_whence = SEEK_SET;
	l->l_start = h->start;
	l->l_len = h->end == INT64_MAX ? 0 : h->end - h->start + 1;
	l->l_pid = h->description ? -1 : h->pid;
}

/* What is in the way of *l: of this run's. The kernel's own answer is the first of all runs'. */
static int get_range(struct kp_call *c, int fd, int cmd, struct flock *l)
{
	struct asked a = {.vfs = c->vfs, .self = cmd == F_GETLK ? kp_proc_tgid(c->tid) : 0};
	struct flock first = *l;
	struct held h;
	off_t ranges;

	if (fcntl(fd, cmd, &first) < 0)
		return -errno;
	make_absolute(fd, l);
	a.start = l->l_start;
	a.end = l->l_len ? l->l_start + (l->l_len - 1) : INT64_MAX;
	pthread_mutex_lock(&judging);
	ranges = own_byte() + BYTE_RANGES;
	a.descriptions = cmd == F_GETLK ? find_lock(fd, is_byte, &ranges, &h) : is_busy(fd, ranges);
	pthread_mutex_unlock(&judging);
	h = (struct held){first.l_pid == -1, first.l_pid, first.l_start, first.l_len ? first.l_start + (first.l_len - 1) : INT64_MAX};
	if (first.l_type != F_UNLCK && (is_in_the_way(&h, &a) || find_lock(fd, is_in_the_way, &a, &h)))
		tell(&h, l);
	else
		l->l_type = F_UNLCK;
	return 0;
}

/* --- leases --- */

struct lease {
	int fd, number, error;
};

/* Its descriptors are its own, so that the one with the lease has the guest's number there: the signal that the lease is broken tells it. */
static int in_child(void *arg)
{
	struct lease *l = arg;

	l->error = dup2(l->fd, l->number) < 0 || fcntl(l->number, F_SETLEASE, F_WRLCK) < 0 ? errno : 0;
	_exit(0);
}

/* Who gets that signal is who asks for the lease, unless somebody is named already. */
static int lease_for(int fd, int number, pid_t guest)
{
	struct f_owner_ex owner = {.pid = 0}, named = {F_OWNER_PID, guest}, none = {F_OWNER_PID, 0};
	struct lease l = {fd, number, EAGAIN};
	bool unnamed = fcntl(fd, F_GETOWN_EX, &owner) == 0 && !owner.pid;

	if (unnamed && fcntl(fd, F_SETOWN_EX, &named) < 0)
		return -errno;
	kp_in_child(0, in_child, &l);
	if (l.error && unnamed)
		(void)fcntl(fd, F_SETOWN_EX, &none);
	return -l.error;
}

/*
 * A write lease makes all wait who open the file, until it is broken: not to be had on an image's, which other instances open, too; there it
 * is refused as where others have the file open. Judged and made on a copy of the descriptor: its number may be another file's by then.
 */
static int set_lease(struct kp_call *c)
{
	int number = (int)c->raw[0];
	kp_autoclose int fd = (int)c->raw[2] == F_WRLCK ? kp_dup_from(c->tid, number) : -1;
	struct stat st;

	if (fd < 0) /* another kind; or pidfd_getfd is refused here */
		return (int)c->raw[2] == F_WRLCK && is_of_image(c->vfs, c->tid, number) ? -EAGAIN : 0;
	c->reply = KP_REPLY_VALUE;
	if (is_of_image(c->vfs, getpid(), fd))
		return -EAGAIN;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* As the guest, who has no CAP_LEASE. */
	return st.st_uid == kp_call_cred(c)->uid ? lease_for(fd, number, kp_proc_tgid(c->tid)) : -EACCES;
}

/* F_GETLK, the same and F_SETLK of descriptions, F_SETLEASE: others do not come here. */
int kp_sys_fcntl(struct kp_call *c)
{
	int cmd = (int)c->raw[1], rc;
	kp_autoclose int fd = -1;
	struct flock l, asked;

	c->reply = KP_REPLY_KERNEL;
	if (cmd == F_SETLEASE)
		return set_lease(c);
	fd = image_file(c, (int)c->raw[0]);
	if (fd < 0 || kp_call_get(c, c->raw[2], &l, sizeof(l)))
		return 0;
	asked = l;
	/* Nobody has other locks than shared ones: in the way of one that is to be exclusive. */
	if ((cmd == F_GETLK || cmd == F_OFD_GETLK) && l.l_type != F_WRLCK)
		return 0;
	c->reply = KP_REPLY_VALUE;
	if (cmd != F_GETLK && cmd != F_OFD_GETLK)
		return set_range(fd, cmd, &l);
	rc = get_range(c, fd, cmd, &l);
	if (rc)
		return rc;
	if (l.l_type == F_UNLCK) { /* all else stays as it was asked */
		asked.l_type = F_UNLCK;
		l = asked;
	}
	return kp_call_put(c, c->raw[2], &l, sizeof(l));
}

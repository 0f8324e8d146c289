/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execve. The guest's call becomes an execve of the exec loader with the same argv and envp; what the loader will need (program,
 * interpreter, names) is settled here, before, and waits under the process's id until the loader asks for it.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kapsel/fast.h"
#include "loader/elf.h"
#include "sys/handlers.h"
#include "sys/internal.h"
#include "vfs/fast.h"
#include "vfs/proc.h"

#define HEAD 4096            /* what is read of a file to know what it is */
#define SCRIPT_LINE 256      /* BINPRM_BUF_SIZE */
#define MAX_SCRIPTS 5

struct kp_exec {
	pid_t tgid;
	int program_fd, interp_fd;
	struct kp_start start;
	UT_hash_handle hh;
};

static struct kp_exec *exec_free(struct kp_exec *x)
{
	if (x) {
		kp_close(x->program_fd);
		kp_close(x->interp_fd);
		free(x);
	}
	return NULL;
}

/* The plan of one execve while it is worked out. */
struct plan {
	struct kp_call *c;
	struct kp_exec *x;
	struct kp_node *n;
	char name[PATH_MAX];     /* what is executed now, as named */
	char filename[PATH_MAX]; /* the caller's word: AT_EXECFN, comm */
	char comm[256];          /* where that has no name */
	bool by_fd;              /* a descriptor alone was named */
	bool fd_goes;            /* ... which the exec closes: no script's interpreter will find it */
	char *argv[2 * MAX_SCRIPTS + 4]; /* strings in front of the caller's */
	size_t argc;
	uint32_t drop;
	char head[HEAD + 1];
	size_t head_len;
	struct kp_program what; /* it is */
	bool known;             /* ... without a descriptor, a part of the store */
	bool in_store;
};

/* Of what is known the headers are not read again, and the loader opens it itself. */
static int open_program(struct plan *p, int *ret_fd)
{
	struct kp_call *c = p->c;
	struct stat st;
	ssize_t n;
	int fd, rc;

	if (p->n->origin == KP_ABSENT)
		return -ENOENT;
	if (!S_ISREG(p->n->mode))
		return S_ISLNK(p->n->mode) ? -ELOOP : -EACCES;
	rc = p->n->origin == KP_MAGIC && !p->n->ino ? 0 : kp_node_permit(c->vfs, p->n, kp_call_cred(c), X_OK);
	if (!rc && p->n->origin == KP_PROC)
		rc = -EACCES;
	p->known = !rc && c->engine->fast && !atomic_load(&c->engine->own_filters) && kp_programs_find(&c->engine->programs, p->n, &p->what);
	if (!rc && !p->known)
		rc = kp_node_open(c->vfs, p->n, O_RDONLY, &fd);
	if (rc || p->known)
		return rc;
	n = pread(fd, p->head, HEAD, 0);
	if (n < 0 || fstat(fd, &st) < 0) {
		rc = -errno;
		(void)kp_close(fd);
		return rc;
	}
	p->head_len = (size_t)n;
	p->head[n] = '\0';
	p->what.file = (struct kp_start_file){st.st_ino, (uint64_t)st.st_size, st.st_dev};
	p->in_store = p->n->origin == KP_IMAGE && st.st_nlink;
	*ret_fd = fd;
	return 0;
}

/* What kind of program that is, by its headers. An interpreter's own interpreter is nobody's concern. */
static int read_headers(struct plan *p, int fd, bool interp)
{
	struct kp_program *w = &p->what;
	int rc;

	if (p->known)
		return 0;
	w->interp[0] = '\0';
	rc = kp_elf_check(p->head, p->head_len, w->file.size, &w->info);
	if (!rc && w->info.has_interp && !interp) {
		if (!w->info.interp_len || w->info.interp_len > sizeof(w->interp))
			return -ENOEXEC;
		rc = kp_pread_full(fd, w->interp, w->info.interp_len, w->info.interp_off);
		if (rc || w->interp[w->info.interp_len - 1] != '\0')
			return -ENOEXEC;
	}
	if (!rc && p->in_store && !(w->info.has_interp && interp))
		kp_programs_learn(&p->c->engine->programs, p->n, w);
	return rc;
}

static int resolve_name(struct plan *p, const char *name)
{
	struct kp_call *c = p->c;
	struct kp_gpath start = {"/"};
	struct kp_walk w = {.cred = kp_call_cred(c), .tid = c->tid, .start = start.s, .path = name, .follow = true};
	int rc = name[0] == '/' ? 0 : kp_call_start(c, AT_FDCWD, &start);

	return rc ? rc : kp_resolve(c->vfs, &w, p->n);
}

static void push_front(struct plan *p, const char *text)
{
	memmove(p->argv + 1, p->argv, p->argc * sizeof(*p->argv));
	p->argv[0] = kp_strdup(text);
	p->argc++;
}

/* "#! interpreter [one argument]": as binfmt_script reads it. */
static int read_script(struct plan *p, char *interp, char *arg)
{
	char line[SCRIPT_LINE];
	size_t len = KP_MIN(p->head_len, sizeof(line) - 1);
	char *at, *end;
	bool ended, whole;

	memcpy(line, p->head, len);
	line[len] = '\0';
	end = memchr(line, '\n', len);
	ended = end;
	whole = ended || p->head_len < sizeof(line);
	if (!end)
		end = line + strlen(line);
	*end = '\0';
	/* Without a newline the kernel's line goes on with NULs: nothing trails it, and an empty name is the directory. */
	while (ended && end > line + 2 && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	at = line + 2 + strspn(line + 2, " \t");
	if (!*at)
		return ended ? -ENOEXEC : -EACCES;
	len = strcspn(at, " \t");
	if (!at[len] && !whole)
		return -ENOEXEC; /* the path may be cut */
	(void)snprintf(interp, SCRIPT_LINE, "%.*s", (int)len, at);
	at += len;
	at += strspn(at, " \t");
	(void)snprintf(arg, SCRIPT_LINE, "%s", at);
	return 0;
}

static int through_script(struct plan *p)
{
	char interp[SCRIPT_LINE], arg[SCRIPT_LINE];
	int rc = read_script(p, interp, arg);

	if (rc)
		return rc;
	if (p->argc) { /* the script's interpreter is a script: its name goes, its path comes */
		free(p->argv[0]);
		p->argc--;
		memmove(p->argv, p->argv + 1, p->argc * sizeof(*p->argv));
	}
	p->drop = 1;
	push_front(p, p->name);
	if (arg[0])
		push_front(p, arg);
	push_front(p, interp);
	(void)snprintf(p->name, sizeof(p->name), "%s", interp);
	return resolve_name(p, interp);
}

static int add_string(struct kp_start *s, const char *text, uint32_t *ret_off)
{
	size_t len = strlen(text) + 1;

	if (s->strings_len + len > sizeof(s->strings))
		return -E2BIG;
	*ret_off = s->strings_len;
	memcpy(s->strings + s->strings_len, text, len);
	s->strings_len += (uint32_t)len;
	return 0;
}

/* Where the loader opens it: nowhere, if it gets a descriptor. */
static int name_file(struct plan *p, uint32_t *ret_off)
{
	struct kp_hpath host;
	int rc = p->known ? kp_node_host_path(p->c->vfs, p->n, &host) : 0;

	*ret_off = 0;
	return rc || !p->known ? rc : add_string(&p->x->start, host.s, ret_off);
}

static int open_interp(struct plan *p)
{
	struct kp_exec *x = p->x;
	struct kp_hpath host;
	int rc;

	(void)snprintf(p->name, sizeof(p->name), "%s", p->what.interp);
	rc = resolve_name(p, p->name);
	if (!rc)
		rc = open_program(p, &x->interp_fd);
	if (rc)
		return rc;
	if (read_headers(p, x->interp_fd, true))
		return -ELIBBAD;
	x->start.interp = p->what.file;
	x->start.has_interp = 1;
	if (p->c->engine->fast && x->interp_fd >= 0 && p->in_store && !kp_node_host_path(p->c->vfs, p->n, &host))
		kp_sites_read(&p->c->engine->sites, x->interp_fd, p->what.file.ino, host.s);
	return name_file(p, &x->start.interp_off);
}

static int fill_start(struct plan *p, const char *exe)
{
	struct kp_start *s = &p->x->start;
	const char *slash = strrchr(p->filename, '/'), *comm = slash ? slash + 1 : p->filename;
	uint32_t off;
	int rc = 0;

	s->program_fd = s->interp_fd = -1;
	s->argv_drop = p->drop;
	s->argv_count = (uint32_t)p->argc;
	s->argv_off = 0;
	for (size_t i = 0; i < p->argc && !rc; i++)
		rc = add_string(s, p->argv[i], &off);
	if (!rc)
		rc = add_string(s, p->filename, &s->execfn_off);
	if (!rc)
		rc = add_string(s, exe, &s->exe_off);
	if (!rc)
		rc = add_string(s, p->comm[0] ? p->comm : comm, &s->comm_off);
	return rc;
}

/* Without a name the kernel (6.14) takes that of the file. */
static void name_of_fd(struct plan *p, const char *exe)
{
	const char *name = strrchr(exe, '/'), *mark = strstr(exe, " (deleted)");

	name = name ? name + 1 : exe;
	(void)snprintf(p->comm, sizeof(p->comm), "%.*s", mark > name ? (int)(mark - name) : 255, name);
}

/* Of a program that its user may not read (the kernel: would_dump). */
static int dumpable(struct plan *p)
{
	kp_autofree char *text = NULL;

	if (p->n->origin == KP_MAGIC || !kp_node_permit(p->c->vfs, p->n, kp_call_cred(p->c), R_OK))
		return 1;
	return kp_read_file(AT_FDCWD, "/proc/sys/fs/suid_dumpable", 16, &text, NULL) ? 0 : atoi(text);
}

/* A program that anybody may execute by that name without asking for it first: all of it is the image's, and the loader can open it. */
static bool may_be_numbered(const struct plan *p)
{
	const struct kp_call *c = p->c;

	return p->known && !p->argc && !p->by_fd && c->n.data.nr == SYS_execve && p->x->start.dumpable == 1 && !c->engine->trace;
}

/* From the resolved first file to program and interpreter. */
static int settle(struct plan *p)
{
	struct kp_node *program = NULL;
	char exe[PATH_MAX];
	int rc;

	for (int depth = 0;; depth++) {
		rc = open_program(p, &p->x->program_fd);
		if (rc)
			return rc;
		if (p->known || p->head_len < 2 || p->head[0] != '#' || p->head[1] != '!')
			break;
		if (depth >= MAX_SCRIPTS)
			return -ELOOP;
		if (p->fd_goes)
			return -ENOENT;
		p->x->program_fd = kp_close(p->x->program_fd);
		rc = through_script(p);
		if (rc)
			return rc;
	}
	rc = read_headers(p, p->x->program_fd, false);
	if (rc)
		return rc;
	p->x->start.program = p->what.file;
	if (p->n->origin != KP_MAGIC)
		(void)snprintf(exe, sizeof(exe), "%s", p->n->guest.s);
	else if (kp_proc_readlink(p->c->vfs, p->n, exe, sizeof(exe)))
		(void)snprintf(exe, sizeof(exe), "%s", p->filename);
	if (p->by_fd)
		name_of_fd(p, exe);
	p->x->start.dumpable = dumpable(p);
	rc = fill_start(p, exe);
	if (!rc)
		rc = name_file(p, &p->x->start.program_off);
	if (!rc && may_be_numbered(p)) {
		program = kp_calloc(1, sizeof(*program));
		*program = *p->n;
	}
	if (!rc && p->what.info.has_interp)
		rc = open_interp(p);
	if (!rc && program && p->known)
		kp_fast_note_program(p->c, program, p->x->start.has_interp ? p->name : NULL, p->n, &p->x->start);
	free(program);
	return rc;
}

/* Who never came to ask (the loader's execve failed, E2BIG for one) and is gone by now leaves no descriptors behind. */
static void remember(struct kp_engine *e, struct kp_exec *x)
{
	struct kp_exec *old, *next;

	pthread_mutex_lock(&e->exec_lock);
	HASH_ITER (hh, e->execs, old, next)
		if (old->tgid == x->tgid || (kill(old->tgid, 0) < 0 && errno == ESRCH)) {
			HASH_DEL(e->execs, old);
			exec_free(old);
		}
	HASH_ADD(hh, e->execs, tgid, sizeof(x->tgid), x);
	pthread_mutex_unlock(&e->exec_lock);
}

static struct kp_exec *recall(struct kp_engine *e, pid_t tgid)
{
	struct kp_exec *x;

	pthread_mutex_lock(&e->exec_lock);
	HASH_FIND(hh, e->execs, &tgid, sizeof(tgid), x);
	if (x)
		HASH_DEL(e->execs, x);
	pthread_mutex_unlock(&e->exec_lock);
	return x;
}

int kp_exec_keep_name(struct kp_call *c, const char *name)
{
	pid_t tgid = kp_proc_tgid(c->tid);
	struct kp_exec *x;
	int rc = 0;

	pthread_mutex_lock(&c->engine->exec_lock);
	HASH_FIND(hh, c->engine->execs, &tgid, sizeof(tgid), x);
	if (!x) {
		rc = -EPERM;
	} else if (!x->start.argv_drop) { /* a script's is dropped */
		rc = add_string(&x->start, name, &x->start.argv_off);
		if (!rc)
			x->start.argv_drop = x->start.argv_count = 1;
	}
	pthread_mutex_unlock(&c->engine->exec_lock);
	return rc;
}

void kp_exec_free(struct kp_engine *e)
{
	struct kp_exec *x, *next;

	HASH_ITER (hh, e->execs, x, next) {
		HASH_DEL(e->execs, x);
		exec_free(x);
	}
}

static int run(struct kp_call *c, int flags, int argv_arg)
{
	struct plan *p = kp_calloc(1, sizeof(*p));
	struct kp_rewrite *rw;
	int fd_flags, rc;

	p->c = c;
	p->n = kp_calloc(1, sizeof(*p->n));
	p->x = kp_calloc(1, sizeof(*p->x));
	p->x->program_fd = p->x->interp_fd = -1;
	p->x->tgid = kp_proc_tgid(c->tid);
	if (c->path[0][0] == '/' || c->dirfd[0] == AT_FDCWD)
		(void)snprintf(p->filename, sizeof(p->filename), "%s", c->path[0]);
	else if (!c->path[0][0])
		(void)snprintf(p->filename, sizeof(p->filename), "/dev/fd/%d", c->dirfd[0]);
	else
		(void)snprintf(p->filename, sizeof(p->filename), "/dev/fd/%d/%.4000s", c->dirfd[0], c->path[0]);
	(void)snprintf(p->name, sizeof(p->name), "%s", p->filename);
	p->by_fd = !c->path[0][0];
	p->fd_goes = c->path[0][0] != '/' && c->dirfd[0] != AT_FDCWD &&
		     !kp_task_fd_flags(c->tid, c->dirfd[0], &fd_flags) && fd_flags & O_CLOEXEC;
	kp_vfs_read_lock(c->vfs);
	rc = kp_call_resolve_at(c, 0, !(flags & AT_SYMLINK_NOFOLLOW), flags, p->n);
	if (!rc)
		rc = settle(p);
	kp_vfs_unlock(c->vfs);
	KP_DEBUG(EXEC, "%d execve %s: %d", c->tid, p->filename, rc);
	if (!rc) {
		remember(c->engine, p->x);
		p->x = NULL;
	}
	if (!rc && c->n.data.instruction_pointer == KP_ASK_IP && c->engine->fast) {
		c->value = KP_EXEC_READY;
	} else if (!rc) {
		c->noted = c->n.data.nr == SYS_execve && c->engine->fast;
		rw = kp_call_rewrite(c, SYS_execve);
		rc = kp_rewrite_string(rw, 0, c->engine->loader_path);
		rw->args[1] = c->raw[argv_arg];
		rw->args[2] = c->raw[argv_arg + 1];
		rw->args[3] = rw->args[4] = 0;
	}
	exec_free(p->x);
	for (size_t i = 0; i < p->argc; i++)
		free(p->argv[i]);
	free(p->n);
	free(p);
	return rc;
}

int kp_sys_execve(struct kp_call *c)
{
	return run(c, 0, 1);
}

int kp_sys_execveat(struct kp_call *c)
{
	int flags = (int)c->raw[4];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return run(c, flags, 2);
}

static struct kp_exec *known_as(struct kp_engine *e, uint32_t number)
{
	struct kp_exec *x = kp_calloc(1, sizeof(*x));

	x->program_fd = x->interp_fd = -1;
	return kp_programs_start(&e->programs, number, &x->start) ? x : exec_free(x);
}

/* The loader's one question. What it cannot open itself goes in first, and its numbers are part of the answer; the scratch is the answer. */
int kp_exec_start(struct kp_call *c)
{
	struct kp_exec *x = c->raw[2] ? known_as(c->engine, (uint32_t)c->raw[2]) : recall(c->engine, c->tid);
	int fds[2], numbers[2], rc = x ? 0 : -ENOSYS;

	if (!rc && c->raw[1] != sizeof(x->start))
		rc = -EINVAL;
	if (!rc && (x->program_fd >= 0 || x->interp_fd >= 0)) {
		fds[0] = x->program_fd;
		fds[1] = x->interp_fd;
		kp_trap_add_fds(c->trap, c->n.id, c->tid, fds, numbers, KP_ARRAY_LEN(fds));
		x->start.program_fd = numbers[0];
		x->start.interp_fd = numbers[1];
		for (size_t i = 0; i < KP_ARRAY_LEN(fds) && !rc; i++)
			rc = fds[i] < 0 ? 0 : KP_MIN(numbers[i], 0);
	}
	if (!rc) {
		x->start.fast = c->engine->fast && !kp_fast_is_watched(c);
		x->start.pid = c->tid;
		rc = kp_call_put(c, c->raw[0], &x->start, offsetof(struct kp_start, strings) + x->start.strings_len);
	}
	if (!rc)
		rc = kp_trap_answer_fd(c->trap, c->n.id, c->tid, kp_trap_scratch(c->trap));
	c->reply = KP_REPLY_DONE;
	exec_free(x);
	if (!rc)
		kp_prepare(c->engine);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a run: what the kernel counts for each process is its to keep (rlimits), and so is what a control group counts, where there is
 * one; else processes are counted where they are made. The instance's disk is looked at once a second.
 */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sys/handlers.h"
#include "sys/internal.h"
#include "sys/ports.h"
#include "vfs/internal.h"

#define COUNT_AGAIN_MS 2 /* after a count that found no room */
#define OWN_FILES 16384

static const struct {
	int resource;
	unsigned slack; /* between the soft limit, which a signal tells of, and the hard one */
} rlimits[KP_LIMIT_COUNT] = {
	[KP_LIMIT_MEMORY] = {RLIMIT_DATA, 0},
	[KP_LIMIT_PROCESSES] = {-1, 0},
	[KP_LIMIT_OPEN_FILES] = {RLIMIT_NOFILE, 0},
	[KP_LIMIT_FILE_SIZE] = {RLIMIT_FSIZE, 0},
	[KP_LIMIT_CPU_TIME] = {RLIMIT_CPU, 5},
	[KP_LIMIT_DISK] = {-1, 0},
};

static bool in_group(const struct kp_limit_state *s, int which)
{
	return s->group->keeps >> which & 1;
}

int kp_limits_enter(const struct kp_limit_state *s)
{
	return s->group->keeps && write(s->group->procs_fd, "0", 1) < 0 ? -errno : 0;
}

void kp_limits_apply(const struct kp_limit_state *s)
{
	const struct kp_limits *limits = &s->limits;

	(void)setrlimit(RLIMIT_NOFILE, &s->files);
	for (int i = 0; i < KP_LIMIT_COUNT; i++) {
		struct rlimit now, next;

		if (limits->max[i] == KP_UNLIMITED || in_group(s, i) || rlimits[i].resource < 0 || getrlimit(rlimits[i].resource, &now) < 0)
			continue;
		next.rlim_max = KP_MIN(now.rlim_max, limits->max[i] + rlimits[i].slack);
		next.rlim_cur = KP_MIN(next.rlim_max, limits->max[i]);
		(void)setrlimit(rlimits[i].resource, &next);
	}
}

/* --- what the user is told: each once --- */

void kp_limits_tell(struct kp_engine *e, enum kp_limit which, const char *what)
{
	struct kp_limit_state *s = &e->limit;
	char value[32];

	pthread_mutex_lock(&s->lock);
	if (!(s->told & 1U << which)) {
		s->told |= 1U << which;
		kp_limit_text(which, s->limits.max[which], value, sizeof(value));
		(void)snprintf(s->notice[which], sizeof(s->notice[which]), "%s: the limit of %s is reached: %s", kp_limit_names[which], value,
			       what);
	}
	pthread_mutex_unlock(&s->lock);
}

/* "KEY NUMBER" lines: is that number above 0? */
static bool has_event(int fd, const char *key)
{
	char text[512], *at = text, *line;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	size_t len = strlen(key);

	text[KP_MAX(n, 0)] = '\0';
	while ((line = strsep(&at, "\n")))
		if (!strncmp(line, key, len) && line[len] == ' ' && strtoull(line + len, NULL, 10))
			return true;
	return false;
}

static bool was_told(struct kp_limit_state *s, enum kp_limit which)
{
	bool told;

	pthread_mutex_lock(&s->lock);
	told = s->told >> which & 1;
	pthread_mutex_unlock(&s->lock);
	return told;
}

/* What the control group tells; "oom" is of its own limit, where the kernel's other counts have what others lack, too. */
static void look_at_group(struct kp_engine *e)
{
	static const struct {
		enum kp_limit which;
		const char *key, *what;
	} events[] = {{KP_LIMIT_MEMORY, "oom", "a process was ended"}, {KP_LIMIT_PROCESSES, "max", "no more can be made"}};

	for (size_t i = 0; i < KP_ARRAY_LEN(events); i++)
		if (in_group(&e->limit, events[i].which) && !was_told(&e->limit, events[i].which) &&
		    has_event(e->limit.group->events[events[i].which], events[i].key))
			kp_limits_tell(e, events[i].which, events[i].what);
}

bool kp_engine_notice(struct kp_engine *e, char *buf, size_t size)
{
	struct kp_limit_state *s = &e->limit;
	bool any = false;

	look_at_group(e);
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < KP_LIMIT_COUNT && !any; i++)
		if (s->notice[i][0]) {
			(void)snprintf(buf, size, "%s", s->notice[i]);
			s->notice[i][0] = '\0';
			any = true;
		}
	pthread_mutex_unlock(&s->lock);
	return any || kp_ports_notice(e->ports, buf, size);
}

void kp_engine_signalled(struct kp_engine *e, int signo)
{
	if (signo == SIGXCPU && e->limit.limits.max[KP_LIMIT_CPU_TIME] != KP_UNLIMITED)
		kp_limits_tell(e, KP_LIMIT_CPU_TIME, "the program was ended");
	if (signo == SIGXFSZ && e->limit.limits.max[KP_LIMIT_FILE_SIZE] != KP_UNLIMITED && !atomic_load(&e->vfs->full))
		kp_limits_tell(e, KP_LIMIT_FILE_SIZE, "the program was ended");
}

/* --- processes --- */

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t threads_of(pid_t pid)
{
	char path[48], text[512];
	kp_autoclose int fd = -1;
	unsigned threads = 0;
	const char *at;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[KP_MAX(n, 0)] = '\0';
	at = strrchr(text, ')');
	if (!at || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %u", &threads) != 1)
		return 1;
	return threads;
}

static uint64_t count_tasks(struct kp_engine *e)
{
	kp_autofree pid_t *pids = kp_calloc(8192, sizeof(*pids));
	size_t count = kp_engine_pids(e, pids, 8192);
	uint64_t tasks = 0;

	for (size_t i = 0; i < count; i++)
		tasks += threads_of(pids[i]);
	return tasks;
}

/* Ends are not counted one by one: so the number is never too low, and they are counted anew when it says that there is no room. */
static bool take_place(struct kp_engine *e)
{
	struct kp_limit_state *s = &e->limit;
	uint64_t max = s->limits.max[KP_LIMIT_PROCESSES];
	bool room;

	pthread_mutex_lock(&s->lock);
	if (s->tasks >= max && now_ms() - s->counted >= COUNT_AGAIN_MS) {
		s->tasks = count_tasks(e);
		s->counted = s->tasks < max ? 0 : now_ms();
	}
	room = s->tasks < max;
	s->tasks += room;
	pthread_mutex_unlock(&s->lock);
	return room;
}

void kp_limits_count(struct kp_engine *e)
{
	pthread_mutex_lock(&e->limit.lock);
	e->limit.tasks++;
	pthread_mutex_unlock(&e->limit.lock);
}

static int make_task(struct kp_call *c)
{
	const struct kp_limit_state *s = &c->engine->limit;

	if (s->limits.max[KP_LIMIT_PROCESSES] != KP_UNLIMITED && !in_group(s, KP_LIMIT_PROCESSES) && !take_place(c->engine)) {
		kp_limits_tell(c->engine, KP_LIMIT_PROCESSES, "no more can be made");
		return -EAGAIN;
	}
	c->reply = KP_REPLY_KERNEL;
	return 0;
}

int kp_sys_fork(struct kp_call *c)
{
	return make_task(c);
}

int kp_sys_clone(struct kp_call *c)
{
	return make_task(c);
}

/* --- disk --- */

static _Thread_local uint64_t used;

static int add_used(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path, (void)type, (void)at;
	used += (uint64_t)st->st_blocks * 512 / (S_ISDIR(st->st_mode) ? 1 : KP_MAX(st->st_nlink, 1U));
	return 0;
}

static uint64_t disk_used(struct kp_engine *e)
{
	char shm[PATH_MAX];

	used = 0;
	(void)nftw(e->vfs->upper.s, add_used, 64, FTW_PHYS | FTW_MOUNT);
	if (!kp_path_join(shm, sizeof(shm), e->run_dir, "shm"))
		(void)nftw(shm, add_used, 64, FTW_PHYS | FTW_MOUNT);
	return used;
}

/* Files that are open already must not grow. */
static void stop_growth(struct kp_engine *e, bool stop)
{
	kp_autofree pid_t *pids = kp_calloc(8192, sizeof(*pids));
	size_t count = kp_engine_pids(e, pids, 8192);

	for (size_t i = 0; i < count; i++) {
		struct rlimit limit;

		if (prlimit(pids[i], RLIMIT_FSIZE, NULL, &limit) < 0)
			continue;
		limit.rlim_cur = stop ? 0 : limit.rlim_max;
		(void)prlimit(pids[i], RLIMIT_FSIZE, &limit, NULL);
	}
}

static void *watch_disk(void *arg)
{
	struct kp_engine *e = arg;
	struct kp_limit_state *s = &e->limit;
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		bool full, was;

		pthread_mutex_unlock(&s->lock);
		was = atomic_load(&e->vfs->full);
		full = disk_used(e) > s->limits.max[KP_LIMIT_DISK];
		/* Who finds that he may make files again may write to them, too. */
		if (!full && was)
			stop_growth(e, false);
		atomic_store(&e->vfs->full, full);
		if (full) {
			kp_limits_tell(e, KP_LIMIT_DISK, "nothing more can be written");
			stop_growth(e, true);
		}
		pthread_mutex_lock(&s->lock);
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0)
			;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- the whole --- */

/* The supervisor holds descriptors for all guests. */
static void allow_itself_more(struct kp_limit_state *s)
{
	struct rlimit own;

	(void)getrlimit(RLIMIT_NOFILE, &s->files);
	own = s->files;
	own.rlim_cur = KP_MAX(own.rlim_cur, KP_MIN(own.rlim_max, (rlim_t)OWN_FILES));
	(void)setrlimit(RLIMIT_NOFILE, &own);
	(void)getrlimit(RLIMIT_NOFILE, &own);
	s->own_files = own.rlim_cur;
}

int kp_limits_start(struct kp_engine *e, const struct kp_limits *limits, const struct kp_engine_group *group, struct kp_err *err)
{
	static const struct kp_engine_group none = {.procs_fd = -1};
	struct kp_limit_state *s = &e->limit;
	int rc = 0;

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	allow_itself_more(s);
	s->group = group ? group : &none;
	for (int i = 0; i < KP_LIMIT_COUNT; i++)
		s->limits.max[i] = limits ? limits->max[i] : KP_UNLIMITED;
	if (s->limits.max[KP_LIMIT_DISK] != KP_UNLIMITED)
		rc = pthread_create(&s->watcher, NULL, watch_disk, e);
	return rc ? kp_fail_errno(err, rc, "limits: cannot watch the disk") : 0;
}

void kp_limits_stop(struct kp_engine *e)
{
	struct kp_limit_state *s = &e->limit;

	if (!s->watcher)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->watcher, NULL);
}

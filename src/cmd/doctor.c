/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel doctor: tries what the launcher needs of this host. Features are tried, versions are not read. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "instance/cgroup.h"
#include "instance/config.h"
#include "profile/profile.h"
#include "store/store.h"
#include "sys/engine.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, __u64)
#endif
#define SYNC_WAKE_UP 1UL

static int probe_value; /* read across processes */

/* Runs fn in a child of its own: 1 yes, 0 no. A probe may change the process for good. */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		return 0;
	if (!pid)
		_exit(fn() ? 0 : 1);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* A listener for getppid, which nothing here calls but by intent; -1 when refused. */
static int listener(unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {KP_ARRAY_LEN(code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, &prog);
}

static int try_notify(void)
{
	return listener(0) >= 0;
}

static int try_busy(void)
{
	return listener(0) < 0 && errno == EBUSY;
}

static int try_wait_killable(void)
{
	return listener(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) >= 0;
}

static int try_sync_wake(void)
{
	int fd = listener(0);

	return fd >= 0 && !ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP);
}

/* The whole of it: a child's call is answered with a descriptor put into it. */
static int try_addfd(void)
{
	struct seccomp_notif req = {0};
	struct seccomp_notif_addfd add = {.srcfd = 0, .flags = SECCOMP_ADDFD_FLAG_SEND};
	struct pollfd p = {.events = POLLIN};
	int fd = listener(0), status, ok = 0;
	pid_t pid;

	if (fd < 0)
		return 0;
	pid = fork();
	if (!pid) {
		(void)kp_close(fd); /* the last to be closed ends the wait */
		_exit(syscall(SYS_getppid) > 2 ? 0 : 1);
	}
	p.fd = fd;
	if (pid > 0 && poll(&p, 1, 2000) == 1 && !ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &req)) {
		add.id = req.id;
		ok = ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0;
	}
	(void)kp_close(fd); /* an unanswered call ends with ENOSYS */
	return pid > 0 && waitpid(pid, &status, 0) == pid && ok && WIFEXITED(status) && !WEXITSTATUS(status);
}

static int try_userns(void)
{
	return !unshare(CLONE_NEWUSER);
}

static int try_mm_map(void)
{
	unsigned size = 0;

	return !prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) && size;
}

/* Runs fn on a child that waits; the child is ended afterwards. */
static int on_child(int (*fn)(pid_t pid))
{
	int ok, status;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		return 0;
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	ok = fn(pid);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) == pid && !WIFEXITED(status) && !WIFSIGNALED(status))
		;
	return ok;
}

static int seize(pid_t pid)
{
	return !ptrace(PTRACE_SEIZE, pid, NULL, NULL);
}

static int read_memory(pid_t pid)
{
	int value = 0;
	struct iovec local = {&value, sizeof(value)}, remote = {&probe_value, sizeof(probe_value)};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof(value) && value == probe_value;
}

static int getfd(pid_t pid)
{
	kp_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd = -1;

	if (pidfd < 0)
		return 0;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 0, 0);
	return fd >= 0;
}

static int tmpfs_xattr(void)
{
	char path[] = "/dev/shm/kapsel-probe-XXXXXX";
	kp_autoclose int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		return 0;
	(void)unlink(path);
	return !fsetxattr(fd, "user.kapsel", "1", 1, 0);
}

enum need { NEEDED, STRICT, USEFUL };

struct answer {
	const char *name;
	bool ok;
	enum need need;
	char text[600];
};

static void set(struct answer *a, const char *name, enum need need, bool ok, const char *text)
{
	*a = (struct answer){.name = name, .ok = ok, .need = need};
	(void)snprintf(a->text, sizeof(a->text), "%.599s", text);
}

static void set_group(struct answer *a)
{
	const char *why = "";
	unsigned kept = kp_cgroup_would_keep(NULL, &why);
	char text[600];

	(void)snprintf(text, sizeof(text), "limits: memory %s, processes %s%s%s",
		       kp_limit_how(KP_LIMIT_MEMORY, kept >> KP_LIMIT_MEMORY & 1), kp_limit_how(KP_LIMIT_PROCESSES, kept >> KP_LIMIT_PROCESSES & 1),
		       kept ? "" : ": ", kept ? "" : why);
	set(a, "control-group", USEFUL, kept, text);
}

static size_t probe(struct answer *a)
{
	struct kp_store *store = NULL;
	struct kp_err err = {0};
	kp_autofree char *yama = NULL;
	char text[600];
	size_t n = 0, len;
	int abi = kp_landlock_abi();

	probe_value = 0x6b70;
	set(&a[n++], "seccomp-notify", NEEDED, in_child(try_notify),
	    in_child(try_busy) ? "a listener is installed already: by a tracer or sandbox around this process" : "seccomp user notification");
	set(&a[n++], "seccomp-addfd", NEEDED, in_child(try_addfd), "descriptors put into a stopped call");
	set(&a[n++], "wait-killable", USEFUL, in_child(try_wait_killable), "calls under way are not interrupted");
	set(&a[n++], "sync-wake-up", USEFUL, in_child(try_sync_wake), "fast answers");
	(void)snprintf(text, sizeof(text), "ABI %d: confinement (level portable needs 1, strict 2; signals are kept inside from 6)", abi);
	set(&a[n++], "landlock", NEEDED, abi >= 1, text);
	set(&a[n++], "landlock-2", STRICT, abi >= 2, "level strict");
	if (kp_read_file(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 16, &yama, &len) < 0)
		yama = kp_strdup("none\n");
	yama[strcspn(yama, "\n")] = '\0';
	(void)snprintf(text, sizeof(text), "PTRACE_SEIZE of a child (Yama scope: %.8s)", yama);
	set(&a[n++], "ptrace", NEEDED, on_child(seize), text);
	set(&a[n++], "process-vm-readv", NEEDED, on_child(read_memory), "reading a child's memory");
	set(&a[n++], "pidfd-getfd", USEFUL, on_child(getfd), "a child's descriptors; without it instances share the host's ports (no --publish, no --net connect=)");
	set(&a[n++], "pr-set-mm-map", USEFUL, in_child(try_mm_map), "a program's own auxiliary vector");
	set(&a[n++], "user-namespaces", USEFUL, in_child(try_userns), "not needed; with them the kernel itself tells a socket's path as its program gave it");
	set(&a[n++], "tmpfs-xattr", USEFUL, tmpfs_xattr(), "user attributes on /dev/shm");
	if (kp_store_open(&store, &err) < 0) {
		set(&a[n++], "store", NEEDED, false, err.text);
	} else {
		(void)snprintf(text, sizeof(text), "%.100s%s", kp_store_root(store),
			       kp_store_noexec(store) ? " (noexec: programs come from memory)" : "");
		kp_printable(text);
		set(&a[n++], "store", NEEDED, true, text);
	}
	(void)kp_store_free(store);
	set_group(&a[n++]);
	return n;
}

int kp_cmd_doctor(const struct kp_args *args, struct kp_err *err)
{
	static const char *const needs[] = {"needed", "strict", "useful"};
	bool json = kp_args_has(args, "json"), portable = true;
	struct answer answers[16];
	size_t count = probe(answers);

	for (size_t i = 0; i < count; i++) {
		const struct answer *a = &answers[i];
		struct kp_buf kp_autobuf text = {0};

		portable &= a->ok || a->need != NEEDED;
		kp_buf_quoted(&text, a->text);
		if (json)
			printf("%s{\"feature\":\"%s\",\"works\":%s,\"for\":\"%s\",\"note\":%s}", i ? ",\n " : "{\"features\":[\n ",
			       a->name, a->ok ? "true" : "false", needs[a->need], text.data);
		else
			printf("%-17s %-4s %-7s %s\n", a->name, a->ok ? "yes" : "NO", needs[a->need], a->text);
	}
	if (json)
		printf("],\n \"runs\":%s}\n", portable ? "true" : "false");
	else
		printf("\n%s\n", portable ? "Images run on this host." : "Images do not run on this host: see NO above.");
	(void)kp_flush(err);
	return portable ? 0 : KP_EXIT_FAILED;
}

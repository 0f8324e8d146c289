/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts past the filter: other ABIs, calls that a name filter forgets, calls made from odd places. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fanotify.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

/* --- i386 and x32 --- */

/* Some hypervisors' guests have no gate for 32-bit calls: natively it is a fault, too. */
static void no_gate(int sig)
{
	(void)sig;
	_exit(NOT_HERE);
}

static long int80(int nr, uintptr_t a, uintptr_t b, uintptr_t c)
{
	long ret;

	(void)signal(SIGSEGV, no_gate);
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	if ((int)ret < 0 && (int)ret > -4096) {
		errno = -(int)ret;
		return -1;
	}
	return (int)ret;
}

/* A copy that 32 bits can name. */
static uintptr_t low(const char *text)
{
	static char *page, *next;

	if (!page) {
		page = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		next = page;
	}
	strcpy(next, text);
	next += strlen(text) + 1;
	return (uintptr_t)next - strlen(text) - 1;
}

static int i386_open(const struct hostile *h)
{
	return holds_token(h, (int)int80(5, low(outside(h, "canary")), O_RDONLY, 0));
}

static int i386_openat_creat(const struct hostile *h)
{
	return int80(8, low(outside(h, "made")), 0600, 0) < 0 ? refused() : GOT;
}

static int i386_chmod(const struct hostile *h)
{
	return int80(15, low(outside(h, "canary")), 0600, 0) < 0 ? refused() : GOT;
}

static int i386_access(const struct hostile *h)
{
	return int80(33, low(outside(h, "canary")), F_OK, 0) < 0 ? refused() : GOT;
}

static int i386_exec_child(const struct hostile *h)
{
	uint32_t *args = (void *)low("0123456789abcdef");

	args[0] = (uint32_t)low("program");
	args[1] = 0;
	(void)int80(11, low(outside(h, "program")), (uintptr_t)args, 0);
	return refused();
}

static int i386_execve(const struct hostile *h)
{
	int status = in_child(i386_exec_child, h);

	return status == 42 ? GOT : status;
}

static int i386_kill(const struct hostile *h)
{
	return int80(37, (uintptr_t)h->victim, SIGURG, 0) < 0 ? refused() : GOT;
}

static int i386_chdir(const struct hostile *h)
{
	return int80(12, low(h->dir), 0, 0) < 0 ? refused() : GOT;
}

static int i386_connect(const struct hostile *h)
{
	struct {
		uint16_t family, port;
		uint32_t addr;
		char zero[8];
	} *to = (void *)low("0123456789abcdef");
	int fd = (int)int80(359, 2, 1, 0);

	if (fd < 0)
		return refused();
	to->family = 2;
	to->port = (uint16_t)(h->port >> 8 | h->port << 8);
	to->addr = 0x0100007f;
	return int80(362, (uintptr_t)fd, (uintptr_t)to, 16) < 0 ? refused() : holds_token(h, fd);
}

static int x32_open(const struct hostile *h)
{
	int fd = (int)syscall(SYS_open | 0x40000000, outside(h, "canary"), O_RDONLY);

	return fd < 0 && errno == ENOSYS ? NOT_HERE : holds_token(h, fd);
}

/* --- calls from odd places --- */

static long call_from(char *code, long nr, long a, long b, long c)
{
	/* mov eax, edi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; syscall; ret */
	static const unsigned char text[] = {0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x0f, 0x05, 0xc3};
	long (*fn)(long, long, long, long) = (long (*)(long, long, long, long))(void *)code;

	memcpy(code, text, sizeof(text));
	if (mprotect(code, 4096, PROT_READ | PROT_EXEC) < 0)
		return -1;
	errno = 0;
	nr = fn(nr, a, b, c);
	if (nr < 0 && nr > -4096) {
		errno = (int)-nr;
		return -1;
	}
	return nr;
}

static int from_anonymous(const struct hostile *h)
{
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return holds_token(h, (int)call_from(code, SYS_open, (long)outside(h, "canary"), O_RDONLY, 0));
}

static int from_memfd(const struct hostile *h)
{
	int fd = memfd_create("code", 0);
	char *code;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return refused();
	code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return holds_token(h, (int)call_from(code, SYS_open, (long)outside(h, "canary"), O_RDONLY, 0));
}

/* A filter of one's own that lets all pass counts less than the one that is there. */
static int own_filter(const struct hostile *h)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog prog = {1, code};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) < 0)
		return refused();
	return reads_token(h, outside(h, "canary"));
}

/* A process that nobody may look into must not be let go on for that. */
static int undumpable(const struct hostile *h)
{
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return reads_token(h, outside(h, "canary"));
}

static int undumpable_stat(const struct hostile *h)
{
	struct stat st;

	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return stat(outside(h, "canary"), &st) < 0 ? refused() : GOT;
}

/* --- io_uring --- */

struct ring {
	int fd;
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static int ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
	if (r->fd < 0)
		return refused();
	r->sq = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
	return r->sq == MAP_FAILED || r->cq == MAP_FAILED || r->sqes == MAP_FAILED ? refused() : 0;
}

static int ring_do(struct ring *r, const struct io_uring_sqe *sqe)
{
	struct io_uring_cqe *cqe;
	unsigned *tail = (unsigned *)(void *)(r->sq + r->p.sq_off.tail);

	r->sqes[0] = *sqe;
	((unsigned *)(void *)(r->sq + r->p.sq_off.array))[0] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -refused();
	cqe = (void *)(r->cq + r->p.cq_off.cqes);
	return cqe->res;
}

static int uring_open(const struct hostile *h)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)outside(h, "canary"), .open_flags = O_RDONLY};
	struct ring r;
	int fd = ring_open(&r);

	if (fd)
		return fd;
	fd = ring_do(&r, &sqe);
	return fd < 0 ? -fd : holds_token(h, fd);
}

static int uring_statx(const struct hostile *h)
{
	struct statx x;
	struct io_uring_sqe sqe = {.opcode = IORING_OP_STATX, .fd = AT_FDCWD, .addr = (uintptr_t)outside(h, "canary"), .len = STATX_SIZE,
				   .off = (uintptr_t)&x};
	struct ring r;
	int rc = ring_open(&r);

	return rc ? rc : -ring_do(&r, &sqe);
}

static int uring_mkdir(const struct hostile *h)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_MKDIRAT, .fd = AT_FDCWD, .addr = (uintptr_t)outside(h, "made"), .len = 0755};
	struct ring r;
	int rc = ring_open(&r);

	return rc ? rc : -ring_do(&r, &sqe);
}

/* --- calls that are refused --- */

static int use_userfaultfd(const struct hostile *h)
{
	(void)h;
	return syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) < 0 ? refused() : GOT;
}

static int use_bpf(const struct hostile *h)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)h;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)) < 0 ? refused() : GOT;
}

static int use_perf(const struct hostile *h)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1};

	return syscall(SYS_perf_event_open, &attr, h->victim, -1, -1, 0) < 0 ? refused() : GOT;
}

static int use_open_tree(const struct hostile *h)
{
	struct stat st;
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, h->dir, 0);

	return fd < 0 || fstat(fd, &st) < 0 ? refused() : GOT;
}

static int use_fanotify(const struct hostile *h)
{
	int fd = (int)syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);

	if (fd < 0)
		return refused();
	return syscall(SYS_fanotify_mark, fd, FAN_MARK_ADD, FAN_CREATE, AT_FDCWD, h->dir) < 0 ? refused() : GOT;
}

static int use_handles(const struct hostile *h)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} f = {.h.handle_bytes = MAX_HANDLE_SZ};
	int mount_id;

	return name_to_handle_at(AT_FDCWD, outside(h, "canary"), &f.h, &mount_id, 0) < 0 ? refused() : GOT;
}

static int use_listmount(const struct hostile *h)
{
	struct {
		uint32_t size, spare;
		uint64_t mnt_id, param, ns;
	} ask = {.size = 24, .mnt_id = ~0ULL};
	uint64_t ids[64];

	(void)h;
	return syscall(458, &ask, ids, 64, 0) <= 0 ? refused() : GOT;
}

static int use_mount(const struct hostile *h)
{
	if (mount("none", outside(h, "empty"), "tmpfs", 0, NULL) < 0)
		return refused();
	(void)umount2(outside(h, "empty"), MNT_DETACH);
	return GOT;
}

static int use_fsopen(const struct hostile *h)
{
	(void)h;
	return syscall(SYS_fsopen, "tmpfs", 0) < 0 ? refused() : GOT;
}

static int use_kernel_log(const struct hostile *h)
{
	(void)h;
	return syscall(SYS_syslog, 10 /* size of the buffer */, NULL, 0) <= 0 || syscall(SYS_syslog, 3, h->dir, 0) < 0 ? refused() : GOT;
}

static int use_iopl(const struct hostile *h)
{
	(void)h;
	if (syscall(SYS_iopl, 3) == 0)
		return GOT;
	return errno == ENOSYS ? NOT_HERE : refused();
}

static int use_module(const struct hostile *h)
{
	(void)h;
	/* EPERM comes before anything is looked at. */
	if (syscall(SYS_finit_module, -1, "", 0) < 0 && errno == ENOSYS)
		return NOT_HERE;
	return errno == EBADF ? GOT : refused();
}

static int make_namespace(const struct hostile *h)
{
	(void)h;
	return unshare(CLONE_NEWUSER) < 0 ? refused() : GOT;
}

static int clone_namespace(const struct hostile *h)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	(void)h;
	if (!pid)
		_exit(0);
	return pid < 0 ? refused() : GOT;
}

static int clone3_namespace(const struct hostile *h)
{
	uint64_t args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
	long pid = syscall(SYS_clone3, args, sizeof(args));

	(void)h;
	if (!pid)
		_exit(0);
	return pid < 0 ? refused() : GOT;
}

static int enter_namespace(const struct hostile *h)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/uts", h->victim);
	fd = open(path, O_RDONLY);
	return fd < 0 || setns(fd, 0) < 0 ? refused() : GOT;
}

/* --- terminals --- */

static int type_with(unsigned long request)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char name[64], c = 'x';

	(void)setsid();
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof(name)))
		return refused();
	slave = open(name, O_RDWR);
	if (slave < 0)
		return refused();
	(void)ioctl(slave, TIOCSCTTY, 0);
	return syscall(SYS_ioctl, slave, request, &c) < 0 ? refused() : GOT;
}

static int type(const struct hostile *h)
{
	(void)h;
	return type_with(TIOCSTI);
}

static int type_garbage(const struct hostile *h)
{
	(void)h;
	return type_with(TIOCSTI | 0xabadcafe00000000UL);
}

const struct attempt abi_attempts[] = {
	{"i386-open", "1", "", i386_open},
	{"i386-creat", "1", "W", i386_openat_creat},
	{"i386-chmod", "1", "W", i386_chmod},
	{"i386-access", "1", "", i386_access},
	{"i386-execve", "1", "", i386_execve},
	{"i386-chdir", "1", "", i386_chdir},
	{"i386-kill", "1", "", i386_kill},
	{"i386-connect", "1", "", i386_connect},
	{"x32-open", "1", "", x32_open},
	{"anonymous-code", "7", "", from_anonymous},
	{"memfd-code", "7", "", from_memfd},
	{"own-filter", "6", "", own_filter},
	{"undumpable-open", "26", "", undumpable},
	{"undumpable-stat", "26", "", undumpable_stat},
	{"io_uring-open", "3", "", uring_open},
	{"io_uring-statx", "3", "", uring_statx},
	{"io_uring-mkdir", "3", "W", uring_mkdir},
	{"userfaultfd", "3,9", "", use_userfaultfd},
	{"bpf", "3", "", use_bpf},
	{"perf_event_open", "3", "", use_perf},
	{"open_tree", "3", "", use_open_tree},
	{"fanotify", "3", "", use_fanotify},
	{"name_to_handle_at", "3", "", use_handles},
	{"listmount", "2,3", "", use_listmount},
	{"mount", "3", "", use_mount},
	{"fsopen", "3", "", use_fsopen},
	{"syslog", "3", "", use_kernel_log},
	{"iopl", "3", "", use_iopl},
	{"finit_module", "3", "", use_module},
	{"unshare-user", "4", "", make_namespace},
	{"clone-user", "4", "", clone_namespace},
	{"clone3-user", "4", "", clone3_namespace},
	{"setns", "4", "", enter_namespace},
	{"tiocsti", "5", "", type},
	{"tiocsti-garbage", "5", "", type_garbage},
	{NULL, NULL, NULL, NULL},
};

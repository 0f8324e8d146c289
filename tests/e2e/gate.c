/* SPDX-License-Identifier: Apache-2.0 */
/* gate PATH: a guest that jumps to the gate of the fast path itself, to have what it should not; PATH is the host's. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "jump.h"

/* After a few times this program can be executed without being asked for. */
static bool is_known(void)
{
	char *argv[] = {(char *)"gate", NULL};
	int status = -1;
	pid_t pid;

	return !posix_spawn(&pid, "/gate", NULL, NULL, argv, argv + 1) && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

static long gate(long nr, long a, long b, long c, long d)
{
	return jump((long)KP_GATE, nr, a, b, c, d);
}

/* Names of the loader from their middle, and those that no program has. */
static void loader_names(void)
{
	char *argv[] = {(char *)"loader", NULL};

	for (uint64_t at = KP_SCRATCH_LOADER; at < KP_SCRATCH_BASE + KP_SCRATCH_SIZE; at++) {
		const char *name = (const char *)at;

		if (at % KP_LOADER_NAME == 0 ? !*name : at % 37 == 0)
			CHECK(gate(SYS_execve, (long)name, (long)argv, (long)(argv + 1), 0) == -ENOENT);
	}
}

/* Who asks the loader's question himself, for a program that is known, gets what every guest has mapped anyway, for reading. */
static void loaders_question(void)
{
	static struct kp_start start;
	long fd = syscall(KP_NR_START, &start, sizeof(start), 1L);
	char path[64];
	int again;

	CHECK(syscall(KP_NR_START, &start, sizeof(start), 0L) == -1 && errno == ENOSYS);
	CHECK(syscall(KP_NR_START, &start, sizeof(start), (long)KP_LOADER_NAMES) == -1 && errno == ENOSYS);
	CHECK(syscall(KP_NR_START, &start, sizeof(start), -1L) == -1 && errno == ENOSYS);
	CHECK(syscall(KP_NR_START, NULL, sizeof(start), 0L) == -1);
	if (fd < 0) /* not sealed: nothing is known by number */
		return;
	CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0) == MAP_FAILED);
	CHECK(write((int)fd, "x", 1) == -1 && ftruncate((int)fd, 0) == -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%ld", fd);
	again = open(path, O_RDWR);
	CHECK(again < 0 || (write(again, "x", 1) == -1 && mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED));
	CHECK(!close((int)fd));
}

/* What can be opened there for reading is not the guest's to change, though its user owns it. */
static void loader_stays(void)
{
	int fd = (int)gate(SYS_openat, AT_FDCWD, (long)KP_SCRATCH_LOADER, O_RDONLY, 0);
	char path[64];

	CHECK(fd >= 0 && fchmod(fd, 0777) == -1 && fchown(fd, getuid(), getgid()) == -1 && futimens(fd, NULL) == -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(chmod(path, 0777) == -1 && open(path, O_RDWR) == -1);
	CHECK(!close(fd));
}

/* The exec loader, whose program nobody has settled. */
static void loader_alone(void)
{
	const char *loader = (const char *)KP_SCRATCH_LOADER;
	void *at = (void *)(KP_SCRATCH_LOADER & ~4095ULL);
	char *argv[] = {(char *)"loader", NULL};
	int status = 0;
	pid_t pid;

	if (!*loader) /* a kernel without mseal: the gate is not open for it */
		return;
	/* Another path in its place would be executed. */
	CHECK(mmap(at, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM);
	CHECK(munmap(at, 4096) == -1 && mprotect(at, 4096, PROT_READ | PROT_WRITE) == -1);
	pid = fork();
	if (!pid) {
		(void)gate(SYS_execve, (long)loader, (long)argv, (long)(argv + 1), 0);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	loader_names();
	loader_stays();
}

/* Contents of the host, or changes of it, are not to be had there; names may be probed, as they may anyway (docs/SECURITY.md). What goes to
 * the supervisor is not there (ENOENT), what passes is for Landlock. */
static int at_gate(const char *path)
{
	char buf[8], other[4096];
	struct stat st;

	CHECK(gate(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0) == -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)"/proc/self/mem", O_RDONLY, 0) == -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)"/", O_RDONLY, 0) == -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)"/", O_DIRECTORY, 0) == -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)"/", O_TMPFILE | O_RDWR, 0600) >= 0); /* as everywhere: the guest's */
	CHECK(gate(SYS_openat, AT_FDCWD, (long)path, O_WRONLY, 0) == -ENOENT);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_TRUNC, 0) == -ENOENT);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)"/", O_CREAT, 0600) == -EISDIR);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)path, O_PATH, 0) == -ENOENT);
	CHECK(gate(SYS_open, (long)path, O_RDWR, 0, 0) == -ENOENT);
	/* What is not there may be made, plainly, where it is the guest's to make. */
	snprintf(other, sizeof(other), "%s-not-there", path);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)other, O_CREAT | O_EXCL | O_RDWR, 0600) < 0);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)other, O_CREAT | O_EXCL | O_RDWR, 04700) != -EACCES); /* the supervisor's to answer */
	CHECK(gate(SYS_openat, AT_FDCWD, (long)other, O_CREAT | O_EXCL | O_RDWR, 0400) != -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)other, O_CREAT | O_EXCL | O_RDWR | O_TRUNC, 0600) != -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)other, O_CREAT | O_RDWR, 0600) != -EACCES);
	CHECK(gate(SYS_openat, AT_FDCWD, (long)path, O_CREAT | O_EXCL | O_RDWR, 0600) < 0);
	CHECK(gate(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0) == -ENOENT);
	CHECK(gate(SYS_chmod, (long)path, 0, 0, 0) == -ENOENT);
	CHECK(gate(SYS_truncate, (long)path, 0, 0, 0) == -ENOENT);
	CHECK(gate(SYS_readlinkat, AT_FDCWD, (long)path, (long)buf, sizeof(buf)) == -ENOENT);
	CHECK(gate(SYS_execve, (long)path, 0, 0, 0) == -ENOENT);
	CHECK(gate(SYS_execveat, AT_FDCWD, (long)path, 0, 0) == -ENOENT);
	for (int i = 0; i < 6; i++)
		CHECK(is_known());
	loader_alone();
	loaders_question();
	CHECK(gate(SYS_newfstatat, AT_FDCWD, (long)".", (long)&st, 0) == 0);
	/* The cache is nobody's to write. */
	CHECK(mprotect((void *)KP_FAST_BASE, 4096, PROT_READ | PROT_WRITE) == -1);
	printf("gate: %d wrong\n", failures);
	return failures;
}

int main(int argc, char **argv)
{
	return argc == 2 ? at_gate(argv[1]) : 7;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anycall SECONDS SEED: inside only. Every system call by its number, 0 to 600, with arguments out of a hat, in processes that live for a
 * moment each. Says its supervisor's number and its own, rests until who watches has counted and sends SIGUSR1, goes on, rests again.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static char *area; /* two pages, and none behind */
#define AREA 8192

static void fill(void)
{
	static const char *const words[] = {"/", "/f", "/d/f", "f", "..", "/proc/self/fd/3", "/d", "/dev/null", "/proc/self/mem", "/link", "", "/d/../f/.",
					    "user.x", "/tmp/s", "/dev/ptmx", "/proc/self/cwd/x"};
	for (size_t i = 0; i + 64 <= AREA; i += 64) {
		switch (any() % 4) {
		case 0:
		case 1:
			strcpy(area + i, words[any() % (sizeof(words) / sizeof(words[0]))]);
			break;
		case 2:
			for (size_t k = 0; k < 64; k += 8) {
				uint64_t v = any() % 3 ? any() % 8 : (uintptr_t)area + any() % AREA;

				memcpy(area + i + k, &v, 8);
			}
			break;
		default:
			for (size_t k = 0; k < 64; k++)
				area[i + k] = (char)any();
		}
	}
}

static uint64_t argument(void)
{
	switch (any() % 12) {
	case 0:
		return 0;
	case 1:
		return (uint64_t)-1;
	case 2:
		return (uint64_t)(int64_t)AT_FDCWD;
	case 3:
		return any() % 16;
	case 4:
		return 1ULL << any() % 64;
	case 5:
		return any();
	case 6:
		return (uintptr_t)area + AREA - any() % 32;
	case 7:
		return (uint64_t)getpid();
	case 8:
		return any() % 4096;
	default:
		return (uintptr_t)area + any() % (AREA / 64) * 64;
	}
}

/* What would only end or stop the run itself. */
static bool is_left_out(long nr)
{
	static const long out[] = {SYS_exit, SYS_exit_group, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_rt_sigsuspend,
				   SYS_pause, SYS_vfork, SYS_fork, SYS_clone, SYS_setpriority, SYS_rt_sigreturn};

	for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
		if (nr == out[i])
			return true;
	return false;
}

static void on_tick(int sig)
{
	(void)sig;
}

static _Noreturn void call_at_random(void)
{
	struct sigaction tick = {.sa_handler = on_tick}; /* what waits is interrupted */
	struct itimerval often = {{0, 20000}, {0, 20000}};
	struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setpgid(0, 0);
	for (int sig = 1; sig < 32; sig++)
		(void)signal(sig, SIG_IGN);
	(void)sigaction(SIGALRM, &tick, NULL);
	(void)setitimer(ITIMER_REAL, &often, NULL);
	for (int fd = 3; fd < 10; fd++)
		(void)open(fd % 2 ? "/f" : "/d", O_RDONLY);
	for (int i = 0; i < 4000; i++) {
		long nr = (long)(any() % 601);

		if (i % 50 == 0)
			fill();
		if (!is_left_out(nr))
			(void)syscall(nr, argument(), argument(), argument(), argument(), argument(), argument());
	}
	_exit(0);
}

static unsigned long run_for(unsigned seconds)
{
	time_t end = time(NULL) + (time_t)seconds;
	unsigned long rounds = 0;

	while (time(NULL) < end) {
		pid_t pid = fork();
		struct timespec tick = {0, 5000000};

		(void)any();
		if (!pid)
			call_at_random();
		/* Stopped, waiting for ever, whatever: gone after a while. */
		for (int i = 0; i < 100 && pid > 0 && waitpid(pid, NULL, WNOHANG) == 0; i++)
			(void)nanosleep(&tick, NULL);
		(void)kill(pid, SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		rounds++;
	}
	return rounds;
}

/* Until who watches has counted. */
static void rest(const char *phase)
{
	const struct timespec limit = {.tv_sec = 120};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	printf("%s\n", phase);
	(void)fflush(stdout);
	(void)sigtimedwait(&set, NULL, &limit);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	unsigned long rounds;
	sigset_t set;

	state = (argc > 2 ? strtoull(argv[2], NULL, 0) : 1) * 0x9e3779b97f4a7c15ULL | 1;
	if (access("/this-is-inside", F_OK) < 0) {
		fprintf(stderr, "anycall: not inside: nothing is done\n");
		return 2;
	}
	area = mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)munmap(area + AREA, 4096);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	printf("supervisor %d\nguest %d\n", getppid(), getpid());
	(void)run_for(seconds / 4 + 1);
	rest("first");
	rounds = run_for(seconds);
	rest("second");
	printf("rounds %lu\n", rounds);
	return 0;
}

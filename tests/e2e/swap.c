/* SPDX-License-Identifier: Apache-2.0 */
/*
 * swap [-p] FIFO CANARY SECONDS SCRATCH SIZE: opens FIFO (-p: with O_PATH, then what that descriptor leads to) for SECONDS, while another thread writes CANARY over every host path that appears in the
 * memory at SCRATCH, where a rewritten call has its strings. Prints how often a path was swapped, and each content of the canary it got.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SLOT 8192 /* one rewritten call's */

static const char *canary;
static char *scratch;
static size_t size;
static atomic_bool over;
static atomic_ulong swaps;

static sigjmp_buf out_of;

static void on_fault(int sig)
{
	siglongjmp(out_of, sig);
}

/* Is the memory proof against its own process? Each way to make it another is tried; the first that works is named. */
static const char *way_in(void)
{
	char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec local = {page, 64}, remote = {scratch, 64};
	int mem = open("/proc/self/mem", O_RDWR);

	if (mprotect(scratch, size, PROT_READ | PROT_WRITE) == 0)
		return "mprotect";
	if (munmap(scratch, size) == 0)
		return "munmap";
	if (mmap(scratch, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
		return "mmap";
	if (mremap(scratch, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, page) != MAP_FAILED)
		return "mremap";
	if (remap_file_pages(scratch, size, 0, 1, 0) == 0)
		return "remap_file_pages";
	if (madvise(scratch, size, MADV_DONTFORK) == 0 || madvise(scratch + 4096, 1, MADV_DONTFORK) == 0)
		return "madvise";
	if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) > 0)
		return "process_vm_writev";
	if (mem >= 0 && pwrite(mem, page, 64, (off_t)(uintptr_t)scratch) > 0)
		return "/proc/self/mem";
	(void)munmap(page, size);
	return NULL;
}

static void *swapper(void *arg)
{
	size_t len = strlen(canary) + 1;

	if (sigsetjmp(out_of, 1))
		return arg;

	while (!atomic_load(&over))
		for (size_t slot = 0; slot + SLOT <= size; slot += SLOT)
			for (char *p = scratch + slot; p < scratch + slot + 64; p += 8) {
				if (*p != '/')
					continue;
				if (strcmp(p, canary) != 0) {
					memcpy(p, canary, len);
					atomic_fetch_add(&swaps, 1);
				}
				break;
			}
	return arg;
}

int main(int argc, char **argv)
{
	bool path_only = argc > 1 && !strcmp(argv[1], "-p");
	unsigned long tries = 0, refused = 0, got = 0;
	const char *way;
	time_t end;
	pthread_t t;

	argc -= path_only;
	argv += path_only;
	if (argc != 6)
		return 2;
	canary = argv[2];
	scratch = (char *)strtoul(argv[4], NULL, 0); /* NOLINT: an address as the loader has it */
	size = strtoul(argv[5], NULL, 0);
	end = time(NULL) + atoi(argv[3]);
	(void)signal(SIGSEGV, on_fault);
	way = way_in();
	if (pthread_create(&t, NULL, swapper, NULL))
		return 2;
	while (time(NULL) < end) {
		int fd = open(argv[1], path_only ? O_PATH : O_RDONLY | O_NONBLOCK);
		struct stat st;

		if (path_only && fd >= 0) {
			char link[32];
			int again;

			(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
			again = open(link, O_RDONLY | O_NONBLOCK);
			(void)close(fd);
			fd = again;
		}

		tries++;
		if (fd < 0) {
			refused++;
			continue;
		}
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
			char text[64] = "";

			if (read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "canary") && !got++)
				printf("got: %s", text);
		}
		(void)close(fd);
	}
	atomic_store(&over, true);
	pthread_join(t, NULL);
	printf("%s%s; tries %lu, swapped %lu, refused %lu, got %lu\n", way ? "opened by " : "no way in", way ? way : "", tries, atomic_load(&swaps),
	       refused, got);
	return got != 0;
}

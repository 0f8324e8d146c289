/* SPDX-License-Identifier: Apache-2.0 */
/* 64 threads that create, open, rename and remove at once: nothing is lost, nothing happens twice. */
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>

#define THREADS 64
#define ROUNDS 20

static atomic_int mistakes, winners, renamed;
static pthread_barrier_t gate;

static void expect(bool right, const char *what, long id)
{
	if (!right && atomic_fetch_add(&mistakes, 1) < 5)
		printf("thread %ld: %s: %s\n", id, what, errno_name(errno));
}

static void *own_files(void *arg)
{
	long id = (long)arg;
	char a[64], b[64], text[64], back[64];
	int fd;

	pthread_barrier_wait(&gate);
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(a, sizeof(a), "dir/t%ld-%d", id, i);
		snprintf(b, sizeof(b), "dir/sub/t%ld-%d", id, i);
		snprintf(text, sizeof(text), "text of %ld in round %d", id, i);
		fd = open(a, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
		expect(fd >= 0, "create", id);
		expect(write(fd, text, strlen(text) + 1) > 0, "write", id);
		expect(close(fd) == 0, "close", id);
		expect(rename(a, b) == 0, "rename", id);
		expect(access(a, F_OK) < 0 && errno == ENOENT, "the old name is there", id);
		fd = open(b, O_RDONLY | O_CLOEXEC);
		expect(fd >= 0 && read(fd, back, sizeof(back)) > 0 && !strcmp(text, back), "read back", id);
		expect(close(fd) == 0, "close", id);
		expect(unlink(b) == 0, "unlink", id);
		fd = open("file", O_RDONLY | O_CLOEXEC);
		expect(fd >= 0 && read(fd, back, 5) == 5 && !memcmp(back, "hello", 5), "read file", id);
		expect(close(fd) == 0, "close", id);
	}
	return NULL;
}

static void *one_name(void *arg)
{
	char name[64];

	for (int i = 0; i < ROUNDS; i++) {
		int fd;

		pthread_barrier_wait(&gate);
		snprintf(name, sizeof(name), "race%d", i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
		if (fd >= 0) {
			atomic_fetch_add(&winners, 1);
			close(fd);
		} else {
			expect(errno == EEXIST, "lost a race", (long)arg);
		}
		pthread_barrier_wait(&gate);
		if (rename(name, "raced") == 0)
			atomic_fetch_add(&renamed, 1);
		else
			expect(errno == ENOENT, "rename", (long)arg);
	}
	return NULL;
}

static void *same_image_file(void *arg)
{
	char name[32];
	int fd;

	pthread_barrier_wait(&gate);
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "dir/many/f%03d", i);
		fd = open(name, i % 2 ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_APPEND | O_CLOEXEC);
		expect(fd >= 0, "open", (long)arg);
		if (i % 2 == 0)
			expect(write(fd, "+", 1) == 1, "append", (long)arg);
		expect(close(fd) == 0, "close", (long)arg);
	}
	return NULL;
}

static void run(const char *label, void *(*fn)(void *))
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&gate, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fn, (void *)i) != 0)
			exit(EXIT_FAILURE);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%s: mistakes %d\n", label, atomic_load(&mistakes));
}

static void *becomes_another(void *arg)
{
	usleep((useconds_t)(uintptr_t)arg);
	execl("/proc/self/exe", "threads", "ended", (char *)NULL);
	return NULL;
}

/* The first thread is in calls that take a rewrite while the second takes over its number: nobody may wait for the first for ever. */
static void exec_beside_calls(void)
{
	pthread_t thread;
	int done = 0;

	for (int i = 0; i < 60; i++) {
		int status = -1;
		pid_t pid = fork();

		if (!pid) {
			pthread_create(&thread, NULL, becomes_another, (void *)(uintptr_t)(i * 31));
			for (;;)
				close(open("file", O_PATH));
		}
		if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7)
			done++;
	}
	printf("exec beside calls of the first thread: %d of 60\n", done);
}

int main(int argc, char **argv)
{
	struct stat st;
	long appended = 0;
	char name[32];

	if (argc > 1 && !strcmp(argv[1], "ended"))
		return 7;
	guest_start();
	exec_beside_calls();
	run("own files", own_files);
	run("one name", one_name);
	printf("created %d, renamed %d\n", atomic_load(&winners), atomic_load(&renamed));
	run("one image file", same_image_file);
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "dir/many/f%03d", i);
		appended += stat(name, &st) == 0 ? st.st_size : -1000000;
	}
	printf("appended %ld\n", appended);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Mapped files, also across the first write to a file that came with the tree. */
#include "guest.h"

static char *map(const char *path, int open_flags, int prot, int flags, size_t len)
{
	int fd = open(path, open_flags | O_CLOEXEC);
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	showf(p == MAP_FAILED ? -1 : 0, "map %s %#x %d %d", path, open_flags, prot, flags);
	close(fd);
	return p;
}

int main(void)
{
	char *shared, *private, *again;
	int fd;

	guest_start();
	shared = map("file", O_RDONLY, PROT_READ, MAP_SHARED, 6);
	private = map("file", O_RDONLY, PROT_READ | PROT_WRITE, MAP_PRIVATE, 6);
	map("file", O_RDONLY, PROT_READ | PROT_WRITE, MAP_SHARED, 6);
	map("file", O_WRONLY, PROT_READ, MAP_SHARED, 6);
	map("dir", O_RDONLY, PROT_READ, MAP_SHARED, 6);
	map("empty", O_RDONLY, PROT_READ, MAP_SHARED, 6);
	map("script", O_RDONLY, PROT_READ | PROT_EXEC, MAP_PRIVATE, 6);
	private[0] = 'P';
	printf("private %.5s, shared %.5s\n", private, shared);
	show_content("file");

	/* A new writer and a new reader see each other. */
	again = map("big", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, 300000);
	memcpy(again + 100000, "mapped", 6);
	fd = FD(open("big", O_RDWR));
	char buf[8] = "";
	CALL(pread(fd, buf, 6, 100000));
	printf("read %s\n", buf);
	CALL(pwrite(fd, "written", 7, 200000));
	printf("mapped %.7s\n", again + 200000);
	CALL(msync(again, 300000, MS_SYNC));
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		memcpy(again, "child", 5);
		_exit(0);
	}
	show_wait("child", pid);
	show_content("big");
	CALL(truncate("big", 4096));
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(again[200000]);
	show_wait("read behind the end", pid);
	CALL(munmap(again, 300000));

	/* What was mapped lives on without its name. */
	CALL(unlink("file"));
	printf("unlinked %.5s\n", shared);
	CALL(rename("dir/a", "file"));
	printf("replaced %.5s\n", shared);
	show_content("file");

	fd = FD(open("new", O_RDWR | O_CREAT, 0644));
	CALL(ftruncate(fd, 8192));
	again = map("new", O_RDWR, PROT_READ | PROT_WRITE, MAP_SHARED, 8192);
	again[8191] = 'e';
	CALL(pread(fd, buf, 1, 8191));
	printf("last %c\n", buf[0]);
	CALL(copy_file_range(open("ro", O_RDONLY), NULL, fd, NULL, 100, 0));
	show_content("new");
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The working directory: relative paths, `..`, removed and moved directories, who shares it with whom. */
#include "guest.h"
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static char top[PATH_MAX];

/* The working directory below the tree's own top, which has a name of the day. */
static void where(const char *label)
{
	char buf[PATH_MAX];

	if (!getcwd(buf, sizeof(buf)))
		printf("%s: getcwd: %s\n", label, errno_name(errno));
	else if (!strncmp(buf, top, strlen(top)))
		printf("%s: in T%s\n", label, buf + strlen(top));
	else
		printf("%s: in %s\n", label, strncmp(buf, "/var/tmp/", 9) ? buf : "above T");
}

static void moving(void)
{
	static const char *const names[] = {
		"dir", "sub", "deep", "..", "../..", "up", "dirlink/sub", "nothing", "file", "upfile", "../a", ".", "", "../..",
		"./dir/./sub/../sub//deep/", "up", "../../../dirlink", "up/loop", "../dangling", "../dirlink/",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		showf(chdir(tail_str(names[i])), "chdir '%s'", names[i]);
		where("  now");
	}
	CALL(chdir(tail_unterminated("sub")));
	CALL(chdir(top));
	FD(open("dir/../file", O_RDONLY));
	CALL(chdir("/"));
	where("root");
	CALL(chdir("../../.."));
	where("root's parent");
	CALL(chdir(top));
}

static void sizes(void)
{
	char *buf = tail_alloc(strlen(top) + 1), *less = tail_alloc(strlen(top));
	long rc = syscall(SYS_getcwd, buf, strlen(top) + 1);

	printf("just enough: %d\n", rc == (long)strlen(top) + 1 && !strcmp(buf, top));
	CALL(syscall(SYS_getcwd, less, strlen(top)));
	CALL(syscall(SYS_getcwd, NULL, 4096));
	CALL(syscall(SYS_getcwd, buf, 0));
}

static void by_descriptor(void)
{
	int dir = FD(open("dir/sub", O_RDONLY | O_DIRECTORY)), path = FD(open("dirlink", O_PATH)), file = FD(open("file", O_RDONLY));

	CALL(fchdir(dir));
	where("fchdir");
	FD(openat(dir, "../a", O_RDONLY));
	FD(openat(dir, "deep/leaf", O_RDONLY));
	FD(open("deep/leaf", O_RDONLY));
	CALL(fchdir(path));
	where("fchdir O_PATH");
	CALL(fchdir(file));
	CALL(fchdir(999));
	CALL(chdir(top));
	/* Climbing by descriptors ends at the root. */
	for (int i = 0; i < 30; i++) {
		int up = openat(dir, "..", O_RDONLY | O_DIRECTORY);

		close(dir);
		dir = up;
	}
	CALL(fchdir(dir));
	where("climbed");
	CALL(chdir(top));
	CALL(chmod("dir/empty", 0));
	CALL(chdir("dir/empty"));
	CALL(chmod("dir/empty", 0755));
}

static void gone(void)
{
	CALL(mkdir("gone", 0755));
	CALL(mkdir("gone/inner", 0755));
	CALL(chdir("gone/inner"));
	CALL(rename("../../gone", "../../gone2"));
	where("moved");
	FD(open("here", O_CREAT | O_WRONLY, 0644));
	CALL(access("../inner/here", F_OK));
	CALL(unlink("here"));
	CALL(rmdir("../inner"));
	where("removed");
	CALL(access(".", F_OK));
	FD(open("x", O_CREAT | O_WRONLY, 0644));
	CALL(mkdir("x", 0755));
	FD(open(".", O_RDONLY));
	CALL(chdir(top));
	CALL(rmdir("gone2"));
	/* A directory of the tree's own is moved away under us. */
	CALL(chdir("dir/sub/deep"));
	CALL(rename("../../../dir", "../../../moved"));
	where("moved from above");
	show_content("leaf");
	CALL(access("../../b", F_OK));
	CALL(chdir(top));
	CALL(rename("moved", "dir"));
}

static void with_children(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		where("child");
		CALL(chdir("dir"));
		where("child moved");
		exit(0);
	}
	show_wait("fork", pid);
	where("parent");
	pid = vfork();
	if (!pid)
		_exit(chdir("dir/sub") < 0 ? 1 : 0);
	show_wait("vfork", pid);
	where("parent after vfork");
}

static void *mover(void *arg)
{
	int *rc = arg;

	*rc = chdir("dir/sub");
	return NULL;
}

static void *loner(void *arg)
{
	int *rc = arg;

	*rc = unshare(CLONE_FS);
	if (!*rc)
		*rc = chdir("deep");
	if (!*rc)
		*rc = access("leaf", F_OK);
	return NULL;
}

static void with_threads(void)
{
	pthread_t thread;
	int rc = -1;

	pthread_create(&thread, NULL, mover, &rc);
	pthread_join(thread, NULL);
	showf(rc, "a thread moves");
	where("all moved");
	pthread_create(&thread, NULL, loner, &rc);
	pthread_join(thread, NULL);
	showf(rc, "a thread that shares nothing moves");
	where("the others stay");
}

/* The kernel marks links to removed objects so; a name may end so, too. */
static void named_as_deleted(void)
{
	char buf[PATH_MAX];
	int dir, fd;

	CALL(mkdir("a (deleted)", 0755));
	CALL(chdir("a (deleted)"));
	FD(fd = open("x (deleted)", O_CREAT | O_RDWR, 0644));
	CALL(access("x (deleted)", F_OK));
	showf(getcwd(buf, sizeof(buf)) ? 0 : -1, "getcwd ends in (deleted): %d", !strcmp(strrchr(buf, '/'), "/a (deleted)"));
	CALL(fchmod(fd, 0600));
	CALL(chdir(".."));
	dir = open("a (deleted)", O_RDONLY | O_DIRECTORY);
	CALL(faccessat(dir, "x (deleted)", F_OK, 0));
	CALL(unlinkat(dir, "x (deleted)", 0));
	CALL(rmdir("a (deleted)"));
	CALL(faccessat(dir, ".", F_OK, 0));
	FD(openat(dir, "new", O_CREAT | O_RDWR, 0644));
	close(dir);
}

/* One thread goes to and fro, two look at a relative name: what they see while it rests is of where it rests. */
static atomic_uint rests; /* odd: on the way; else twice the number of the rest, which is in "0" or "1" */
static atomic_int wrong, looked;
static atomic_bool over;

static void *look_on(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		unsigned before = atomic_load(&rests);
		struct stat st;
		int rc = stat("mark", &st);

		if (before & 1 || before != atomic_load(&rests))
			continue;
		atomic_fetch_add(&looked, 1);
		if (rc < 0 || st.st_size != (before >> 1 & 1))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void go_to_and_fro(const int dirs[2])
{
	for (unsigned i = 1; i <= 400; i++) {
		atomic_store(&rests, 2 * i - 1);
		if (i % 3 ? chdir(i & 1 ? "../1" : "../0") : fchdir(dirs[i & 1]))
			atomic_fetch_add(&wrong, 1);
		atomic_store(&rests, 2 * i);
		for (int seen = atomic_load(&looked), n = 0; n < 20000 && atomic_load(&looked) < seen + 4; n++)
			sched_yield();
	}
}

static void seen_by_others(void)
{
	pthread_t threads[2];
	int dirs[2];

	CALL(mkdir("0", 0755));
	CALL(mkdir("1", 0755));
	close(open("0/mark", O_CREAT | O_WRONLY, 0644));
	close(open("1/mark", O_CREAT | O_WRONLY, 0644));
	CALL(truncate("1/mark", 1));
	dirs[0] = open("0", O_RDONLY | O_DIRECTORY);
	dirs[1] = open("1", O_PATH | O_DIRECTORY);
	CALL(chdir("0"));
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, look_on, NULL);
	go_to_and_fro(dirs);
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("to and fro: %d wrong, %s\n", atomic_load(&wrong), atomic_load(&looked) > 400 ? "seen" : "not seen");
	CALL(chdir(".."));
	close(dirs[0]);
	close(dirs[1]);
}

/* With each restriction of openat2. */
static void from_removed(void)
{
	static const char *const names[] = {"..", "../", "../a", "../up", "./..", "../..", ".", "./", "x", "../none", "../a/", "...", "../sub/../a", "./../a"};
	static const uint64_t resolve[] = {0, RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT,
					   RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd;

	CALL(mkdir("dir/goes", 0755));
	fd = FD(open("dir/goes", O_RDONLY | O_DIRECTORY));
	CALL(rmdir("dir/goes"));
	for (size_t i = 0; i < ARRAY_LEN(resolve); i++)
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			struct open_how how = {.flags = O_RDONLY, .resolve = resolve[i]};
			int opened = (int)syscall(SYS_openat2, fd, names[k], &how, sizeof(how));

			printf("%s, %llx: %s\n", names[k], (unsigned long long)resolve[i], opened < 0 ? errno_name(errno) : "opened");
			if (opened >= 0)
				(void)close(opened);
		}
}

int main(void)
{
	guest_start();
	if (!getcwd(top, sizeof(top)))
		return 1;
	moving();
	sizes();
	by_descriptor();
	gone();
	with_children();
	with_threads();
	if (chdir(top) == 0)
		named_as_deleted();
	if (chdir(top) == 0)
		seen_by_others();
	if (chdir(top) == 0)
		from_removed();
	return 0;
}

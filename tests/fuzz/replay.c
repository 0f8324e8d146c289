/* SPDX-License-Identifier: Apache-2.0 */
/* Gives every file of the named directories to a fuzz target, each in a process of its own; needs no clang. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

#define SECONDS_EACH 30
#define INPUT_LIMIT (64U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	kp_autofree char *data = NULL;
	uint8_t *exact;
	size_t len;
	int rc = kp_read_file(AT_FDCWD, path, INPUT_LIMIT, &data, &len);

	if (rc) {
		fprintf(stderr, "%s: %s\n", path, strerror(-rc));
		return EXIT_FAILURE;
	}
	/* A copy of just that size, so that ASan sees a read behind it. */
	exact = malloc(len ? len : 1);
	if (!exact)
		return EXIT_FAILURE;
	memcpy(exact, data, len);
	alarm(SECONDS_EACH);
	(void)LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return EXIT_SUCCESS;
}

static bool replay(const char *path)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exit(replay_file(path));
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror(path);
		return false;
	}
	if (status == 0)
		return true;
	fprintf(stderr, "%s: failed: %s %d\n", path, WIFSIGNALED(status) ? "signal" : "exit",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static void replay_dir(const char *dir, unsigned *good, unsigned *bad)
{
	struct dirent **names;
	int count = scandir(dir, &names, NULL, alphasort);

	if (count < 0) {
		perror(dir);
		++*bad;
		return;
	}
	for (int i = 0; i < count; i++) {
		char path[PATH_MAX];

		if (names[i]->d_name[0] != '.' && kp_path_join(path, sizeof(path), dir, names[i]->d_name) == 0)
			++*(replay(path) ? good : bad);
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	unsigned good = 0, bad = 0;

	for (int i = 1; i < argc; i++)
		replay_dir(argv[i], &good, &bad);
	printf("%s: %u inputs replayed, %u failed\n", argv[0], good, bad);
	return bad || !good ? EXIT_FAILURE : EXIT_SUCCESS;
}

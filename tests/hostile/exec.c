/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts to run what lies outside. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile.h"

static int run(const struct hostile *h, const char *path)
{
	const char *const argv[] = {path, NULL};

	(void)h;
	(void)execve(path, (char *const *)argv, NULL);
	return refused();
}

static int run_plain_child(const struct hostile *h)
{
	return run(h, outside(h, "program"));
}

static int run_plain(const struct hostile *h)
{
	int status = in_child(run_plain_child, h);

	return status == 42 ? GOT : status;
}

static int run_at_child(const struct hostile *h)
{
	const char *const argv[] = {"program", NULL};
	int fd = open(outside(h, "program"), O_PATH);

	if (fd >= 0)
		(void)syscall(SYS_execveat, fd, "", argv, NULL, AT_EMPTY_PATH);
	return refused();
}

static int run_at(const struct hostile *h)
{
	int status = in_child(run_at_child, h);

	return status == 42 ? GOT : status;
}

static int run_script_child(const struct hostile *h)
{
	const char *path = inner(h, "script");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	if (fd < 0)
		return refused();
	(void)dprintf(fd, "#!%s\n", outside(h, "program"));
	(void)close(fd);
	return run(h, path);
}

static int run_script(const struct hostile *h)
{
	int status = in_child(run_script_child, h);

	return status == 42 ? GOT : status;
}

/* A program whose interpreter is the one outside: a header, one PT_INTERP. */
static int run_interpreter_child(const struct hostile *h)
{
	const char *path = inner(h, "elf"), *interpreter = outside(h, "program");
	unsigned char elf[1024] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 3, 0, 62, 0, 1, [32] = 64, [52] = 64, 0, 56, 0, 2};
	uint64_t interp[7] = {3 | 4ULL << 32, 0x200, 0x200, 0x200, strlen(interpreter) + 1, strlen(interpreter) + 1, 1};
	uint64_t load[7] = {1 | 7ULL << 32, 0, 0, 0, sizeof(elf), sizeof(elf), 4096};
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	memcpy(elf + 64, interp, sizeof(interp));
	memcpy(elf + 64 + sizeof(interp), load, sizeof(load));
	(void)snprintf((char *)elf + 0x200, 256, "%s", interpreter);
	if (fd < 0 || write(fd, elf, sizeof(elf)) != sizeof(elf))
		return refused();
	(void)close(fd);
	return run(h, path);
}

static int run_interpreter(const struct hostile *h)
{
	int status = in_child(run_interpreter_child, h);

	return status == 42 ? GOT : status;
}

const struct attempt exec_attempts[] = {
	{"execve", "26", "", run_plain},
	{"execveat", "26", "", run_at},
	{"script-interpreter", "26", "", run_script},
	{"elf-interpreter", "26", "", run_interpreter},
	{NULL, NULL, NULL, NULL},
};

/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel ps: lists instances. */
#include <fcntl.h>
#include <inttypes.h>
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "instance/config.h"
#include "instance/procs.h"

struct ps {
	bool all, json, any;
};

struct about {
	bool runs;
	uint32_t started, supervisor, count;
	uint64_t memory; /* bytes */
	uint64_t disk;
	char *ports;
};

/* Blocks of everything below; links are not followed. */
static uint64_t disk_usage(int dirfd, const char *name, int depth)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t sum = 0;

	if (!dir) {
		(void)kp_close(fd);
		return 0;
	}
	while ((entry = readdir(dir))) {
		struct stat st;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
		    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		/* Snapshots share files: each counts once in all. */
		sum += (uint64_t)st.st_blocks * 512 / (S_ISDIR(st.st_mode) ? 1 : (uint64_t)st.st_nlink);
		if (S_ISDIR(st.st_mode) && depth < 1000)
			sum += disk_usage(fd, entry->d_name, depth + 1);
	}
	(void)closedir(dir);
	return sum;
}

/* What a supervisor says, and what /proc says of its processes. */
static void ask(const struct kp_instance *i, struct about *a)
{
	struct kp_about told;

	if (kp_about_running(i, &told) < 0)
		return;
	a->runs = true;
	a->started = told.started;
	a->supervisor = (uint32_t)told.supervisor;
	a->count = told.count;
	a->memory = 1024 * kp_proc_pss(told.supervisor);
	for (uint32_t k = 0; k < told.count; k++)
		a->memory += 1024 * kp_proc_pss(told.pids[k]);
	a->ports = told.ports;
	told.ports = NULL;
	kp_about_free(&told);
}

static void print_json(struct ps *ps, const struct kp_instance *i, const struct about *a)
{
	struct kp_buf kp_autobuf b = {0};

	kp_buf_puts(&b, ps->any ? ",\n {\"name\":" : "[\n {\"name\":");
	kp_buf_quoted(&b, i->name);
	kp_buf_puts(&b, ",\"image\":");
	kp_buf_quoted(&b, i->image);
	kp_buf_printf(&b, ",\"digest\":\"%s\",\"created\":%lld,\"running\":%s,\"disk\":%" PRIu64, i->digest, i->created,
		      a->runs ? "true" : "false", a->disk);
	if (a->runs)
		kp_buf_printf(&b, ",\"started\":%u,\"supervisor\":%u,\"processes\":%u,\"memory\":%" PRIu64,
			      (unsigned)a->started, (unsigned)a->supervisor, (unsigned)a->count, a->memory);
	if (a->runs) {
		kp_buf_puts(&b, ",\"ports\":");
		kp_buf_quoted(&b, a->ports);
	}
	printf("%s}", b.data);
}

static void print_head(void)
{
	printf("%-24s %10s %5s %8s %8s %-12s %s\n", "NAME", "UPTIME", "PROCS", "MEMORY", "DISK", "PORTS", "IMAGE");
}

static void print_text(struct ps *ps, const struct kp_instance *i, const struct about *a)
{
	kp_autofree char *image = kp_shown(i->image);
	char up[32] = "-", memory[16] = "-", disk[16], count[16] = "-";
	long long seconds = (long long)time(NULL) - a->started;

	if (a->runs) {
		(void)snprintf(up, sizeof(up), "%lld:%02lld:%02lld", seconds / 3600, seconds / 60 % 60, seconds % 60);
		kp_size_text(a->memory, memory, sizeof(memory));
		(void)snprintf(count, sizeof(count), "%u", (unsigned)a->count);
	}
	kp_size_text(a->disk, disk, sizeof(disk));
	if (!ps->any)
		print_head();
	printf("%-24s %10s %5s %8s %8s %-12s %s\n", i->name, up, count, memory, disk, a->runs && *a->ports ? a->ports : "-", image);
}

static int one(const char *name, void *ctx)
{
	struct kp_instance *i = NULL;
	struct about a = {0};
	struct ps *ps = ctx;

	if (kp_instance_open(name, &i, NULL) < 0)
		return 0;
	ask(i, &a);
	if (a.runs || ps->all) {
		a.disk = disk_usage(AT_FDCWD, i->dir, 0);
		if (ps->json)
			print_json(ps, i, &a);
		else
			print_text(ps, i, &a);
		ps->any = true;
	}
	free(a.ports);
	(void)kp_instance_free(i);
	return 0;
}

int kp_cmd_ps(const struct kp_args *args, struct kp_err *err)
{
	struct ps ps = {.all = kp_args_has(args, "all"), .json = kp_args_has(args, "json")};
	int r = kp_instance_each(one, &ps, err);

	if (r < 0)
		return r;
	if (ps.json)
		puts(ps.any ? "\n]" : "[]");
	else if (!ps.any)
		print_head();
	return kp_flush(err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The verb pack: options, then manifest -> tree -> image, and one line that says what was made. */
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "packager/pack.h"

#define MANIFEST_MAX ((size_t)1 << 20)

volatile int pack_cancel;

struct options {
	const char *manifest, *out;
	int level;
	unsigned jobs;
	bool quiet, verbose;
};

static const char help_text[] =
	"usage: kapsel pack MANIFEST -o OUT.kapsel [OPTIONS]\n"
	"\n"
	"Builds an image from a manifest (see docs/MANIFEST.md).\n"
	"\n"
	"  -o, --output OUT        where the image goes; it appears whole or not at all\n"
	"  -c, --compression LEVEL zstd level, 1 (fast) to 22 (small); default 15\n"
	"  -j, --jobs N            compressor threads; default: one a processor\n"
	"  -q, --quiet             no progress, no summary\n"
	"  -v, --verbose           say what is added and what is left out\n"
	"  -h, --help              this text\n"
	"\n"
	"SOURCE_DATE_EPOCH caps all file times. Packages are kept in $XDG_CACHE_HOME/kapsel-pack.\n"
	"Exit status: 0, or 125 when nothing was built.\n";

static void on_signal(int sig)
{
	pack_cancel = sig;
}

static void catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal};
	struct sigaction old;

	for (size_t i = 0; i < KP_ARRAY_LEN(signals); i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &sa, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
}

int pack_canceled(struct kp_err *err)
{
	return pack_cancel ? kp_fail(err, ECANCELED, "pack: stopped: %s", strsignal(pack_cancel)) : 0;
}

static int number(const char *option, const char *text, long min, long max, long *ret, struct kp_err *err)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (!*text || *end || errno || n < min || n > max)
		return kp_fail(err, EINVAL, "%s: '%s': a number from %ld to %ld was expected", option, text, min,
			       max);
	*ret = n;
	return 0;
}

/* 1: help was printed. */
static int parse_options(int argc, char **argv, struct options *o, struct kp_err *err)
{
	static const struct option longs[] = {
		{"output", required_argument, NULL, 'o'},  {"compression", required_argument, NULL, 'c'},
		{"jobs", required_argument, NULL, 'j'},    {"quiet", no_argument, NULL, 'q'},
		{"verbose", no_argument, NULL, 'v'},       {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, rc = 0;
	long n = 0;

	opterr = 0;
	while (!rc && (c = getopt_long(argc, argv, ":o:c:j:qvh", longs, NULL)) != -1) {
		switch (c) {
		case 'o': o->out = optarg; break;
		case 'c': rc = number("--compression", optarg, 1, 22, &n, err); o->level = (int)n; break;
		case 'j': rc = number("--jobs", optarg, 1, 1024, &n, err); o->jobs = (unsigned)n; break;
		case 'q': o->quiet = true; break;
		case 'v': o->verbose = true; break;
		case 'h': fputs(help_text, stdout); return 1;
		case ':': rc = kp_fail(err, EINVAL, "%s: a value is missing: see --help", argv[optind - 1]); break;
		default: rc = kp_fail(err, EINVAL, "%s: unknown option: see --help", argv[optind - 1]); break;
		}
	}
	if (!rc && argc - optind != 1)
		rc = kp_fail(err, EINVAL, argc > optind ? "%s: one manifest was expected: see --help"
			     : "%s: a manifest was expected: see --help", argc > optind ? argv[optind + 1] : "pack");
	if (!rc && (!o->out || !*o->out))
		rc = kp_fail(err, EINVAL, "pack: no output was named: -o OUT.kapsel");
	if (!rc)
		o->manifest = argv[optind];
	return rc;
}

/* The static launcher: beside kapsel-pack, or in ../bin, unless the environment names another. */
static int find_launcher(char *buf, size_t size, struct kp_err *err)
{
	const char *env = secure_getenv("KAPSEL_LAUNCHER");
	static const char *const places[] = {"kapsel", "../bin/kapsel"};
	char self[PATH_MAX];
	ssize_t n;

	if (env && *env) {
		if (access(env, R_OK | X_OK) < 0)
			return kp_fail_errno(err, errno, "%s: launcher (KAPSEL_LAUNCHER)", env);
		return snprintf(buf, size, "%s", env) >= (int)size ? kp_fail_errno(err, ENAMETOOLONG, "%s", env) : 0;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return kp_fail_errno(err, errno, "/proc/self/exe");
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < KP_ARRAY_LEN(places); i++)
		if (!kp_path_join(buf, size, self, places[i]) && access(buf, R_OK | X_OK) == 0)
			return 0;
	(void)kp_fail(err, ENOENT, "%s/kapsel: launcher: No such file or directory", self);
	return kp_hint(err, "the launcher stands beside kapsel-pack; KAPSEL_LAUNCHER names another");
}

static int clamp_time(int64_t *ret, struct kp_err *err)
{
	const char *env = getenv("SOURCE_DATE_EPOCH");
	long n = 0;
	int rc;

	*ret = INT64_MAX;
	if (!env || !*env)
		return 0;
	rc = number("SOURCE_DATE_EPOCH", env, 0, UINT32_MAX, &n, err);
	if (!rc)
		*ret = n;
	return rc;
}

static int read_manifest(struct pack *p, struct kp_err *err)
{
	kp_autofree char *text = NULL;
	char real[PATH_MAX];
	size_t len = 0;
	int rc = kp_read_file(AT_FDCWD, p->file, MANIFEST_MAX, &text, &len);

	if (rc)
		return kp_fail_errno(err, -rc, "%s: manifest", p->file);
	if (!realpath(p->file, real))
		return kp_fail_errno(err, errno, "%s: manifest", p->file);
	*(strrchr(real, '/') == real ? real + 1 : strrchr(real, '/')) = '\0';
	p->dir = kp_strdup(real);
	rc = kp_manifest_parse(text, len, p->file, &p->manifest, err);
	if (!rc && !p->manifest->source_count && !p->manifest->registry.imports.count && !p->manifest->registry.value_count)
		rc = kp_fail(err, EINVAL, "%s:1:1: contents: nothing to pack: the list is missing or empty", p->file);
	return rc;
}

static int count_file(const char *path, const struct kp_tree_info *info, void *ctx)
{
	uint64_t *n = ctx;

	(void)path;
	n[0] += S_ISREG(info->mode);
	n[1] += S_ISREG(info->mode) ? info->size : 0;
	return 0;
}

static void say_size(char *buf, size_t size, uint64_t n)
{
	if (n < 10000)
		(void)snprintf(buf, size, "%llu bytes", (unsigned long long)n);
	else if (n < 10000000)
		(void)snprintf(buf, size, "%.1f kB", (double)n / 1e3);
	else
		(void)snprintf(buf, size, "%.1f MB", (double)n / 1e6);
}

static void summary(const struct pack *p, const struct output *o, const struct timespec *start)
{
	char packed[32], content[32];
	struct timespec now;
	uint64_t n[2] = {0};
	struct stat st = {0};

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)stat(o->path, &st);
	(void)kp_tree_walk(p->tree, count_file, n);
	say_size(packed, sizeof(packed), (uint64_t)st.st_size);
	say_size(content, sizeof(content), n[1]);
	printf("%s: %llu files, %s in %s, %.1f s\n", o->path, (unsigned long long)n[0], content, packed,
	       (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9);
}

static int build(struct pack *p, const struct options *o, struct output *out, struct kp_err *err)
{
	struct kp_write_options w = {.level = o->level, .jobs = o->jobs, .cancel = &pack_cancel,
				     .progress = progress_show};
	kp_autofree char *text = NULL;
	struct kp_buf kp_autobuf hive = {0};
	struct progress progress;
	char launcher[PATH_MAX];
	int rc = find_launcher(launcher, sizeof(launcher), err);

	if (!rc)
		rc = clamp_time(&w.mtime_clamp, err);
	if (!rc)
		rc = read_manifest(p, err);
	if (!rc)
		rc = output_open(out, o->out, err);
	if (!rc)
		rc = registry_make(p, &hive, err);
	if (!rc)
		rc = pack_sources(p, err);
	if (rc)
		return rc;
	w.hive = hive.data;
	w.hive_len = hive.len;
	text = kp_manifest_normalised(p->manifest, &w.manifest_len);
	w.manifest = text;
	w.launcher = launcher;
	progress_init(&progress, o->quiet);
	w.progress_ctx = &progress;
	rc = kp_tree_write(p->tree, out->fd, &w, err);
	progress_clear(&progress);
	if (rc == -ECANCELED)
		return pack_canceled(err);
	return rc ? rc : output_commit(out, err);
}

int cmd_pack(int argc, char **argv)
{
	struct options o = {0};
	struct output out = {.fd = -1, .dir_fd = -1};
	struct pack p = {.work_fd = -1};
	struct timespec start;
	struct kp_err err = {0};
	int rc = parse_options(argc, argv, &o, &err);

	if (rc == 1)
		return 0;
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	catch_signals();
	if (!rc) {
		p.file = o.manifest;
		p.verbose = o.verbose;
		p.quiet = o.quiet;
		p.tree = kp_tree_new();
		rc = build(&p, &o, &out, &err);
	}
	if (!rc && !o.quiet)
		summary(&p, &out, &start);
	output_drop(&out);
	work_close(&p);
	kp_tree_free(p.tree);
	kp_manifest_free(p.manifest);
	kp_buf_free(&p.scripts);
	kp_buf_free(&p.dropped);
	kp_strings_free(&p.lib_dirs);
	kp_strings_free(&p.links);
	free(p.dir);
	if (!rc)
		return 0;
	fprintf(stderr, "kapsel: %s\n", err.text);
	if (err.hint[0])
		fprintf(stderr, "hint: %s\n", err.hint);
	return KP_EXIT_FAILED;
}

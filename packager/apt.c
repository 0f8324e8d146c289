/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which packages belong together, and getting them: by the host's apt-get, without root and without a trace on the
 * host. It gets a state of its own in which nothing is installed, so every dependency is listed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "packager/spawn.h"

#define HOST_LISTS "/var/lib/apt/lists"
#define SPACE_MIN (128 << 20)
#define FRESH_SECONDS (24 * 3600)

/* What every package may use without naming it, and a program in an image therefore needs. */
static const char *const base_packages[] = {
	"base-files", "bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin",
	"ncurses-base", "sed", "tar",
};

struct apt {
	struct pack *p;
	const struct place *at;
	const struct kp_source *source;
	char *cache;   /* ours, kept */
	char *lists;   /* the package lists in use */
	char *config;  /* the file that apt-get is given */
	bool host_lists;
	struct kp_err *err;
};

static bool has_lists(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		found = strstr(e->d_name, "_Packages") && faccessat(dirfd(d), e->d_name, R_OK, 0) == 0;
	if (d)
		(void)closedir(d);
	return found;
}

/* A string in apt's configuration: quotes cannot be escaped there. */
static bool plain(const char *s)
{
	return !strpbrk(s, "\"\n\\");
}

static int write_config(struct apt *a)
{
	kp_autobuf struct kp_buf b = {0};
	static const char *const hooks[] = {
		"APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success",
		"DPkg::Pre-Invoke", "DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs", "AptCli::Hooks",
		"APT::Install::Pre-Invoke", "APT::Install::Post-Invoke-Success",
	};
	static const char *const dirs[] = {"archives/partial", "none/partial", "lists/partial"};
	kp_autofree char *status = kp_asprintf("%s/status", a->p->work);
	int rc = 0;

	if (!plain(a->cache) || !plain(a->p->work))
		return kp_fail(a->err, EINVAL, "%s: cache directory: apt cannot take this name", a->cache);
	for (size_t i = 0; i < KP_ARRAY_LEN(hooks); i++)
		kp_buf_printf(&b, "#clear %s;\n", hooks[i]);
	kp_buf_printf(&b, "Dir::State \"%s\";\nDir::State::lists \"%s/\";\nDir::State::status \"%s\";\n", a->p->work,
		      a->lists, status);
	kp_buf_printf(&b, "Dir::State::extended_states \"%s/extended\";\nDir::Log \"%s\";\nDir::Cache \"%s\";\n",
		      a->p->work, a->p->work, a->cache);
	kp_buf_printf(&b, "Dir::Cache::archives \"%s/archives/\";\nDir::Cache::pkgcache \"\";\n"
		      "Dir::Cache::srcpkgcache \"\";\n", a->cache);
	kp_buf_puts(&b, "Debug::NoLocking \"1\";\nAPT::Sandbox::User \"root\";\nAPT::Install-Recommends \"0\";\n"
		    "APT::Install-Suggests \"0\";\nAPT::Get::Assume-Yes \"1\";\n"
		    "APT::Keep-Downloaded-Packages \"1\";\nAcquire::Languages \"none\";\n"
		    "Acquire::Retries \"2\";\n");
	if (a->source->suite)
		kp_buf_printf(&b, "APT::Default-Release \"%s\";\n", a->source->suite);
	if (a->source->arch)
		kp_buf_printf(&b, "APT::Architecture \"%s\";\n#clear APT::Architectures;\n"
			      "APT::Architectures { \"%s\"; };\n", a->source->arch, a->source->arch);
	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(dirs); i++) {
		kp_autofree char *dir = kp_asprintf("%s/%s", i == 1 ? a->p->work : a->cache, dirs[i]);

		rc = kp_mkdir_all(AT_FDCWD, dir, 0700);
	}
	if (!rc)
		rc = kp_write_file_atomic(AT_FDCWD, status, "", 0, 0600);
	if (!rc)
		rc = kp_write_file_atomic(AT_FDCWD, a->config, b.data, b.len, 0600);
	return rc ? kp_fail_errno(a->err, -rc, "%s: apt's directories", a->cache) : 0;
}

/* The line of apt-get's complaint that says most, without its "E: ". */
static void complaint(const struct kp_buf *errors, char *buf, size_t size)
{
	const char *line = errors->len ? errors->data : "";

	(void)snprintf(buf, size, "it says nothing");
	while (*line) {
		size_t len = strcspn(line, "\n");

		if (len > 3 && !strncmp(line, "E: ", 3)) {
			(void)snprintf(buf, size, "%.*s", (int)KP_MIN(len - 3, (size_t)200), line + 3);
			return;
		}
		line += len + (line[len] == '\n');
	}
}

static int run(struct apt *a, const struct kp_strings *args, struct kp_buf *ret_out)
{
	kp_autobuf struct kp_buf errors = {0};
	struct place here = *a->at;
	char why[256];
	int rc = spawn_run(args->items, ret_out, &errors, a->err);

	if (a->p->verbose && errors.len)
		fputs(errors.data, stderr);
	if (rc <= 0)
		return pack_at(a->at, a->err, rc);
	complaint(&errors, why, sizeof(why));
	for (size_t i = 0; i < a->source->names.count; i++) {
		const char *name = a->source->names.items[i], *hit = strstr(why, name);

		if (hit && (hit == why || hit[-1] == ' ' || hit[-1] == '\'') &&
		    (!hit[strlen(name)] || hit[strlen(name)] == '\'' || hit[strlen(name)] == ' '))
			here.name = (int)i;
	}
	(void)pack_fail(&here, a->err, EINVAL, "apt-get: %s", why);
	if (strstr(why, "unmet dep") || strstr(why, "held broken") || strstr(why, "Unable to correct"))
		(void)kp_hint(a->err, "'apt-get install -s' says which packages do not go together");
	else if (strstr(why, "Unable to locate"))
		(void)kp_hint(a->err, "the packages are those of this host's apt sources (/etc/apt)");
	return -EINVAL;
}

static void command(const struct apt *a, struct kp_strings *args, const char *verb, const char *option)
{
	kp_strings_add(args, "apt-get");
	kp_strings_add(args, "-c");
	kp_strings_add(args, a->config);
	kp_strings_add(args, "-q");
	if (option)
		kp_strings_add(args, option);
	kp_strings_add(args, verb);
}

static int update(struct apt *a)
{
	kp_autofree char *stamp = kp_asprintf("%s/lists.stamp", a->cache);
	kp_autostrings struct kp_strings args = {0};
	kp_autobuf struct kp_buf out = {0};
	struct stat st;
	int rc;

	if (stat(stamp, &st) == 0 && time(NULL) - st.st_mtime < FRESH_SECONDS && has_lists(a->lists))
		return 0;
	if (!a->p->quiet)
		fprintf(stderr, "fetching package lists ...\n");
	command(a, &args, "update", NULL);
	rc = run(a, &args, &out);
	if (!rc && !has_lists(a->lists))
		rc = pack_fail(a->at, a->err, ENOENT, "apt-get: no package lists: has this host apt sources?");
	if (!rc)
		(void)kp_write_file_atomic(AT_FDCWD, stamp, "", 0, 0600);
	return rc;
}

static void add_names(const struct apt *a, struct kp_strings *args)
{
	bool archive = false;

	kp_strings_add(args, "--");
	for (size_t i = 0; i < a->source->names.count; i++) {
		const char *name = a->source->names.items[i];

		if (strchr("./", name[0])) {
			kp_autofree char *path = host_path(a->p, name);

			kp_strings_add(args, path);
		} else {
			kp_strings_add(args, name);
			archive = true;
		}
	}
	for (size_t i = 0; archive && i < KP_ARRAY_LEN(base_packages); i++)
		kp_strings_add(args, base_packages[i]);
}

static char *decode_uri(const char *s, size_t len)
{
	struct kp_buf b = {0};

	for (size_t i = 0; i < len; i++) {
		char hex[3] = "";
		char c = s[i];

		if (c == '%' && i + 2 < len) {
			memcpy(hex, s + i + 1, 2);
			c = (char)strtol(hex, NULL, 16);
			i += 2;
		}
		kp_buf_add(&b, &c, 1);
	}
	return b.data;
}

/* Lines of --print-uris: 'URI' NAME SIZE HASH. */
static void parse_uris(const struct apt *a, const char *text, struct kp_strings *ret)
{
	while (text && *text) {
		size_t len = strcspn(text, "\n");
		const char *quote = *text == '\'' ? memchr(text + 1, '\'', len - 1) : NULL;

		if (quote && !strncmp(text + 1, "file:", 5)) {
			kp_autofree char *path = decode_uri(text + 6, (size_t)(quote - text - 6));

			kp_strings_add(ret, path);
		} else if (quote && quote[1] == ' ') {
			kp_autofree char *path = kp_asprintf("%s/archives/%.*s", a->cache,
							     (int)strcspn(quote + 2, " \n"), quote + 2);

			kp_strings_add(ret, path);
		}
		text += len + (text[len] == '\n');
	}
}

/* Asked against an empty archive directory, apt-get names every file. */
static int resolve(struct apt *a, struct kp_strings *ret)
{
	kp_autofree char *empty = kp_asprintf("Dir::Cache::archives=%s/none/", a->p->work);
	kp_autostrings struct kp_strings args = {0};
	kp_autobuf struct kp_buf out = {0};
	int rc;

	command(a, &args, "install", "--print-uris");
	kp_strings_add(&args, "-o");
	kp_strings_add(&args, empty);
	add_names(a, &args);
	rc = run(a, &args, &out);
	if (!rc)
		parse_uris(a, out.data, ret);
	if (!rc && !ret->count)
		rc = pack_fail(a->at, a->err, ENOENT, "apt-get: named no package file");
	return rc;
}

static int download(struct apt *a, const struct kp_strings *files)
{
	kp_autostrings struct kp_strings args = {0};
	kp_autobuf struct kp_buf out = {0};
	size_t missing = 0;
	int rc = 0;

	for (size_t i = 0; i < files->count; i++)
		missing += access(files->items[i], R_OK) < 0;
	if (!missing)
		return 0;
	if (!a->p->quiet)
		fprintf(stderr, "fetching %zu of %zu packages ...\n", missing, files->count);
	command(a, &args, "install", "--download-only");
	add_names(a, &args);
	rc = run(a, &args, &out);
	for (size_t i = 0; !rc && i < files->count; i++)
		if (access(files->items[i], R_OK) < 0)
			rc = pack_fail(a->at, a->err, errno, "%s: %s", files->items[i], strerror(errno));
	return rc;
}

static int attempt(struct apt *a, bool host_lists, struct kp_strings *ret)
{
	int rc;

	free(a->lists);
	a->lists = host_lists ? kp_strdup(HOST_LISTS) : kp_asprintf("%s/lists", a->cache);
	kp_strings_free(ret);
	rc = write_config(a);
	if (!rc && !host_lists)
		rc = update(a);
	if (!rc)
		rc = resolve(a, ret);
	if (!rc)
		rc = download(a, ret);
	return rc;
}

/* apt-get waits without end where its lists do not fit. */
static int check_space(const struct apt *a)
{
	struct statvfs st;

	if (statvfs(a->cache, &st) < 0 || (uint64_t)st.f_bavail * st.f_frsize >= SPACE_MIN)
		return 0;
	return kp_fail(a->err, ENOSPC, "%s: cache directory: less than %d MB are free", a->cache, SPACE_MIN >> 20);
}

int apt_fetch(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_strings *ret,
	      struct kp_err *err)
{
	struct apt a = {.p = p, .at = at, .source = s, .err = err};
	kp_autofree char *lock_path = NULL;
	kp_autoclose int lock = -1;
	bool host_lists = !s->arch && !s->suite && has_lists(HOST_LISTS);
	int rc = work_open(p, err);

	if (rc)
		return rc;
	a.cache = cache_dir();
	a.config = kp_asprintf("%s/apt.conf", p->work);
	lock_path = kp_asprintf("%s/apt.lock", a.cache);
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		rc = pack_cancel ? pack_canceled(err) : kp_fail_errno(err, errno, "%s", lock_path);
	if (!rc)
		rc = check_space(&a);
	if (!rc)
		rc = attempt(&a, host_lists, ret);
	/* The host's lists may name versions that the archive has dropped since. */
	if (rc && host_lists && ret->count && strstr(err->text, "404"))
		rc = attempt(&a, false, ret);
	free(a.cache);
	free(a.lists);
	free(a.config);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The source elf: programs of the host with everything that their loader will open. */
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/elf.h"

#define MAX_LINKS 40
#define HOST_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct closure {
	struct pack *p;
	const struct place *at;
	struct ld_cache cache;
	struct kp_strings seen;    /* host paths done */
	struct kp_strings rpaths;  /* DT_RPATHs of those that load, outermost first, $ORIGIN put in */
	bool musl, glibc;
	struct kp_err *err;
};

/* Adds a host file under its own path, and every symlink on the way to it. */
static int add_with_links(struct closure *c, const char *path)
{
	char now[PATH_MAX], full[PATH_MAX] = "", target[PATH_MAX], joined[PATH_MAX];
	int links = 0, rc;
	struct stat st;
	char *rest;

	(void)snprintf(now, sizeof(now), "%s", path);
	for (rest = now; *rest;) {
		size_t len, base = strlen(full);
		ssize_t n;

		rest += strspn(rest, "/");
		len = strcspn(rest, "/");
		if (!len)
			break;
		if (len == 2 && !strncmp(rest, "..", 2)) {
			char *slash = strrchr(full, '/');

			if (slash)
				*slash = '\0';
			rest += len;
			continue;
		}
		if (!(len == 1 && *rest == '.') &&
		    snprintf(full + base, sizeof(full) - base, "/%.*s", (int)len, rest) >= (int)(sizeof(full) - base))
			return pack_fail(c->at, c->err, ENAMETOOLONG, "%s: the path is too long", path);
		rest += len;
		if (lstat(full, &st) < 0)
			return pack_fail(c->at, c->err, errno, "%s: %s", full, strerror(errno));
		if (!S_ISLNK(st.st_mode))
			continue;
		n = readlink(full, target, sizeof(target) - 1);
		if (n <= 0 || ++links > MAX_LINKS)
			return pack_fail(c->at, c->err, ELOOP, "%s: %s", path, strerror(ELOOP));
		target[n] = '\0';
		/* A directory that an earlier source made stays; what the host has behind its link goes there too. */
		if (!tree_is_dir(c->p, full)) {
			rc = tree_add_link(c->p, full, target, st.st_mtime, c->err);
			if (rc)
				return pack_at(c->at, c->err, rc);
		}
		if (snprintf(joined, sizeof(joined), "%s/%s", target, rest) >= (int)sizeof(joined))
			return pack_fail(c->at, c->err, ENAMETOOLONG, "%s: the path is too long", path);
		full[target[0] == '/' ? 0 : base] = '\0';
		(void)snprintf(now, sizeof(now), "%s", joined);
		rest = now;
	}
	if (stat(full, &st) < 0 || !S_ISREG(st.st_mode))
		return pack_fail(c->at, c->err, EINVAL, "%s: not a regular file", path);
	if (access(full, R_OK) < 0)
		return pack_fail(c->at, c->err, errno, "%s: %s", full, strerror(errno));
	rc = kp_tree_add_host_file(c->p->tree, full, full, st.st_mode & 01777, st.st_mtime, c->err);
	if (!rc && !tree_has(c->p, path))
		rc = kp_tree_add_host_file(c->p->tree, path, full, st.st_mode & 01777, st.st_mtime, c->err);
	return pack_at(c->at, c->err, rc);
}

static int add_object(struct closure *c, const char *path, bool top);

/* Variants of a library for newer processors stand in glibc-hwcaps below its directory. */
static int add_variants(struct closure *c, const char *path)
{
	static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};
	const char *name = strrchr(path, '/');
	int rc = 0;

	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(levels); i++) {
		kp_autofree char *variant = kp_asprintf("%.*s/glibc-hwcaps/%s%s", (int)(name - path), path, levels[i],
							name);

		if (access(variant, R_OK) == 0 && !kp_strings_have(&c->seen, variant)) {
			kp_strings_add(&c->seen, variant);
			rc = add_with_links(c, variant);
		}
	}
	return rc;
}

static int add_needed(struct closure *c, const struct elf_facts *f, const char *path, const char *name)
{
	kp_autofree char *found = NULL;
	char dir[PATH_MAX];
	int rc;

	/* musl's loader is its libc, whatever name a program knows it by. */
	if (c->musl && (!strcmp(name, "libc.so") || !strncmp(name, "libc.musl-", 10)))
		return 0;
	rc = elf_search(&c->cache, f, path, &c->rpaths, name, c->musl, &found);
	if (rc) {
		(void)pack_fail(c->at, c->err, ENOENT, "%s: needs %s: not found on this host", path, name);
		return kp_hint(c->err, "ldd %s", path);
	}
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(found, '/') - found), found);
	if (!kp_strings_have(&c->p->lib_dirs, dir))
		kp_strings_add(&c->p->lib_dirs, dir);
	rc = add_object(c, found, false);
	return rc ? rc : add_variants(c, found);
}

/* DT_RPATH is searched for what the needed libraries need, too; $ORIGIN is that of its owner. */
static bool push_rpath(struct closure *c, const struct elf_facts *f, const char *path)
{
	kp_autobuf struct kp_buf b = {0};
	char origin[PATH_MAX];
	const char *s = f->rpath;

	if (!s || f->runpath || !realpath(path, origin))
		return false;
	*(strrchr(origin, '/') == origin ? origin + 1 : strrchr(origin, '/')) = '\0';
	while (*s) {
		size_t skip = !strncmp(s, "$ORIGIN", 7) ? 7 : !strncmp(s, "${ORIGIN}", 9) ? 9 : 0;

		if (skip)
			kp_buf_puts(&b, origin);
		else
			kp_buf_add(&b, s, 1);
		s += skip ? skip : 1;
	}
	if (!b.len)
		return false;
	kp_strings_add(&c->rpaths, b.data);
	return true;
}

static int add_elf(struct closure *c, const struct elf_facts *f, const char *path, bool top)
{
	bool pushed, was_musl = c->musl;
	int rc = 0;

	if (f->interp && top) {
		c->musl = strstr(f->interp, "/ld-musl-") != NULL;
		c->glibc |= strstr(f->interp, "/ld-linux") != NULL;
		if (access(f->interp, R_OK) < 0)
			return pack_fail(c->at, c->err, ENOENT, "%s: its loader %s: %s", path, f->interp,
					 strerror(errno));
		rc = add_object(c, f->interp, false);
	}
	pushed = push_rpath(c, f, path);
	for (size_t i = 0; !rc && i < f->needed.count; i++)
		rc = add_needed(c, f, path, f->needed.items[i]);
	if (pushed) {
		free(c->rpaths.items[--c->rpaths.count]);
		c->rpaths.items[c->rpaths.count] = NULL;
	}
	if (top)
		c->musl = was_musl;
	return rc;
}

static char *find_in_path(const char *name)
{
	const char *path = getenv("PATH");

	for (path = path ? path : HOST_PATH; *path;) {
		size_t len = strcspn(path, ":");
		kp_autofree char *full = kp_asprintf("%.*s/%s", (int)len, path, name);
		struct stat st;

		if (full[0] == '/' && stat(full, &st) == 0 && S_ISREG(st.st_mode) && access(full, X_OK) == 0)
			return kp_take_ptr(full);
		path += len + (path[len] == ':');
	}
	return NULL;
}

/* The interpreter of a script, and what env would start. */
static int add_script(struct closure *c, const struct elf_facts *f, const char *path)
{
	const char *name = strrchr(f->interp, '/'), *arg = f->interp_arg;
	kp_autofree char *word = NULL, *program = NULL;
	int rc;

	if (f->interp[0] != '/' || access(f->interp, R_OK) < 0)
		return pack_fail(c->at, c->err, ENOENT, "%s: its interpreter %s: not found on this host", path,
				 f->interp);
	rc = add_object(c, f->interp, true);
	if (rc || strcmp(name, "/env") != 0 || !arg)
		return rc;
	while (*arg == '-' || (strchr(arg, '=') && strchr(arg, '=') < arg + strcspn(arg, " \t"))) {
		arg += strcspn(arg, " \t");
		arg += strspn(arg, " \t");
	}
	word = kp_strndup(arg, strcspn(arg, " \t"));
	if (!*word)
		return 0;
	program = word[0] == '/' ? kp_strdup(word) : find_in_path(word);
	if (!program)
		return pack_fail(c->at, c->err, ENOENT, "%s: its interpreter %s: not found on this host", path, word);
	return add_object(c, program, true);
}

/* top: a program, not a library that one needs. */
static int add_object(struct closure *c, const char *path, bool top)
{
	struct elf_facts f;
	int rc = pack_canceled(c->err);

	if (rc || kp_strings_have(&c->seen, path))
		return rc;
	kp_strings_add(&c->seen, path);
	pack_note(c->p, "elf %s", path);
	rc = elf_read(path, &f, c->err);
	if (rc)
		return pack_at(c->at, c->err, rc);
	rc = add_with_links(c, path);
	if (!rc && f.is_elf)
		rc = add_elf(c, &f, path, top);
	else if (!rc && f.interp)
		rc = add_script(c, &f, path);
	elf_facts_free(&f);
	return rc;
}

/* What glibc opens by name when it is needed: unwinding for pthread_cancel, and the one locale that is always there. */
static int add_glibc_extras(struct closure *c)
{
	static const char *const locale[] = {
		"LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
		"LC_MESSAGES/SYS_LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE",
		"LC_TIME",
	};
	int rc = 0;
	const char *unwind = ld_cache_find(&c->cache, "libgcc_s.so.1", 0);

	if (unwind && access(unwind, R_OK) == 0)
		rc = add_object(c, unwind, false);
	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(locale); i++) {
		kp_autofree char *path = kp_asprintf("/usr/lib/locale/C.utf8/%s", locale[i]);

		if (access(path, R_OK) == 0)
			rc = add_with_links(c, path);
	}
	return rc;
}

/* Where the host has /bin as a link into /usr, programs know the files by both names. */
static int add_merged(struct pack *p, struct kp_err *err)
{
	static const char *const names[] = {"bin", "sbin", "lib", "lib64"};
	int rc = 0;

	for (size_t i = 0; !rc && i < KP_ARRAY_LEN(names); i++) {
		kp_autofree char *link = kp_asprintf("/%s", names[i]), *dir = kp_asprintf("/usr/%s", names[i]);
		char target[64];
		ssize_t n = readlink(link, target, sizeof(target) - 1);

		if (n <= 0 || tree_has(p, link) || !tree_is_dir(p, dir))
			continue;
		target[n] = '\0';
		rc = tree_add_link(p, link, target, 0, err);
	}
	return rc;
}

int source_elf(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err)
{
	struct place here = {at->pack, at->source, 0};
	struct closure c = {.p = p, .at = &here, .err = err};
	int rc = 0;

	ld_cache_open(&c.cache, "/etc/ld.so.cache");
	for (size_t i = 0; !rc && i < s->names.count; i++) {
		const char *name = s->names.items[i];
		kp_autofree char *path = strchr(name, '/') ? host_path(p, name) : find_in_path(name);
		struct stat st;

		here.name = (int)i;
		if (!path)
			rc = pack_fail(&here, err, ENOENT, "%s: not found in PATH", name);
		else if (stat(path, &st) < 0)
			rc = pack_fail(&here, err, errno, "%s: %s", path, strerror(errno));
		else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
			rc = pack_fail(&here, err, EACCES, "%s: not a program: no regular file with a mode x", path);
		else
			rc = add_object(&c, path, true);
	}
	if (!rc && c.glibc)
		rc = add_glibc_extras(&c);
	if (!rc)
		rc = pack_at(at, err, add_merged(p, err));
	free(c.cache.data);
	kp_strings_free(&c.seen);
	kp_strings_free(&c.rpaths);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where a library is, as the loader that will ask for it would find it. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/elf.h"

#define CACHE_MAGIC "glibc-ld.so.cache1.1"
#define OLD_MAGIC "ld.so-1.7.0"

/* What $LIB can be; the loader was built with one of them. */
static const char *const lib_names[] = {"lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"};
static const char *const default_dirs[] = {
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
	"/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
};
static const char *const musl_dirs[] = {
	"/lib/x86_64-linux-musl", "/usr/lib/x86_64-linux-musl", "/lib", "/usr/local/lib", "/usr/lib",
};

static uint32_t u32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

void ld_cache_open(struct ld_cache *c, const char *path)
{
	char *data = NULL;
	size_t len = 0, skip = 0;

	*c = (struct ld_cache){0};
	if (kp_read_file(AT_FDCWD, path, 64 << 20, &data, &len) < 0)
		return;
	/* An old-format table may stand in front; the new one follows it, aligned to 8. */
	if (len > 16 && !memcmp(data, OLD_MAGIC, strlen(OLD_MAGIC)))
		skip = (16 + (size_t)u32(data + 12) * 12 + 7) & ~(size_t)7;
	if (skip + 48 > len || memcmp(data + skip, CACHE_MAGIC, 20) != 0) {
		free(data);
		return;
	}
	memmove(data, data + skip, len - skip + 1);
	*c = (struct ld_cache){data, len - skip};
}

static const char *cache_string(const struct ld_cache *c, uint32_t at)
{
	return at < c->len ? c->data + at : ""; /* the data ends with a NUL */
}

const char *ld_cache_find(const struct ld_cache *c, const char *name, size_t index)
{
	uint32_t count = c->len >= 48 ? u32(c->data + 20) : 0;

	for (uint32_t i = 0; i < count && 48 + ((size_t)i + 1) * 24 <= c->len; i++) {
		const char *e = c->data + 48 + (size_t)i * 24;

		if (strcmp(cache_string(c, u32(e + 4)), name) == 0 && index-- == 0)
			return cache_string(c, u32(e + 8));
	}
	return NULL;
}

/* Puts $ORIGIN, $LIB and $PLATFORM in; false when the element is of no use. */
static bool expand(struct kp_buf *out, const char *s, size_t len, const char *origin, const char *lib)
{
	static const char *const names[] = {"ORIGIN", "LIB", "PLATFORM"};
	const char *values[] = {origin, lib, "x86_64"}, *end = s + len;

	while (s < end) {
		bool done = false;

		for (size_t i = 0; *s == '$' && !done && i < KP_ARRAY_LEN(names); i++) {
			size_t n = strlen(names[i]);

			if ((size_t)(end - s) > n && !strncmp(s + 1, names[i], n)) {
				kp_buf_puts(out, values[i]);
				s += n + 1;
				done = true;
			} else if ((size_t)(end - s) > n + 2 && s[1] == '{' && !strncmp(s + 2, names[i], n) &&
				   s[n + 2] == '}') {
				kp_buf_puts(out, values[i]);
				s += n + 3;
				done = true;
			}
		}
		if (!done)
			kp_buf_add(out, s++, 1);
	}
	return out->len && out->data[0] == '/';
}

static bool fits(const char *path, const struct elf_facts *by)
{
	struct elf_facts f;
	struct stat st;
	bool ok;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || elf_read(path, &f, NULL) < 0)
		return false;
	ok = f.is_elf && f.class == by->class && f.machine == by->machine;
	elf_facts_free(&f);
	return ok;
}

static bool try_dir(const char *dir, const char *name, const struct elf_facts *by, char **ret)
{
	char path[PATH_MAX];

	if (kp_path_join(path, sizeof(path), dir, name) < 0 || !fits(path, by))
		return false;
	*ret = kp_strdup(path);
	return true;
}

static bool try_run_path(const char *list, const char *origin, const char *name, const struct elf_facts *by,
			 char **ret)
{
	while (list && *list) {
		size_t len = strcspn(list, ":");
		bool has_lib = memmem(list, len, "LIB", 3) != NULL;

		for (size_t i = 0; i < (has_lib ? KP_ARRAY_LEN(lib_names) : 1); i++) {
			kp_autobuf struct kp_buf dir = {0};

			if (expand(&dir, list, len, origin, lib_names[i]) && try_dir(dir.data, name, by, ret))
				return true;
		}
		list += len + (list[len] == ':');
	}
	return false;
}

int elf_search(const struct ld_cache *cache, const struct elf_facts *by, const char *by_path,
	       const struct kp_strings *above, const char *name, bool musl, char **ret)
{
	const char *const *dirs = musl ? musl_dirs : default_dirs, *path;
	size_t dir_count = musl ? KP_ARRAY_LEN(musl_dirs) : KP_ARRAY_LEN(default_dirs);
	char origin[PATH_MAX];

	if (!realpath(by_path, origin))
		return -ENOENT;
	*(strrchr(origin, '/') == origin ? origin + 1 : strrchr(origin, '/')) = '\0';
	if (strchr(name, '/')) {
		kp_autobuf struct kp_buf full = {0};

		if (!expand(&full, name, strlen(name), origin, lib_names[0]) || !fits(full.data, by))
			return -ENOENT;
		*ret = kp_strdup(full.data);
		return 0;
	}
	if (!by->runpath && try_run_path(by->rpath, origin, name, by, ret))
		return 0;
	for (size_t i = above->count; !by->runpath && i > 0; i--)
		if (try_run_path(above->items[i - 1], origin, name, by, ret))
			return 0;
	if (try_run_path(by->runpath, origin, name, by, ret))
		return 0;
	for (size_t i = 0; !musl && (path = ld_cache_find(cache, name, i)); i++) {
		/* Variants for newer processors are taken beside the plain one. */
		if (!strstr(path, "/glibc-hwcaps/") && fits(path, by)) {
			*ret = kp_strdup(path);
			return 0;
		}
	}
	for (size_t i = 0; i < dir_count; i++)
		if (try_dir(dirs[i], name, by, ret))
			return 0;
	return -ENOENT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* /etc/ld.so.cache for the tree, as ldconfig would write it: fewer paths to try at each start, and what
 * find_library() and `ldconfig -p` read. */
#include <ctype.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packager/pack.h"

#define HEADER_SIZE 48
#define ENTRY_SIZE 24

struct lib {
	const char *name, *path;
	uint32_t flags;
};

struct libs {
	const struct pack *p;
	struct kp_strings dirs, paths;
	struct lib *items;
	size_t count;
	bool glibc;
};

/* The directory that a search path names, where /lib is a link to usr/lib. */
static char *real_dir(const struct pack *p, const char *dir)
{
	static const char *const merged[] = {"/lib", "/lib64", "/lib32"};
	kp_autofree char *norm = NULL;

	if (kp_path_normalise(dir, &norm) < 0)
		return kp_strdup("/");
	for (size_t i = 0; i < KP_ARRAY_LEN(merged); i++)
		if (kp_path_below(norm, merged[i]) && kp_strings_have(&p->links, merged[i]))
			return kp_asprintf("/usr%s", norm);
	return kp_take_ptr(norm);
}

static void add_dir(struct libs *l, const char *dir)
{
	kp_autofree char *real = real_dir(l->p, dir);

	if (real[1] && tree_is_dir(l->p, real) && !kp_strings_have(&l->dirs, real))
		kp_strings_add(&l->dirs, real);
}

static void read_conf(struct libs *l, const char *path)
{
	kp_autofree char *text = NULL;
	char *line, *save = NULL;

	if (tree_read(l->p, path, 1 << 20, &text, NULL) < 0 || !text)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line += strspn(line, " \t");
		line[strcspn(line, " \t#")] = '\0';
		if (line[0] == '/')
			add_dir(l, line);
	}
}

static void find_dirs(struct libs *l)
{
	static const char *const defaults[] = {
		"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
		"/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
	};
	kp_autostrings struct kp_strings conf = tree_list(l->p, "/etc/ld.so.conf.d/*.conf");

	read_conf(l, "/etc/ld.so.conf");
	for (size_t i = 0; i < conf.count; i++)
		read_conf(l, conf.items[i]);
	for (size_t i = 0; i < KP_ARRAY_LEN(defaults); i++)
		add_dir(l, defaults[i]);
	for (size_t i = 0; i < l->p->lib_dirs.count; i++)
		add_dir(l, l->p->lib_dirs.items[i]);
}

/* What the cache calls the file's kind; 0: no library that a loader of ours would take. */
static uint32_t lib_flags(const struct pack *p, const char *path)
{
	struct kp_tree_info info;
	unsigned char head[20] = {0};

	if (kp_tree_stat(p->tree, path, &info) != 0 || !S_ISREG(info.mode))
		return 0;
	if (info.host_path) {
		kp_autoclose int fd = open(info.host_path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || kp_pread_full(fd, head, sizeof(head), 0) < 0)
			return 0;
	} else if (info.size >= sizeof(head)) {
		memcpy(head, info.data, sizeof(head));
	}
	if (memcmp(head, ELFMAG, SELFMAG) != 0 || head[EI_DATA] != ELFDATA2LSB)
		return 0;
	switch (head[18] | head[19] << 8) {
	case EM_X86_64: return head[EI_CLASS] == ELFCLASS64 ? 0x0303 : 0x0803;
	case EM_AARCH64: return 0x0a03;
	case EM_386: return 0x0003;
	default: return 0;
	}
}

static int collect(const char *path, const struct kp_tree_info *info, void *ctx)
{
	const char *name = strrchr(path, '/') + 1;
	struct libs *l = ctx;

	if (S_ISDIR(info->mode) || !strstr(name, ".so") ||
	    (strncmp(name, "lib", 3) != 0 && strncmp(name, "ld-", 3) != 0))
		return 0;
	l->glibc |= !strncmp(name, "ld-linux", 8);
	for (size_t i = 0; i < l->dirs.count; i++) {
		size_t len = strlen(l->dirs.items[i]);

		if (len == (size_t)(name - 1 - path) && !strncmp(path, l->dirs.items[i], len)) {
			kp_strings_add(&l->paths, path);
			break;
		}
	}
	return pack_cancel;
}

/* The loader's own order of names: numbers count as numbers. */
static int compare_names(const char *a, const char *b)
{
	while (*a && *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			unsigned x = 0, y = 0;

			while (isdigit((unsigned char)*a))
				x = x * 10 + (unsigned)(*a++ - '0');
			while (isdigit((unsigned char)*b))
				y = y * 10 + (unsigned)(*b++ - '0');
			if (x != y)
				return x > y ? 1 : -1;
		} else if (isdigit((unsigned char)*a) || isdigit((unsigned char)*b)) {
			return isdigit((unsigned char)*a) ? 1 : -1;
		} else if (*a != *b) {
			return *a - *b;
		} else {
			a++;
			b++;
		}
	}
	return *a - *b;
}

/* Highest name first, as the loader's binary search expects. */
static int compare_libs(const void *a, const void *b)
{
	const struct lib *x = a, *y = b;
	int c = compare_names(y->name, x->name);

	if (c)
		return c;
	if (x->flags != y->flags)
		return x->flags < y->flags ? 1 : -1;
	return strcmp(x->path, y->path);
}

static void put32(char *at, uint32_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void render(const struct libs *l, struct kp_buf *out)
{
	size_t table = HEADER_SIZE + l->count * ENTRY_SIZE;
	kp_autobuf struct kp_buf strings = {0};
	kp_autofree char *head = kp_calloc(1, table);

	for (size_t i = 0; i < l->count; i++) {
		char *e = head + HEADER_SIZE + i * ENTRY_SIZE;

		put32(e, l->items[i].flags);
		put32(e + 4, (uint32_t)(table + strings.len));
		kp_buf_add(&strings, l->items[i].name, strlen(l->items[i].name) + 1);
		put32(e + 8, (uint32_t)(table + strings.len));
		kp_buf_add(&strings, l->items[i].path, strlen(l->items[i].path) + 1);
	}
	memcpy(head, "glibc-ld.so.cache1.1", 20);
	put32(head + 20, (uint32_t)l->count);
	put32(head + 24, (uint32_t)strings.len);
	head[28] = 2; /* little-endian */
	kp_buf_add(out, head, table);
	if (strings.len)
		kp_buf_add(out, strings.data, strings.len);
}

int ldcache_make(struct pack *p, struct kp_err *err)
{
	struct libs l = {.p = p};
	kp_autobuf struct kp_buf out = {0};
	int rc = 0;

	if (tree_has(p, "/etc/ld.so.cache"))
		return 0;
	find_dirs(&l);
	(void)kp_tree_walk(p->tree, collect, &l);
	l.items = kp_calloc(l.paths.count, sizeof(*l.items));
	for (size_t i = 0; l.glibc && i < l.paths.count; i++) {
		uint32_t flags = lib_flags(p, l.paths.items[i]);

		if (flags)
			l.items[l.count++] = (struct lib){strrchr(l.paths.items[i], '/') + 1, l.paths.items[i], flags};
	}
	if (l.count) {
		qsort(l.items, l.count, sizeof(*l.items), compare_libs);
		render(&l, &out);
		rc = kp_tree_add_bytes(p->tree, "/etc/ld.so.cache", out.data, out.len, 0644, 0, err);
	}
	free(l.items);
	kp_strings_free(&l.dirs);
	kp_strings_free(&l.paths);
	return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The packager: a manifest becomes a tree, source by source; the tree becomes an image. */
#ifndef KAPSEL_PACKAGER_PACK_H
#define KAPSEL_PACKAGER_PACK_H

#include "base/base.h"
#include "image/writer.h"
#include "manifest/manifest.h"

struct pack {
	const char *file;       /* the manifest as the user named it */
	char *dir;              /* its directory */
	struct kp_manifest *manifest;
	struct kp_tree *tree;
	bool verbose, quiet;
	bool has_debs;          /* a deb source was unpacked: what maintainer scripts make is due */
	struct kp_buf dropped;  /* set-id bits, devices: told at the end, when verbose */
	struct kp_buf scripts;  /* alternatives found in postinst scripts: see alternatives.c */
	struct kp_strings lib_dirs; /* where libraries of elf sources were found */
	struct kp_strings links;    /* symlinks added so far: see tree_add_dir() */
	char *work;             /* scratch directory, NULL until needed */
	int work_fd;            /* locked while in use */
	unsigned work_files;
};

/* What a source is reading, for its errors. */
struct place {
	const struct pack *pack;
	size_t source;
	int name; /* position in names, or -1 */
};

/* Set by SIGINT, SIGTERM and SIGHUP; everything that loops looks at it. */
extern volatile int pack_cancel;
int pack_canceled(struct kp_err *err); /* 0, or -ECANCELED with err */

/* "FILE:LINE:COLUMN: contents[i].kind[j]: what". Returns -code. */
int pack_fail(const struct place *at, struct kp_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Puts the place before an error that is already set. Returns rc. */
int pack_at(const struct place *at, struct kp_err *err, int rc);
/* One line to standard error when --verbose. */
void pack_note(const struct pack *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* verbs */
int cmd_pack(int argc, char **argv);
/* instance.c: DIRECTORY NAME ITEM..., an archive to standard output; DIRECTORY, one from standard input. */
int cmd_export_tree(int argc, char **argv);
int cmd_import_tree(int argc, char **argv);

/* plan.c: all sources into the tree, then what belongs to the whole. */
int pack_sources(struct pack *p, struct kp_err *err);

/* sources.c */
int source_copy(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err);
int source_file(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err);
int source_exclude(struct pack *p, const struct kp_source *s, struct kp_err *err);
/* A host path named in the manifest, made absolute. Caller frees. */
char *host_path(const struct pack *p, const char *name);

/* archive.c */
struct archive;
/* Adds every entry of an opened libarchive reader to the tree, below "/". name is for errors. */
int archive_to_tree(struct pack *p, struct archive *a, const char *name, struct kp_err *err);
int source_tar(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err);

/* deb.c, apt.c */
int source_deb(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err);
/* The files of all packages that names need, in ret; downloaded where they were not in the cache. */
int apt_fetch(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_strings *ret,
	      struct kp_err *err);

/* alternatives.c */
void alternatives_scan(struct pack *p, const char *script);
int alternatives_make(struct pack *p, struct kp_err *err);

/* finish.c: what maintainer scripts and triggers would have made. */
int deb_skeleton(struct pack *p, struct kp_err *err);
int deb_finish(struct pack *p, struct kp_err *err);

/* ldcache.c */
int ldcache_make(struct pack *p, struct kp_err *err);

/* elf.c, elf_file.c, elf_search.c */
int source_elf(struct pack *p, const struct place *at, const struct kp_source *s, struct kp_err *err);

/* glob.c: does a pattern match an absolute path? `*` and `?` stay within a name, `**` does not. */
bool glob_match(const char *pattern, const char *path);

/* work.c: the scratch directory and the cache. */
int work_open(struct pack *p, struct kp_err *err);
void work_close(struct pack *p);
int work_file(struct pack *p, char **ret_path, struct kp_err *err); /* a new file, open for writing */
char *cache_dir(void); /* XDG_CACHE_HOME/kapsel-pack; caller frees */

/* tree.c */
/* As tar and dpkg do: a symlink of that name that leads to a directory stays. */
int tree_add_dir(struct pack *p, const char *path, mode_t mode, int64_t mtime, struct kp_err *err);
int tree_add_link(struct pack *p, const char *path, const char *target, int64_t mtime, struct kp_err *err);
bool tree_has(const struct pack *p, const char *path);
bool tree_is_dir(const struct pack *p, const char *path);
/* The content of a file in the tree, at most max bytes. 0 or -errno. */
int tree_read(const struct pack *p, const char *path, size_t max, char **ret_data, size_t *ret_len);
/* Calls fn for each path below dir that matches the pattern (NULL: all). */
struct kp_strings tree_list(const struct pack *p, const char *pattern);

/* registry.c: the bytes of the image's hive; none where the manifest has no values. */
int registry_make(const struct pack *p, struct kp_buf *out, struct kp_err *err);

/* progress.c */
struct progress {
	bool shown;
	int64_t next_ms;
};
void progress_init(struct progress *g, bool quiet);
void progress_show(uint64_t done, uint64_t total, void *ctx);
void progress_clear(struct progress *g);

/* output.c: the image under its final name, whole or not at all. */
struct output {
	const char *path;
	char *dir, *tmp; /* tmp: NULL while the file has no name */
	int fd, dir_fd;
};
int output_open(struct output *o, const char *path, struct kp_err *err);
int output_commit(struct output *o, struct kp_err *err);
void output_drop(struct output *o);

#endif

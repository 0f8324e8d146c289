/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs. Each prints its own result and returns the exit status, or -errno with err set. */
#ifndef KAPSEL_CMD_CMD_H
#define KAPSEL_CMD_CMD_H

#include "launch/args.h"
#include "launch/launch.h"

extern const struct kp_verb kp_verbs[]; /* options.c; ends with a NULL name */
const struct kp_verb *kp_verb_find(const char *name);

int kp_cmd_run(const struct kp_args *args, struct kp_err *err);
int kp_cmd_exec(const struct kp_args *args, struct kp_err *err);
int kp_cmd_ps(const struct kp_args *args, struct kp_err *err);
int kp_cmd_stop(const struct kp_args *args, struct kp_err *err);
int kp_cmd_rm(const struct kp_args *args, struct kp_err *err);
int kp_cmd_inspect(const struct kp_args *args, struct kp_err *err);
int kp_cmd_ls(const struct kp_args *args, struct kp_err *err);
int kp_cmd_cat(const struct kp_args *args, struct kp_err *err);
int kp_cmd_extract(const struct kp_args *args, struct kp_err *err);
int kp_cmd_verify(const struct kp_args *args, struct kp_err *err);
int kp_cmd_explain(const struct kp_args *args, struct kp_err *err);
int kp_cmd_clone(const struct kp_args *args, struct kp_err *err);
int kp_cmd_commit(const struct kp_args *args, struct kp_err *err);
int kp_cmd_discard(const struct kp_args *args, struct kp_err *err);
int kp_cmd_export(const struct kp_args *args, struct kp_err *err);
int kp_cmd_import(const struct kp_args *args, struct kp_err *err);
int kp_cmd_diff(const struct kp_args *args, struct kp_err *err);
int kp_cmd_snapshot(const struct kp_args *args, struct kp_err *err);
int kp_cmd_upgrade(const struct kp_args *args, struct kp_err *err);
int kp_cmd_undo(const struct kp_args *args, struct kp_err *err);
int kp_cmd_doctor(const struct kp_args *args, struct kp_err *err);
int kp_cmd_reg(const struct kp_args *args, struct kp_err *err);
/* Is this program a guest, as /.kapsel/reg? And what it does then (reginside.c). */
bool kp_reg_is_inside(void);
extern const struct kp_option kp_reg_inside_options[];
int kp_cmd_reg_inside(int argc, char **argv, struct kp_err *err);
int kp_cmd_cache(const struct kp_args *args, struct kp_err *err);

/* The launcher carries an image: runs it. argc, argv as of main. */
int kp_cmd_self(int argc, char **argv, struct kp_err *err);
/* Where kapsel-pack is: beside this program. Allocated. */
int kp_pack_path(char **ret_path, struct kp_err *err);
/* Execs kapsel-pack, found beside this program. Returns on failure only. */
int kp_cmd_pack(char **argv, struct kp_err *err);

/* Shared by the verbs that look into an image. */
struct kp_look {
	struct kp_image *image;
	struct kp_manifest *manifest;
	char *path; /* host path of the image */
};
int kp_look_open(struct kp_look *look, const char *host_path, struct kp_err *err);
void kp_look_close(struct kp_look *look);
#define kp_autolook __attribute__((cleanup(kp_look_close)))
/* Entry of a path ("a", "/a/", "/"), symlinks not followed. 0 or -errno with err. */
int kp_look_find(const struct kp_look *look, const char *path, struct kp_entry *ret_entry, struct kp_err *err);
/* A file that appears whole or not at all. */
struct kp_out {
	const char *path, *name;
	char *temp; /* its name so far, where it needs one */
	bool force; /* in the place of an old one */
	int fd, dir_fd;
};
int kp_out_open(struct kp_out *o, const char *path, bool force, struct kp_err *err);
int kp_out_publish(struct kp_out *o, mode_t mode, struct kp_err *err);
void kp_out_close(struct kp_out *o);
#define kp_autoout __attribute__((cleanup(kp_out_close)))

/* grants.c: what the manifest requests; and what the profile (NULL: the default) grants it here. */
void kp_print_requests(const struct kp_manifest *m);
int kp_print_grants(const struct kp_look *look, const char *profile, struct kp_err *err);
void kp_json_requests(struct kp_buf *b, const struct kp_requests *r);
int kp_json_grants(struct kp_buf *b, const struct kp_look *look, const char *profile, struct kp_err *err);
/* "1 change", "2 changes". */
#define KP_S(n) ((n) == 1 ? "" : "s")
/* "drwxr-xr-x" */
void kp_mode_text(uint32_t mode, char out[11]);
/* 1536 to "1.5K" */
void kp_size_text(uint64_t bytes, char *out, size_t size);
void kp_digest_text(const uint8_t *digest, char out[2 * KP_DIGEST_LEN + 1]);
/* Prints the error line and its hint. */
void kp_complain(const struct kp_err *err);
/* Flushes standard output: 0, or -errno with err (disk full). A reader that went away is no error. */
int kp_flush(struct kp_err *err);

#endif

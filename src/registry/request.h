/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is asked of a registry in the words of Windows' reg.exe: done here, on an open one, or handed to who has it open (a guest's
 * /.kapsel/reg to the supervisor). No files and no terminal: those are the caller's.
 */
#ifndef KAPSEL_REGISTRY_REQUEST_H
#define KAPSEL_REGISTRY_REQUEST_H

#include "registry/registry.h"

enum kp_reg_action { KP_REG_QUERY, KP_REG_ADD, KP_REG_DELETE, KP_REG_EXPORT, KP_REG_IMPORT, KP_REG_ACTIONS };

enum kp_reg_flags {
	KP_REG_FORCE = 1 << 0,      /* not asked before something is replaced or removed */
	KP_REG_RECURSIVE = 1 << 1,  /* query */
	KP_REG_IN_KEYS = 1 << 2,    /* query, find */
	KP_REG_IN_DATA = 1 << 3,
	KP_REG_JSON = 1 << 4,
	KP_REG_ALL_VALUES = 1 << 5, /* delete */
	KP_REG_UTF8 = 1 << 6,       /* export */
};

/* Texts are NULL where they are not given. */
struct kp_reg_request {
	enum kp_reg_action action;
	unsigned flags;
	const char *key;  /* of all but import, where it is what the text is called in errors */
	const char *name; /* "" is the default value */
	const char *type, *data, *separator, *find;
	const char *text; /* import */
	size_t text_len;
};

#define KP_REG_TEXT ((size_t)256 << 20) /* of a text that is imported */

/* Its answer is added to out. 0 or -errno with err. -EEXIST: nothing was done, err is a question, and KP_REG_FORCE says yes. */
int kp_reg_perform(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err);
int kp_reg_query(struct kp_reg *r, const struct kp_reg_request *q, struct kp_buf *out, struct kp_err *err); /* query.c */
/* Says what an error of the registry means. name NULL: it is about the key. */
int kp_reg_fail(int rc, const char *key, const char *name, struct kp_err *err);

/* Between two processes of this program. The texts of what was decoded point into bytes; -EPROTO. */
void kp_reg_request_encode(const struct kp_reg_request *q, struct kp_buf *out);
int kp_reg_request_decode(const char *bytes, size_t len, struct kp_reg_request *ret);
/* rc and err of the answer, then its text. */
void kp_reg_answer_encode(int rc, const struct kp_err *err, const struct kp_buf *text, struct kp_buf *out);
int kp_reg_answer_decode(const char *bytes, size_t len, const char **ret_text, size_t *ret_len, struct kp_err *err);

/* How a guest hands one in: below KP_REGTREE it opens this name with the number of a memfd of its own, sealed so; what it gets is the answer. */
#define KP_REG_REQUEST_NAME "%request."
#define KP_REG_SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)
#define KP_REG_PROGRAM "/.kapsel/reg"

#endif

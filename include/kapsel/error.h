/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up errors: one caller-owned record, no allocation. See src/README.md, "Errors". */
#ifndef KAPSEL_ERROR_H
#define KAPSEL_ERROR_H

/* What `kapsel` exits with when it is not the guest's own status (128+N: signal N). */
enum kp_exit {
	KP_EXIT_FAILED = 125,    /* Kapsel itself failed */
	KP_EXIT_NOT_EXEC = 126,  /* found, not executable */
	KP_EXIT_NOT_FOUND = 127, /* not found */
};

struct kp_err {
	int code;       /* positive errno */
	char text[512]; /* "OBJECT: WHAT: REASON", no newline, no prefix */
	char hint[256]; /* one line of advice, or "" */
};

/* Writes text (printf) into err and returns -code, so `return kp_fail(err, EINVAL, ...)`.
 * err may be NULL. Any earlier text and hint are replaced. Control bytes in the result are shown as '?'. */
int kp_fail(struct kp_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* The same with ": strerror(code)" appended. */
int kp_fail_errno(struct kp_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* Adds the hint line to an error that is already set. Returns -err->code. */
int kp_hint(struct kp_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif

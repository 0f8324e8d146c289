/* SPDX-License-Identifier: Apache-2.0 */
/* The set-up error record. */
#include "base/base.h"

static void fill(struct kp_err *err, int code, const char *fmt, va_list ap, bool with_reason)
{
	char text[sizeof(err->text)];
	int len = vsnprintf(text, sizeof(text), fmt, ap);

	if (with_reason && len >= 0 && (size_t)len < sizeof(text))
		(void)snprintf(text + len, sizeof(text) - (size_t)len, ": %s", strerror(code));
	kp_printable(text);
	err->code = code;
	(void)snprintf(err->text, sizeof(err->text), "%s", text);
	err->hint[0] = '\0';
}

int kp_fail(struct kp_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		fill(err, code, fmt, ap, false);
		va_end(ap);
	}
	return -code;
}

int kp_fail_errno(struct kp_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		fill(err, code, fmt, ap, true);
		va_end(ap);
	}
	return -code;
}

int kp_hint(struct kp_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -EINVAL;
	va_start(ap, fmt);
	(void)vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	kp_printable(err->hint);
	return -err->code;
}

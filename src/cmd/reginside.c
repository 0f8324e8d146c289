/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /.kapsel/reg: this program as a guest. The request goes to the supervisor in a sealed memfd, whose number is the name of a file that it
 * opens; that file is the answer. So it needs nothing that a guest may not have been granted.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/reg.h"
#include "vfs/regtree.h"

bool kp_reg_is_inside(void)
{
	char exe[sizeof(KP_REG_PROGRAM) + 1];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe));

	return n == sizeof(KP_REG_PROGRAM) - 1 && !memcmp(exe, KP_REG_PROGRAM, (size_t)n);
}

static int perform(const struct kp_reg_request *q, struct kp_buf *out, void *ctx, struct kp_err *err)
{
	kp_autoclose int fd = memfd_create("request", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	struct kp_buf kp_autobuf bytes = {0};
	kp_autofree char *answer = NULL;
	const char *text;
	char path[64];
	size_t len;
	int r;

	(void)ctx;
	kp_reg_request_encode(q, &bytes);
	r = fd < 0 ? -errno : kp_write_full(fd, bytes.data, bytes.len);
	if (!r && fcntl(fd, F_ADD_SEALS, KP_REG_SEALS) < 0)
		r = -errno;
	(void)snprintf(path, sizeof(path), "%s/%s%d", KP_REGTREE, KP_REG_REQUEST_NAME, fd);
	if (!r)
		r = kp_read_file(AT_FDCWD, path, SIZE_MAX / 2, &answer, &len);
	if (r)
		return kp_fail_errno(err, -r, "the registry cannot be asked");
	r = kp_reg_answer_decode(answer, len, &text, &len, err);
	kp_buf_add(out, text, r ? 0 : len);
	return r;
}

int kp_cmd_reg_inside(int argc, char **argv, struct kp_err *err)
{
	static const struct kp_verb verb = {.name = "reg", .flags = KP_VERB_SLASH, .min_operands = 2, .max_operands = 3,
					    .usage = "query|add|delete|export|import [OPTIONS] [KEY] [FILE]",
					    .help = "the registry of this program's instance", .options = kp_reg_inside_options};
	struct kp_args kp_autoargs args = {0};
	struct kp_regcmd c = {.args = &args, .perform = perform};
	int r = kp_args_parse(&verb, argc - 1, argv + 1, &args, err);

	if (!r && args.help) {
		kp_doc_verb_help(&verb, stdout);
		return kp_flush(err);
	}
	if (!r)
		r = kp_regcmd_parse(&c, err);
	return r ? r : kp_regcmd_run(&c, err);
}

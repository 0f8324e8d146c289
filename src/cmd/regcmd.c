/* SPDX-License-Identifier: Apache-2.0 */
/* The words of reg.exe to a request; files that are read and written for it; what is asked on a terminal. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/reg.h"

static const struct action {
	const char *name;
	size_t operands; /* behind the target */
	const char *usage;
} actions[KP_REG_ACTIONS] = {
	[KP_REG_QUERY] = {"query", 1, "KEY [-v NAME|--default] [-s] [--find TEXT] [--json]"},
	[KP_REG_ADD] = {"add", 1, "KEY [-v NAME|--default] [-t TYPE] [-d DATA] [-f]"},
	[KP_REG_DELETE] = {"delete", 1, "KEY [-v NAME|--default|--all-values] [-f]"},
	[KP_REG_EXPORT] = {"export", 2, "KEY FILE [-f] [--utf8]"},
	[KP_REG_IMPORT] = {"import", 1, "FILE"},
};

static int usage(const struct kp_regcmd *c, const struct action *a, struct kp_err *err)
{
	return c->target ? kp_hint(err, "usage: kapsel reg %s TARGET %s", a->name, a->usage) : kp_hint(err, "usage: reg %s %s", a->name, a->usage);
}

static int check_operands(const struct kp_regcmd *c, const struct action *a, struct kp_err *err)
{
	const struct kp_args *args = c->args;
	size_t wanted = a->operands + (c->target ? 2 : 1);

	if (c->target && args->operand_count < wanted && !strncasecmp(args->operands[1], "HK", 2)) {
		(void)kp_fail(err, EINVAL, "reg %s: '%s': a key, and no image or instance before it", a->name, args->operands[1]);
		return usage(c, a, err);
	}
	if (args->operand_count != wanted) {
		(void)kp_fail(err, EINVAL, "reg %s: %s", a->name, args->operand_count < wanted ? "argument missing" : "too many arguments");
		return usage(c, a, err);
	}
	if (kp_args_has(args, "default") && kp_args_has(args, "value"))
		return kp_fail(err, EINVAL, "reg %s: --value and --default name two values", a->name);
	return 0;
}

static unsigned flags(const struct kp_args *args)
{
	static const struct {
		const char *name;
		unsigned flag;
	} rows[] = {
		{"force", KP_REG_FORCE}, {"recursive", KP_REG_RECURSIVE}, {"in-keys", KP_REG_IN_KEYS}, {"in-data", KP_REG_IN_DATA},
		{"json", KP_REG_JSON}, {"all-values", KP_REG_ALL_VALUES}, {"utf8", KP_REG_UTF8},
	};
	unsigned set = 0;

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++)
		set |= kp_args_has(args, rows[i].name) ? rows[i].flag : 0;
	return set;
}

int kp_regcmd_parse(struct kp_regcmd *c, struct kp_err *err)
{
	const struct kp_args *args = c->args;
	const char *const *rest = args->operands + (c->target ? 2 : 1);
	size_t i = 0;
	int r;

	while (i < KP_REG_ACTIONS && strcasecmp(args->operands[0], actions[i].name) != 0)
		i++;
	if (i == KP_REG_ACTIONS)
		return kp_fail(err, EINVAL, "reg: '%s': not query, add, delete, export or import", args->operands[0]);
	r = check_operands(c, &actions[i], err);
	if (r)
		return r;
	c->request = (struct kp_reg_request){.action = (enum kp_reg_action)i, .flags = flags(args), .key = rest[0],
					     .name = kp_args_has(args, "default") ? "" : kp_args_get(args, "value"),
					     .type = kp_args_get(args, "type"), .data = kp_args_get(args, "data"),
					     .separator = kp_args_get(args, "separator"), .find = kp_args_get(args, "find")};
	if (i == KP_REG_EXPORT || i == KP_REG_IMPORT)
		c->file = rest[actions[i].operands - 1];
	return 0;
}

/* Asked as reg.exe does on a terminal; elsewhere nobody is there to ask, and why one would be asked is the error. */
static int perform(struct kp_regcmd *c, struct kp_buf *out, struct kp_err *err)
{
	char answer[16];
	int r = c->perform(&c->request, out, c->ctx, err);

	if (r != -EEXIST || c->request.flags & KP_REG_FORCE || !isatty(STDIN_FILENO))
		return r;
	fprintf(stderr, "%s: do it (yes/no)? ", err->text);
	if (!fgets(answer, sizeof(answer), stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
		return kp_fail(err, ECANCELED, "left as it is");
	c->request.flags |= KP_REG_FORCE;
	return c->perform(&c->request, out, c->ctx, err);
}

static int say(const struct kp_buf *text, struct kp_err *err)
{
	if (text->len && fwrite(text->data, text->len, 1, stdout) != 1)
		return kp_fail_errno(err, errno, "standard output");
	return kp_flush(err);
}

static int export_to(struct kp_regcmd *c, struct kp_err *err)
{
	struct kp_buf kp_autobuf done = {0};
	struct kp_out kp_autoout out = {.fd = -1, .dir_fd = -1};
	struct kp_buf kp_autobuf text = {0};
	mode_t mask = umask(077);
	int r = kp_out_open(&out, c->file, c->request.flags & KP_REG_FORCE, err);

	(void)umask(mask);
	if (!r)
		r = perform(c, &text, err);
	if (r)
		return r;
	r = kp_write_full(out.fd, text.data, text.len);
	if (r)
		return kp_fail_errno(err, -r, "%s: cannot be written", c->file);
	r = kp_out_publish(&out, 0666 & ~mask, err);
	kp_buf_puts(&done, "The operation completed successfully.\n");
	return r ? r : say(&done, err);
}

int kp_regcmd_run(struct kp_regcmd *c, struct kp_err *err)
{
	struct kp_buf kp_autobuf out = {0};
	kp_autofree char *bytes = NULL;
	int r = 0;

	if (c->request.action == KP_REG_EXPORT && strcmp(c->file, "-") != 0)
		return export_to(c, err);
	if (c->request.action == KP_REG_IMPORT) {
		r = kp_read_file(AT_FDCWD, strcmp(c->file, "-") ? c->file : "/dev/stdin", KP_REG_TEXT, &bytes, &c->request.text_len);
		c->request.text = bytes;
	}
	if (r)
		return kp_fail_errno(err, -r, "%s: cannot be read", c->file);
	r = perform(c, &out, err);
	return r ? r : say(&out, err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel reg: the registry of an image or an instance, in the words of Windows' reg.exe. */
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/reg.h"
#include "launch/internal.h"

#define REG_MAX ((size_t)256 << 20)

/* --- the target --- */

/* A running instance takes back what its programs wrote, before anything is read or changed. Closes fd. */
static void settle(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct kp_ctl_conn conn;
	const char *payload;
	unsigned type;
	size_t len;
	int r = kp_ctl_send(fd, KP_CTL_SETTLE, NULL, NULL, 0, 0);

	kp_ctl_conn_init(&conn, fd);
	while (!r && poll(&p, 1, 5000) > 0 && !(r = kp_ctl_fill(&conn)))
		r = kp_ctl_next(&conn, &type, &payload, &len); /* whatever comes: it has been asked */
	kp_ctl_conn_close(&conn);
}

/* A stopped instance is kept from being removed meanwhile; a running one takes changes by its file's locks. */
static int hold(struct kp_instance *i, struct kp_err *err)
{
	int r = kp_instance_lock(i), fd;

	if (r != -EWOULDBLOCK)
		return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be locked", i->name) : 0;
	fd = kp_front_connect(i);
	if (fd < 0) {
		(void)kp_fail(err, EBUSY, "%s: in use: another command works on it", i->name);
		return kp_hint(err, "try again when it has ended");
	}
	settle(fd);
	return 0;
}

static int open_target(struct kp_regcmd *c, bool write, struct kp_err *err)
{
	const char *what = c->args->operands[1], *profile = kp_args_get(c->args, "profile");
	struct kp_plan *plan = &c->plan;
	const struct kp_strings *last = NULL;
	int r = 0;

	if (!strchr(what, '/') && kp_instance_name_ok(what))
		r = kp_instance_open(what, &plan->instance, err);
	if (r && (r != -ENOENT || access(what, F_OK) < 0))
		return r;
	if (!plan->instance && write) {
		(void)kp_fail(err, EROFS, "%s: an image is not changed", what);
		return kp_hint(err, "its manifest makes its registry; an instance of it takes changes");
	}
	r = plan->instance ? hold(plan->instance, err) : 0;
	if (!r)
		r = kp_plan_open_image(plan, plan->instance ? plan->instance->image : what, err);
	last = plan->instance ? &plan->instance->layers : NULL;
	if (!r)
		r = kp_plan_layers(plan, last ? (const char *const *)last->items : NULL, last ? last->count : 0, err);
	if (!r)
		r = kp_plan_profile(plan, profile, NULL, NULL, 0, err);
	if (!r && plan->instance && plan->instance->modes.count && !profile)
		kp_rules_again(plan, &plan->instance->modes);
	else if (!r)
		r = kp_plan_modes(plan, NULL, 0, err);
	return r ? r : kp_plan_registry(plan, write, &c->reg, err);
}

/* --- names and errors --- */

int kp_regcmd_fail(int rc, const char *key, const char *value, struct kp_err *err)
{
	static const struct {
		int rc;
		const char *what;
	} rows[] = {
		{-ENOENT, "no such key"}, {-ENODATA, "the key has no such value"}, {-EACCES, "a policy of the profile: it is not changed"},
		{-EINVAL, "no name of a key or value"}, {-EBUSY, "a hive, or where a mode begins: it stays"}, {-EROFS, "it is not changed"},
		{-EAGAIN, "another program keeps the registry locked"}, {-EFBIG, "the data is longer than 16 MiB"},
	};
	const char *what = strerror(-rc);

	for (size_t i = 0; i < KP_ARRAY_LEN(rows); i++)
		if (rows[i].rc == rc)
			what = rows[i].what;
	(void)kp_fail(err, -rc, "%s%s%s: %s", key, value ? ": " : "", value ? (*value ? value : "(Default)") : "", what);
	return rc == -EINVAL ? kp_hint(err, "a key is HKCU or HKLM and names between backslashes: 'HKCU\\Software\\App'") : rc;
}

/* The value that /v or /ve names: NULL where neither is given. */
static const char *value_name(const struct kp_args *args)
{
	return kp_args_has(args, "default") ? "" : kp_args_get(args, "value");
}

/* As reg.exe does on a terminal; elsewhere nobody is there to ask. */
/* refusal: why nothing was done where nobody can be asked; does: what --force does. */
static int ask(const struct kp_regcmd *c, const char *question, const char *refusal, const char *does, const char *what, struct kp_err *err)
{
	char answer[16];

	if (kp_args_has(c->args, "force"))
		return 0;
	if (!isatty(STDIN_FILENO)) {
		(void)kp_fail(err, EEXIST, "%s: %s", what, refusal);
		return kp_hint(err, "--force (/f) %s", does);
	}
	fprintf(stderr, "%s: %s (yes/no)? ", what, question);
	if (!fgets(answer, sizeof(answer), stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
		return kp_fail(err, ECANCELED, "%s: left as it is", what);
	return 0;
}

static int done(struct kp_reg_txn *t, int rc, const char *key, const char *value, struct kp_err *err)
{
	if (rc)
		kp_reg_abort(t);
	else
		rc = kp_reg_commit(t);
	if (rc)
		return kp_regcmd_fail(rc, key, value, err);
	puts("The operation completed successfully.");
	return kp_flush(err);
}

/* --- add --- */

/* The texts of a list: separated by /s, \0 where it is not given. */
static void split(const char *text, const char *separator, struct kp_strings *ret)
{
	size_t len = strlen(separator);
	const char *end;

	while (len && (end = strstr(text, separator))) {
		kp_autofree char *part = kp_strndup(text, (size_t)(end - text));

		kp_strings_add(ret, part);
		text = end + len;
	}
	if (*text)
		kp_strings_add(ret, text);
}

static int parse_data(struct kp_regcmd *c, struct kp_reg_data *d, struct kp_buf *data, struct kp_err *err)
{
	const char *type = kp_args_get(c->args, "type"), *text = kp_args_get(c->args, "data"), *separator = kp_args_get(c->args, "separator");
	struct kp_strings kp_autostrings texts = {0};
	const char *why;

	d->type = KP_REG_SZ;
	if (type && kp_reg_type_by_name(type, &d->type) < 0) {
		(void)kp_fail(err, EINVAL, "--type: '%s': no type of value", type);
		return kp_hint(err, "REG_SZ, REG_EXPAND_SZ, REG_MULTI_SZ, REG_DWORD, REG_QWORD, REG_BINARY, REG_NONE");
	}
	if (d->type == KP_REG_MULTI_SZ)
		split(text ? text : "", separator ? separator : "\\0", &texts);
	else if (text || d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ)
		kp_strings_add(&texts, text ? text : "");
	else
		kp_strings_add(&texts, d->type == KP_REG_DWORD || d->type == KP_REG_QWORD ? "0" : "");
	if (kp_reg_data_parse(d->type, texts.items, texts.count, data, &why) < 0)
		return kp_fail(err, EINVAL, "--data: '%s': %s", text ? text : "", why);
	d->data = data->data;
	d->len = data->len;
	return 0;
}

static int add(struct kp_regcmd *c, struct kp_err *err)
{
	const char *key = c->args->operands[2], *name = value_name(c->args);
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_value old = {0};
	struct kp_reg_data d;
	struct kp_reg_txn *t;
	int r = 0;

	if (!name && (kp_args_has(c->args, "data") || kp_args_has(c->args, "type")))
		name = "";
	if (name)
		r = parse_data(c, &d, &data, err);
	if (!r && name && !kp_reg_get(c->reg, key, name, &old)) {
		kp_reg_value_free(&old);
		r = ask(c, "exists: replace it", "exists already", "replaces it", *name ? name : "(Default)", err);
	}
	if (r)
		return r;
	r = kp_reg_begin(c->reg, &t);
	if (r)
		return kp_regcmd_fail(r, key, name, err);
	return done(t, name ? kp_reg_set(t, key, name, &d) : kp_reg_create_key(t, key), key, name, err);
}

/* --- delete --- */

static int take_value(const struct kp_reg_value *v, void *ctx)
{
	kp_strings_add(ctx, v->name);
	return 0;
}

static int delete(struct kp_regcmd *c, struct kp_err *err)
{
	const char *key = c->args->operands[2], *name = value_name(c->args);
	bool all = kp_args_has(c->args, "all-values");
	struct kp_strings kp_autostrings names = {0};
	struct kp_reg_txn *t;
	int r = ask(c, all ? "delete all its values" : name ? "delete it" : "delete it and all below", "not deleted: nobody to ask", "deletes it", name && *name ? name : key, err);

	if (r)
		return r;
	r = kp_reg_begin(c->reg, &t);
	if (r)
		return kp_regcmd_fail(r, key, name, err);
	if (all)
		r = kp_reg_each_value(c->reg, key, take_value, &names);
	for (size_t i = 0; i < names.count && !r; i++)
		r = kp_reg_delete_value(t, key, names.items[i]);
	if (!r && !all)
		r = name ? kp_reg_delete_value(t, key, name) : kp_reg_delete_key(t, key, true);
	return done(t, r, key, name, err);
}

/* --- export and import --- */

static int put_file(const char *bytes, size_t len, void *ctx)
{
	return kp_write_full(*(int *)ctx, bytes, len);
}

static int export(struct kp_regcmd *c, struct kp_err *err)
{
	const char *key = c->args->operands[2], *file = c->args->operands[3];
	bool utf16 = !kp_args_has(c->args, "utf8");
	struct kp_out kp_autoout out = {.fd = -1, .dir_fd = -1};
	int fd = STDOUT_FILENO, r = 0;

	if (strcmp(file, "-") != 0) {
		r = kp_out_open(&out, file, kp_args_has(c->args, "force"), err);
		fd = out.fd;
	}
	if (r)
		return r;
	r = kp_regfile_write(c->reg, key, utf16, put_file, &fd);
	if (r)
		return kp_regcmd_fail(r, key, NULL, err);
	if (fd == STDOUT_FILENO)
		return 0;
	r = kp_out_publish(&out, 0666 & ~c->umask, err);
	if (r)
		return r;
	puts("The operation completed successfully.");
	return kp_flush(err);
}

static int import(struct kp_regcmd *c, struct kp_err *err)
{
	const char *file = c->args->operands[2];
	kp_autofree char *bytes = NULL;
	struct kp_regfile_sink sink;
	struct kp_reg_txn *t;
	size_t len;
	int r = kp_read_file(AT_FDCWD, strcmp(file, "-") ? file : "/dev/stdin", REG_MAX, &bytes, &len);

	if (r)
		return kp_fail_errno(err, -r, "%s: cannot be read", file);
	r = kp_reg_begin(c->reg, &t);
	if (r)
		return kp_regcmd_fail(r, file, NULL, err);
	sink = kp_reg_txn_sink(t);
	r = kp_regfile_read(bytes, len, file, &sink, err);
	if (r) {
		kp_reg_abort(t);
		return r;
	}
	return done(t, 0, file, NULL, err);
}

/* --- the verb --- */

int kp_cmd_reg(const struct kp_args *args, struct kp_err *err)
{
	static const struct {
		const char *name;
		int (*fn)(struct kp_regcmd *c, struct kp_err *err);
		size_t operands; /* with the action and the target */
		bool write;
		const char *usage;
	} actions[] = {
		{"query", kp_regcmd_query, 3, false, "TARGET KEY [-v NAME|--default] [-s] [--find TEXT] [--json]"},
		{"add", add, 3, true, "TARGET KEY [-v NAME|--default] [-t TYPE] [-d DATA] [-f]"},
		{"delete", delete, 3, true, "TARGET KEY [-v NAME|--default|--all-values] [-f]"},
		{"export", export, 4, false, "TARGET KEY FILE [-f] [--utf8]"},
		{"import", import, 3, true, "TARGET FILE"},
	};
	struct kp_regcmd c = {.args = args, .umask = umask(077)};
	int r;

	(void)umask(c.umask);
	for (size_t i = 0; i < KP_ARRAY_LEN(actions); i++) {
		if (strcasecmp(args->operands[0], actions[i].name) != 0)
			continue;
		if (args->operand_count < actions[i].operands && !strncasecmp(args->operands[1], "HK", 2)) {
			(void)kp_fail(err, EINVAL, "reg %s: '%s': a key, and no image or instance before it", actions[i].name, args->operands[1]);
			return kp_hint(err, "usage: kapsel reg %s %s", actions[i].name, actions[i].usage);
		}
		if (args->operand_count != actions[i].operands) {
			(void)kp_fail(err, EINVAL, "reg %s: %s", actions[i].name, args->operand_count < actions[i].operands ? "argument missing" : "too many arguments");
			return kp_hint(err, "usage: kapsel reg %s %s", actions[i].name, actions[i].usage);
		}
		if (kp_args_has(args, "default") && kp_args_has(args, "value"))
			return kp_fail(err, EINVAL, "reg %s: --value and --default name two values", actions[i].name);
		r = open_target(&c, actions[i].write, err);
		if (!r)
			r = actions[i].fn(&c, err);
		(void)kp_reg_free(c.reg);
		kp_plan_free(&c.plan);
		return r;
	}
	return kp_fail(err, EINVAL, "reg: '%s': not query, add, delete, export or import", args->operands[0]);
}

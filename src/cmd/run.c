/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel run, and an image that is started as a program. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/powers.h"
#include "cmd/cmd.h"
#include "sys/filter.h"
#include "sys/policy.h"

extern char **environ;

/* The values of a repeatable option; free the array. */
static int take_pass_fds(const struct kp_args *args, struct kp_request *q, struct kp_err *err)
{
	for (size_t i = 0; i < args->given_count; i++) {
		long fd;
		int r;

		if (strcmp(args->given[i].option->name, "pass-fd"))
			continue;
		r = kp_args_number("pass-fd", args->given[i].value, 3, 1 << 20, &fd, err);
		if (r < 0)
			return r;
		if (fcntl((int)fd, F_GETFD) < 0)
			return kp_fail_errno(err, errno, "--pass-fd: %ld", fd);
		if (q->pass_fd_count == KP_CTL_FDS_MAX)
			return kp_fail(err, E2BIG, "--pass-fd: more than %u descriptors", KP_CTL_FDS_MAX);
		q->pass_fds[q->pass_fd_count++] = (int)fd;
	}
	return 0;
}

static int failed(const struct kp_args *args, const struct kp_plan *plan, int r, struct kp_err *err)
{
	bool quiet = kp_args_has(args, "quiet");

	if (r < 0 && plan->fail_exit == KP_EXIT_NOT_FOUND && !err->hint[0])
		(void)kp_hint(err, "'kapsel ls IMAGE DIRECTORY' lists what is in the image");
	if (r < 0 && quiet)
		err->hint[0] = '\0';
	if (r >= 0 || !plan->fail_exit || plan->fail_exit == KP_EXIT_FAILED)
		return r;
	kp_complain(err);
	return plan->fail_exit;
}

/* Nothing is started. */
static int dump_filter(const struct kp_plan *plan, struct kp_err *err)
{
	kp_autofree struct sock_filter *code = NULL;
	kp_autobuf struct kp_buf text = {0};
	unsigned short len;
	int r = kp_policy_filter(&plan->policy, kp_policy_gate(plan->level == KP_LEVEL_PORTABLE), &code, &len, err);

	if (r < 0)
		return r;
	kp_filter_text(code, len, &text);
	fputs(text.data, stdout);
	return 0;
}

static int make_and_run(const struct kp_args *args, struct kp_request *q, struct kp_plan *plan, struct kp_err *err)
{
	kp_autofree const char **binds = kp_args_values(args, "bind", &q->bind_count);
	kp_autofree const char **layers = kp_args_values(args, "layer", &q->layer_count);
	kp_autofree const char **modes = kp_args_values(args, "mode", &q->mode_count);
	kp_autofree const char **env = kp_args_values(args, "env", &q->env_count);
	kp_autofree const char **unset = kp_args_values(args, "unset", &q->unset_count);
	kp_autofree const char **limits = kp_args_values(args, "limit", &q->limit_count);
	kp_autofree const char **publish = kp_args_values(args, "publish", &q->publish_count);
	int r;

	if (kp_environ_get(environ, "KAPSEL_INSTANCE"))
		return kp_fail(err, EPERM, "run: refused: already inside an instance");
	q->binds = binds;
	q->modes = modes;
	q->layers = layers;
	q->env = env;
	q->unset = unset;
	q->limits = limits;
	q->publish = publish;
	q->profile = kp_args_get(args, "profile");
	q->net = kp_args_get(args, "net");
	q->level = kp_args_get(args, "level");
	q->instance = kp_args_get(args, "instance");
	q->throw_away = kp_args_has(args, "rm") || kp_args_has(args, "dump-filter");
	q->cwd = kp_args_get(args, "cwd");
	q->trace = kp_args_get(args, "trace");
	plan->settled = kp_args_settled(args);
	r = take_pass_fds(args, q, err);
	if (!r)
		r = kp_plan_make(plan, q, err);
	if (r >= 0 && kp_args_has(args, "dump-filter")) {
		r = dump_filter(plan, err);
		(void)kp_instance_remove(plan->instance, NULL);
		return r;
	}
	if (r >= 0)
		r = kp_front_run(plan, err);
	return failed(args, plan, r, err);
}

int kp_cmd_run(const struct kp_args *args, struct kp_err *err)
{
	struct kp_request q = {.command = args->command, .command_count = args->command_count};
	struct kp_plan kp_autoplan plan = {0};
	int r = kp_plan_open_image(&plan, args->operands[0], err);

	return r < 0 ? r : make_and_run(args, &q, &plan, err);
}

int kp_cmd_exec(const struct kp_args *args, struct kp_err *err)
{
	struct kp_request q = {.command = args->command, .command_count = args->command_count};
	kp_autofree const char **env = kp_args_values(args, "env", &q.env_count);
	kp_autofree const char **unset = kp_args_values(args, "unset", &q.unset_count);
	struct kp_plan kp_autoplan plan = {0};
	struct kp_instance *instance;
	int r;

	if (!args->command_count) {
		(void)kp_fail(err, EINVAL, "exec: command missing");
		return kp_hint(err, "usage: kapsel exec %s", args->verb->usage);
	}
	r = kp_instance_open(args->operands[0], &instance, err);
	if (r < 0)
		return r == -ENOENT && !err->code ? kp_fail(err, ENOENT, "%s: no such instance", args->operands[0]) : r;
	plan.instance = instance;
	r = kp_plan_open_image(&plan, instance->image, err);
	q.env = env;
	q.unset = unset;
	q.cwd = kp_args_get(args, "cwd");
	if (!r)
		r = take_pass_fds(args, &q, err);
	if (!r)
		r = kp_plan_make_guest(&plan, &q, err);
	if (r < 0)
		return r;
	r = kp_front_join(&plan, err);
	if (r == -ENOTCONN) {
		(void)kp_fail(err, ESRCH, "%s: does not run", args->operands[0]);
		return kp_hint(err, "kapsel run --instance %s IMAGE starts it", args->operands[0]);
	}
	return failed(args, &plan, r, err);
}

static int self_help(const struct kp_plan *plan)
{
	kp_autofree char *summary = kp_shown(plan->manifest->summary ? plan->manifest->summary : "");

	printf("%s %s%s%s\n\nThis file holds a program and all that it needs. Its arguments are the program's.\n"
	       "KAPSEL_OPTS='OPTIONS' holds options of kapsel run:\n\n",
	       plan->manifest->name, plan->manifest->version ? plan->manifest->version : "", *summary ? ": " : "",
	       summary);
	kp_doc_verb_help(kp_verb_find("run"), stdout);
	for (size_t i = 0; i < plan->manifest->command_count; i++)
		printf("%s%s\n", i ? "  " : "\nStarted through a link of that name, it runs:\n  ",
		       plan->manifest->commands[i].name);
	return 0;
}

/* This program's own file under its name, where that still leads to it: for errors and config.yaml. */
static char *own_path(void)
{
	struct stat by_name, self;
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n > 0) {
		path[n] = '\0';
		if (!stat(path, &by_name) && !stat("/proc/self/exe", &self) && by_name.st_ino == self.st_ino &&
		    by_name.st_dev == self.st_dev)
			return kp_strdup(path);
	}
	return kp_strdup("/proc/self/exe");
}

int kp_cmd_self(int argc, char **argv, struct kp_err *err)
{
	const char *opts = getenv("KAPSEL_OPTS"), *base = argc ? strrchr(argv[0], '/') : NULL;
	struct kp_plan kp_autoplan plan = {0};
	struct kp_args kp_autoargs args = {0};
	kp_autofree char **words = NULL;
	kp_autofree char *self = own_path();
	struct kp_request q = {0};
	size_t count = 0;
	int r = kp_powers_keep(kp_verb_find("run")->powers, err);

	if (!r)
		r = kp_plan_open_image(&plan, self, err);
	if (r < 0)
		return r;
	base = base ? base + 1 : argc ? argv[0] : "";
	for (size_t i = 0; i < plan.manifest->command_count; i++)
		if (!strcmp(plan.manifest->commands[i].name, base))
			q.start_as = plan.manifest->commands[i].name;
	if (argc == 2 && !strcmp(argv[1], "--kapsel-help"))
		return self_help(&plan);
	r = kp_words_split(opts ? opts : "", &words, &count, err);
	if (!r) {
		struct kp_verb verb = *kp_verb_find("run");

		verb.min_operands = verb.max_operands = 0;
		r = kp_args_parse(&verb, (int)count, words, &args, err);
		if (r < 0)
			return kp_hint(err, "KAPSEL_OPTS holds options of kapsel run; --kapsel-help explains");
	}
	if (r < 0)
		return r;
	q.command = args.command;
	q.command_count = args.command_count;
	q.more = argv + (argc ? 1 : 0);
	q.more_count = argc ? (size_t)argc - 1 : 0;
	return make_and_run(&args, &q, &plan, err);
}

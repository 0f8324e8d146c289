/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel: finds the verb, or runs the image that this file carries. */
#include <fcntl.h>
#include <pwd.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/powers.h"
#include "cmd/cmd.h"

static int main_doc(int argc, char **argv, struct kp_err *err)
{
	const struct kp_verb *verb = NULL;

	if (!strcmp(argv[1], "--version")) {
		printf("kapsel %s\n", KP_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--completion") && argc == 3)
		return kp_doc_completion(kp_verbs, argv[2], stdout, err);
	if (!strcmp(argv[1], "--man") && argc <= 3) {
		if (argc == 3) {
			verb = kp_verb_find(argv[2]);
			if (!verb || verb->flags & KP_VERB_LATER)
				return kp_fail(err, EINVAL, "%s: no such command", argv[2]);
		}
		kp_doc_man(kp_verbs, verb, stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		kp_doc_help(kp_verbs, stdout);
		return 0;
	}
	return kp_fail(err, EINVAL, "%s: unknown option", argv[1]);
}

static int main_verb(int argc, char **argv, struct kp_err *err)
{
	const struct kp_verb *verb;
	struct kp_args kp_autoargs args = {0};
	int r;

	if (argc < 2) {
		kp_doc_help(kp_verbs, stderr);
		return KP_EXIT_FAILED;
	}
	if (argv[1][0] == '-') {
		r = main_doc(argc, argv, err);
		return r < 0 ? r : kp_flush(err);
	}
	if (!strcmp(argv[1], "help") && argc <= 3) {
		verb = argc == 3 ? kp_verb_find(argv[2]) : NULL;
		if (verb)
			kp_doc_verb_help(verb, stdout);
		else
			kp_doc_help(kp_verbs, stdout);
		return kp_flush(err);
	}
	verb = kp_verb_find(argv[1]);
	if (!verb) {
		(void)kp_fail(err, EINVAL, "%s: unknown command", argv[1]);
		return kp_hint(err, "kapsel --help lists the commands");
	}
	if (verb->flags & KP_VERB_LATER)
		return kp_fail(err, ENOSYS, "%s: not in this version", verb->name);
	r = kp_powers_keep(verb->powers, err);
	if (r < 0)
		return r;
	if (verb->flags & KP_VERB_PACK)
		return kp_cmd_pack(argv, err);
	r = kp_args_parse(verb, argc - 2, argv + 2, &args, err);
	if (r < 0)
		return r;
	if (args.help) {
		kp_doc_verb_help(verb, stdout);
		return kp_flush(err);
	}
	return verb->fn(&args, err);
}

/* 1: this file carries an image; 0: it does not; -errno. */
static int carries_image(struct kp_err *err)
{
	kp_autoclose int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		return kp_image_present(fd);
	(void)kp_fail_errno(err, errno, "/proc/self/exe: own file cannot be read");
	return kp_hint(err, "/proc must be mounted");
}

/* Services, hooks and `env -i` start programs without them. Only the file is asked: a static program has no other sources of names. */
static void complete_environment(void)
{
	const char *home = getenv("HOME"), *user = getenv("USER"), *logname = getenv("LOGNAME");
	struct passwd *p;
	FILE *f;

	if (home && *home && ((user && *user) || (logname && *logname)))
		return;
	f = fopen("/etc/passwd", "re");
	if (!f)
		return;
	while ((p = fgetpwent(f)))
		if (p->pw_uid == getuid()) {
			if ((!home || !*home) && p->pw_dir[0] == '/')
				(void)setenv("HOME", p->pw_dir, 1);
			if ((!user || !*user) && (!logname || !*logname))
				(void)setenv("USER", p->pw_name, 1);
			break;
		}
	(void)fclose(f);
}

int main(int argc, char **argv)
{
	struct kp_err err = {0};
	int r = kp_powers_keep(KP_POWERS_ALL, &err);

	if (r < 0) {
		kp_complain(&err);
		return KP_EXIT_FAILED;
	}
	kp_fds_at_start();
	if (kp_debug_init())
		return 0;
	if (getauxval(AT_SECURE) || getuid() != geteuid() || getgid() != getegid()) {
		r = kp_fail(&err, EPERM, "kapsel: refused: started set-id or with file capabilities");
	} else if (kp_reg_is_inside()) {
		r = kp_cmd_reg_inside(argc, argv, &err);
	} else {
		complete_environment();
		r = carries_image(&err);
		if (r >= 0)
			r = r ? kp_cmd_self(argc, argv, &err) : main_verb(argc, argv, &err);
	}
	if (r >= 0)
		return r;
	kp_complain(&err);
	return KP_EXIT_FAILED;
}

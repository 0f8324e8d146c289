/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel export and import: an instance as one file. The archive itself is written and read by kapsel-pack. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "changes/against.h"
#include "changes/rebase.h"
#include "cmd/view.h"
#include "instance/config.h"
#include "instance/settle.h"
#include "kapsel/carried.h"
#include "launch/internal.h"
#include "registry/registry.h"
#include "vfs/check.h"

/* Runs kapsel-pack with its standard input or output on fd: 0, or its exit status; it has said what was wrong. */
static int run_pack(char **argv, int fd, int as, struct kp_err *err)
{
	kp_autofree char *path = NULL;
	int status = 0, r = kp_pack_path(&path, err);
	pid_t pid;

	if (r < 0)
		return r;
	argv[0] = path;
	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		return kp_fail_errno(err, errno, "fork");
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (dup2(fd, as) == as)
			(void)execv(path, argv);
		_exit(KP_EXIT_NOT_FOUND);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == KP_EXIT_FAILED)
		return KP_EXIT_FAILED;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : kp_fail(err, EIO, "kapsel-pack: ended before its time");
}

static const struct kp_args no_args;

/* A memory file that kapsel-pack inherits: what the changes were made against. Of images alone: another machine has another host. */
static int make_against(const char *name, int *ret_fd, struct kp_err *err)
{
	struct kp_view kp_autoview w = {.no_modes = true};
	struct kp_buf kp_autobuf text = {0};
	kp_autofree char *own = NULL;
	kp_autoclose int fd = -1;
	struct kp_reg *reg = NULL;
	int r = kp_view_open(&w, &no_args, name, KP_VIEW_LOWER, err);

	if (!r)
		r = kp_view_registry(&w, &reg, err);
	if (r < 0)
		return r;
	own = kp_asprintf("%s/registry", w.plan.instance->dir);
	r = kp_against_make(w.upper_fd, w.vfs, own, reg, &text, err);
	(void)kp_reg_free(reg);
	if (r < 0)
		return r;
	fd = memfd_create(KP_CARRIED_AGAINST, 0);
	if (fd < 0 || kp_write_full(fd, text.data ? text.data : "", text.len) < 0)
		return kp_fail_errno(err, errno, "export: no memory file");
	*ret_fd = kp_take_fd(&fd);
	return 0;
}

/* against_fd -1: all of it. */
static int export_to(const struct kp_instance *i, int against_fd, int fd, struct kp_err *err)
{
	struct dirent **names = NULL;
	int count = scandir(i->dir, &names, NULL, alphasort), r;
	char **argv = kp_calloc((size_t)KP_MAX(count, 0) + 6, sizeof(*argv));
	kp_autofree char *number = kp_asprintf("%d", against_fd);
	size_t n = 0;

	if (count < 0) {
		free(argv);
		return kp_fail_errno(err, errno, "%s: cannot be read", i->dir);
	}
	n++;
	argv[n++] = (char *)(uintptr_t)"export-tree";
	argv[n++] = i->dir;
	argv[n++] = i->name;
	argv[n++] = number;
	for (int k = 0; k < count; k++)
		if (!kp_settle_is_local(names[k]->d_name))
			argv[n++] = names[k]->d_name;
	r = run_pack(argv, fd, STDOUT_FILENO, err);
	for (int k = 0; k < count; k++)
		free(names[k]);
	free(names);
	free(argv);
	return r;
}

int kp_cmd_export(const struct kp_args *args, struct kp_err *err)
{
	const char *to = kp_args_get(args, "output");
	struct kp_instance *i = NULL;
	struct kp_out kp_autoout out = {.fd = -1, .dir_fd = -1};
	kp_autoclose int against_fd = -1;
	int r;

	if (!to) {
		(void)kp_fail(err, EINVAL, "export: no file given");
		return kp_hint(err, "kapsel export INSTANCE -o FILE");
	}
	r = kp_instance_open(args->operands[0], &i, err);
	if (r == -ENOENT && !err->code)
		r = kp_fail(err, ENOENT, "%s: not set up yet", args->operands[0]);
	if (!r)
		r = kp_lock_stopped(i, err);
	if (!r)
		r = kp_out_open(&out, to, kp_args_has(args, "force"), err);
	if (!r && kp_args_has(args, "changes"))
		r = make_against(i->name, &against_fd, err);
	if (!r)
		r = export_to(i, against_fd, out.fd, err);
	if (!r)
		r = kp_out_publish(&out, 0600, err);
	(void)kp_instance_free(i);
	return r;
}

/* The name that the instance had where it was exported. */
static int name_in(const char *from, const char *dir, char **ret, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/." KP_CARRIED_HEADER, dir), *text = NULL;
	size_t len;
	int r = kp_read_file(AT_FDCWD, path, 4096, &text, &len);

	(void)unlink(path);
	if (r < 0 || strncmp(text, "1 ", 2) != 0) {
		(void)kp_fail(err, EPROTO, "%s: of a format that this kapsel does not know", from);
		return kp_hint(err, "use the newer kapsel that made it");
	}
	text[strcspn(text, "\n")] = '\0';
	if (!kp_instance_name_ok(text + 2))
		return kp_fail(err, EINVAL, "%s: refused: its name is not one of an instance", from);
	*ret = kp_strdup(text + 2);
	return 0;
}

static void ignore(const char *path, const char *what, void *ctx)
{
	(void)path;
	(void)what;
	(void)ctx;
}

static int refuse_unknown(const char *from, int dir_fd, struct kp_err *err)
{
	static const char *const known[] = {"config.yaml", "upper", "registry", "registry-wal", "registry-shm", "projections"};
	struct dirent **names = NULL;
	int count = scandirat(dir_fd, ".", &names, NULL, NULL), r = count < 0 ? -errno : 0;

	for (int k = 0; k < count; k++) {
		const char *name = names[k]->d_name;
		bool is_known = !strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "lock");
		struct stat st;

		for (size_t i = 0; i < KP_ARRAY_LEN(known); i++)
			is_known |= !strcmp(name, known[i]) && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
				    (!strcmp(name, "upper") || !strcmp(name, "projections") ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode));
		if (!r && !is_known)
			r = kp_fail(err, EINVAL, "%s: '%s' in it: refused: no part of an instance", from, name);
		free(names[k]);
	}
	free(names);
	return r;
}

static int check(const char *from, struct kp_instance *to, const char *image, struct kp_err *err)
{
	kp_autofree char *upper = kp_asprintf("%s/upper", to->dir);
	kp_autoclose int fd = open(to->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct kp_upper_counts n = {0};
	int r = refuse_unknown(from, fd, err);

	if (!r)
		r = kp_instance_config_read(to, err);
	if (r == -ENOENT && !err->code)
		r = kp_fail(err, EINVAL, "%s: refused: no configuration in it", from);
	if (!r && access(upper, F_OK) == 0)
		r = kp_upper_check(upper, ignore, NULL, &n, err);
	if (!r && n.wrong)
		r = kp_fail(err, EINVAL, "%s: refused: its files are not those of an instance", from);
	/* What it saw of another host, or says it did, is nothing to be applied to this one. */
	kp_strings_free(&to->modes);
	kp_strings_free(&to->layers);
	if (!r && image) {
		free(to->image);
		to->image = kp_strdup(image);
	}
	if (!r)
		r = kp_instance_config_write(to, err);
	if (!r && syncfs(fd) < 0)
		r = kp_fail_errno(err, errno, "%s: cannot be written", to->dir);
	return r;
}

/* --image FILE: must be what the instance was made from. */
static int find_image(const struct kp_args *args, char **ret_path, char **ret_digest, struct kp_err *err)
{
	const char *image = kp_args_get(args, "image");
	struct kp_plan kp_autoplan plan = {0};
	char hex[2 * KP_DIGEST_LEN + 1];
	int r = image ? kp_plan_open_image(&plan, image, err) : 0;

	if (!image || r < 0)
		return r;
	kp_digest_text(kp_image_digest(plan.image), hex);
	*ret_digest = kp_strdup(hex);
	*ret_path = kp_take_ptr(plan.host_image);
	return 0;
}

/* What its changes were made against leaves the directory; *ret_text stays NULL where the archive is of a whole instance. */
static int take_against(const char *from, const char *dir, char **ret_text, size_t *ret_len, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/" KP_CARRIED_AGAINST, dir);
	int r = kp_read_file(AT_FDCWD, path, KP_CARRIED_AGAINST_MAX, ret_text, ret_len);

	(void)unlink(path);
	return r == -ENOENT ? 0 : r < 0 ? kp_fail_errno(err, -r, "%s: '" KP_CARRIED_AGAINST "' in it: cannot be read", from) : 0;
}

struct differing {
	size_t count;
	char *first;
};

static void differs(const char *what, void *ctx)
{
	struct differing *d = ctx;

	printf("C %s\n", what);
	if (!d->count++)
		d->first = kp_strdup(what);
}

/* The changes go onto an image that they were not made on: only where it has the same as that one at each of them. */
static int put_on(const char *from, struct kp_instance *to, char *text, size_t len, struct kp_err *err)
{
	struct kp_view kp_autoview w = {.no_modes = true};
	kp_autofree char *upper = kp_asprintf("%s/upper", to->dir), *first = NULL;
	kp_autoclose int upper_fd = -1;
	struct differing d = {0};
	struct kp_reg *reg = NULL;
	int r = kp_view_open(&w, &no_args, to->image, KP_VIEW_WHOLE, err);

	if (!r)
		r = kp_view_registry(&w, &reg, err);
	if (!r && kp_against_check(text, len, w.vfs, reg, differs, &d) < 0)
		r = kp_fail(err, EINVAL, "%s: refused: what its changes were made against cannot be read", from);
	(void)kp_reg_free(reg);
	first = d.first;
	if (!r && d.count) {
		(void)kp_fail(err, EBUSY, "%s: %zu of its changes %s made on what %.200s has otherwise, the first: %.200s", from, d.count,
			      d.count == 1 ? "was" : "were", to->image, first);
		return kp_hint(err, "import onto the image with the digest %.64s, then 'kapsel upgrade'", to->digest);
	}
	upper_fd = r ? -1 : open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper_fd >= 0)
		r = kp_rebase_forget_numbers(upper_fd, err);
	if (r)
		return r;
	free(to->digest);
	to->digest = kp_plan_digests(&w.plan);
	return kp_instance_config_write(to, err);
}

static int import_into(struct kp_instance *to, const struct kp_args *args, int fd, char **ret_name, struct kp_err *err)
{
	const char *from = args->operands[0];
	char *argv[] = {NULL, (char *)(uintptr_t)"import-tree", to->dir, (char *)(uintptr_t)from, NULL};
	kp_autofree char *image = NULL, *digest = NULL, *text = NULL;
	size_t len = 0;
	int r = find_image(args, &image, &digest, err);

	if (!r)
		r = run_pack(argv, fd, STDIN_FILENO, err);
	if (!r)
		r = name_in(from, to->dir, ret_name, err);
	if (!r)
		r = take_against(from, to->dir, &text, &len, err);
	if (!r)
		r = check(from, to, image, err);
	if (!r && text && !image) {
		(void)kp_fail(err, EINVAL, "%s: it holds changes only", from);
		return kp_hint(err, "--image IMAGE says what they are to be put on");
	}
	if (r || !digest || !strncmp(to->digest, digest, strlen(digest)))
		return r;
	if (text)
		return put_on(from, to, text, len, err);
	(void)kp_fail(err, EEXIST, "%s: not the image that the instance was made from", kp_args_get(args, "image"));
	return kp_hint(err, "that has the digest %.64s; 'export --changes' carries changes to another image", to->digest);
}

int kp_cmd_import(const struct kp_args *args, struct kp_err *err)
{
	const char *from = args->operands[0];
	kp_autoclose int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct kp_instance to = {.lock_fd = -1};
	kp_autofree char *name = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return kp_fail_errno(err, errno, "%s: cannot be opened", from);
	if (!S_ISREG(st.st_mode))
		return kp_fail(err, EINVAL, "%s: not an exported instance: not a regular file", from);
	kp_instance_sweep();
	r = kp_instance_unborn(&to, err);
	if (!r)
		r = import_into(&to, args, fd, &name, err);
	if (!r)
		r = kp_instance_born(&to, args->operand_count > 1 ? args->operands[1] : name, err);
	if (!r)
		puts(args->operand_count > 1 ? args->operands[1] : name);
	if (!r && access(to.image, F_OK) < 0) {
		kp_autofree char *shown = kp_shown(to.image);

		(void)fprintf(stderr, "kapsel: %s: its image is not at %s here: the next run tells where\n",
			      args->operand_count > 1 ? args->operands[1] : name, shown);
	}
	if (r)
		(void)kp_remove_tree(AT_FDCWD, to.dir ? to.dir : "");
	(void)kp_close(to.lock_fd);
	free(to.dir);
	free(to.image);
	free(to.digest);
	kp_strings_free(&to.modes);
	kp_strings_free(&to.layers);
	return r;
}

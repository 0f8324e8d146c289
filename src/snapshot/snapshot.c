/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: making, listing, removing, going back. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "instance/settle.h"
#include "snapshot/internal.h"

#define ABOUT_MAX 65536
#define GONE "gone" /* beside files/, until it is whole: what is not to be in it after all */

/* instances/NAME/snapshots, opened; made when missing. */
static int open_all(const struct kp_instance *i, bool make, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/snapshots", i->dir);
	int fd;

	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return kp_fail_errno(err, errno, "%s: cannot be made", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return !make && errno == ENOENT ? -ENOENT : kp_fail_errno(err, errno, "%s: cannot be opened", path);
	return fd;
}

/* The same, for changing what is in it: one at a time. */
static int open_to_change(const struct kp_instance *i, bool make, struct kp_err *err)
{
	int fd = open_all(i, make, err);

	if (fd >= 0)
		(void)flock(fd, LOCK_EX);
	return fd;
}

/* "2 SECONDS NANOSECONDS KIND PARENT\nNOTE"; format 1 had no parent; "-" is none. */
static int write_about(int fd, const struct kp_snapshot *s, struct kp_err *err)
{
	struct kp_buf kp_autobuf b = {0};
	int r;

	kp_buf_printf(&b, "2 %lld %ld %c %s\n%s", (long long)s->created.tv_sec, s->created.tv_nsec, (char)s->kind,
		      s->parent && *s->parent ? s->parent : "-", s->note);
	r = kp_write_file_atomic(fd, "about", b.data, KP_MIN(b.len, (size_t)ABOUT_MAX), 0600);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be described", s->name) : 0;
}

static int read_about(int fd, struct kp_snapshot *s)
{
	kp_autofree char *text = NULL;
	long long format, sec;
	int at = 0, r = kp_read_file(fd, "about", ABOUT_MAX, &text, NULL);
	char parent[KP_INSTANCE_NAME_MAX + 1] = "-";
	long nsec;
	char kind;

	if (r < 0)
		return r;
	if (sscanf(text, "%lld %lld %ld %c%n", &format, &sec, &nsec, &kind, &at) != 4 || (format != 1 && format != 2))
		return -EPROTO;
	if (format == 2) {
		int more = 0;

		_Static_assert(KP_INSTANCE_NAME_MAX == 128, "as below");
		if (sscanf(text + at, " %128s%n", parent, &more) != 1)
			return -EPROTO;
		at += more;
	}
	if (text[at] != '\n' || (strcmp(parent, "-") != 0 && !kp_instance_name_ok(parent)))
		return -EPROTO;
	s->created = (struct timespec){.tv_sec = sec, .tv_nsec = nsec};
	s->kind = (enum kp_snapshot_kind)kind;
	s->parent = kp_strdup(strcmp(parent, "-") ? parent : "");
	s->note = kp_strdup(text + at + 1);
	return 0;
}

/* Which snapshot the instance's state comes from: allocated, "" is none. */
static char *state_from(const struct kp_instance *i)
{
	kp_autofree char *path = kp_asprintf("%s/" KP_SETTLE_STATE, i->dir), *text = NULL;

	if (kp_read_file(AT_FDCWD, path, KP_INSTANCE_NAME_MAX, &text, NULL) < 0 || !kp_instance_name_ok(text))
		return kp_strdup("");
	return kp_take_ptr(text);
}

/* It is what `list` shows: should it be lost, nothing else is. */
static void note_state(const struct kp_instance *i, const char *name)
{
	kp_autofree char *path = kp_asprintf("%s/" KP_SETTLE_STATE, i->dir);

	(void)kp_write_file_passing(AT_FDCWD, path, name, strlen(name), 0600);
}

static void count_bytes(int dirfd, const char *name, struct kp_snapshot *s)
{
	struct kp_strings kp_autostrings todo = {0};

	kp_strings_add(&todo, name);
	while (todo.count) {
		kp_autofree char *path = kp_strings_pop(&todo);
		kp_autoclose int fd = kp_open_beneath(dirfd, path, O_RDONLY | O_DIRECTORY, 0);
		struct dirent **names = NULL;
		int n = fd < 0 ? 0 : scandirat(fd, ".", &names, NULL, NULL);

		for (int i = 0; i < n; i++) {
			const char *child = names[i]->d_name;
			struct stat st;

			if (strcmp(child, ".") && strcmp(child, "..") && fstatat(fd, child, &st, AT_SYMLINK_NOFOLLOW) == 0) {
				s->bytes += (uint64_t)st.st_blocks * 512;
				if (S_ISDIR(st.st_mode) || st.st_nlink == 1)
					s->own += (uint64_t)st.st_blocks * 512;
				if (S_ISDIR(st.st_mode)) {
					kp_autofree char *below = kp_asprintf("%s/%s", path, child);

					kp_strings_add(&todo, below);
				}
			}
			free(names[i]);
		}
		free(names);
	}
}

static int by_time(const void *a, const void *b)
{
	const struct kp_snapshot *x = a, *y = b;

	if (x->created.tv_sec != y->created.tv_sec)
		return x->created.tv_sec < y->created.tv_sec ? -1 : 1;
	return x->created.tv_nsec < y->created.tv_nsec ? -1 : x->created.tv_nsec > y->created.tv_nsec;
}

int kp_snapshot_list(const struct kp_instance *i, bool sizes, struct kp_snapshots *ret, struct kp_err *err)
{
	kp_autoclose int fd = open_all(i, false, err);
	struct dirent **names = NULL;
	int count;

	*ret = (struct kp_snapshots){0};
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	count = scandirat(fd, ".", &names, NULL, NULL);
	for (int k = 0; k < count; k++) {
		struct kp_snapshot s = {0};
		kp_autoclose int one = kp_instance_name_ok(names[k]->d_name)
					       ? openat(fd, names[k]->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

		if (one >= 0 && !read_about(one, &s)) {
			s.name = kp_strdup(names[k]->d_name);
			if (sizes)
				count_bytes(one, "files", &s);
			ret->items = kp_realloc(ret->items, (ret->count + 1) * sizeof(s));
			ret->items[ret->count++] = s;
		}
		free(names[k]);
	}
	free(names);
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items), by_time);
	return 0;
}

void kp_snapshots_free(struct kp_snapshots *s)
{
	for (size_t i = 0; i < s->count; i++) {
		free(s->items[i].name);
		free(s->items[i].note);
		free(s->items[i].parent);
	}
	free(s->items);
	*s = (struct kp_snapshots){0};
}

const struct kp_snapshot *kp_snapshots_find(const struct kp_snapshots *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (!strcmp(s->items[i].name, name))
			return &s->items[i];
	return NULL;
}

static char *name_from_time(int all_fd, enum kp_snapshot_kind kind, time_t now)
{
	const char *head = kind == KP_SNAPSHOT_AUTO ? "auto-" : kind == KP_SNAPSHOT_UNDO ? "undo-" : "";
	char text[32];
	struct tm tm;
	char *name;

	(void)strftime(text, sizeof(text), "%Y%m%d-%H%M%S", localtime_r(&now, &tm));
	name = kp_asprintf("%s%s", head, text);
	for (int i = 2; faccessat(all_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; i++) {
		free(name);
		name = kp_asprintf("%s%s-%d", head, text, i);
	}
	return name;
}

/* snapshots/NAME/files as the one before, or -1. */
static int open_before(int all_fd, const char *name)
{
	kp_autofree char *files = kp_asprintf("%s/files", name);

	return kp_open_beneath(all_fd, files, O_RDONLY | O_DIRECTORY, 0);
}

/* A directory all_fd/temp with files/ in it, opened; from: what was prepared becomes it, NULL: it is new. */
static int open_new(const struct kp_instance *i, int all_fd, const char *temp, const char *from, int *ret_at, int *ret_files, struct kp_err *err)
{
	kp_autofree char *files = kp_asprintf("%s/files", temp);
	kp_autoclose int at = -1, to = -1;

	if (from ? renameat(all_fd, from, all_fd, temp) < 0 : mkdirat(all_fd, temp, 0700) < 0 || mkdirat(all_fd, files, 0700) < 0)
		return kp_fail_errno(err, errno, "%s/snapshots/%s: cannot be made", i->dir, temp);
	at = openat(all_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	to = openat(all_fd, files, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0 || to < 0)
		return kp_fail_errno(err, errno, "%s/snapshots/%s: cannot be opened", i->dir, temp);
	*ret_at = kp_take_fd(&at);
	*ret_files = kp_take_fd(&to);
	return 0;
}

/* How a copy to such a directory begins; its descriptors are to be closed. */
static int start_carry(const struct kp_instance *i, int all_fd, const char *temp, const char *from, struct kp_carry *how, int *ret_at,
		       struct kp_err *err)
{
	int r = open_new(i, all_fd, temp, from, ret_at, &how->to_fd, err);

	if (r < 0)
		return r;
	how->from_fd = open(i->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return how->from_fd < 0 ? kp_fail_errno(err, errno, "%s: cannot be opened", i->dir) : 0;
}

static void end_carry(struct kp_carry *how)
{
	(void)kp_close(how->from_fd);
	(void)kp_close(how->to_fd);
	(void)kp_close(how->before_fd);
	(void)kp_close(how->gone_fd);
}

/* All that happens while an instance that runs is held still. */
static int fill_now(void *ctx, struct kp_err *err)
{
	return kp_carry(ctx, err);
}

static int open_gone(int at, struct kp_err *err)
{
	int fd = mkdirat(at, GONE, 0700) < 0 ? -1 : openat(at, GONE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? kp_fail_errno(err, errno, "snapshot: " GONE "/ cannot be made") : fd;
}

static int fill(const struct kp_instance *i, int all_fd, const char *temp, const struct kp_snapshot_make *make, const struct kp_snapshot *s,
		const struct kp_snapshot *before, struct kp_err *err)
{
	struct kp_carry how = {.from_fd = -1, .to_fd = -1, .before_fd = -1, .gone_fd = -1, .kind = KP_TREE_FREEZE, .running = make->hold,
			       .mapped = make->mapped, .tally = make->tally, .prepared = make->prepared};
	kp_autoclose int at = -1;
	bool young = false;
	int r;

	how.young = &young;
	r = start_carry(i, all_fd, temp, make->prepared ? kp_prepared_name(make->prepared) : NULL, &how, &at, err);
	if (!r && make->prepared) {
		kp_prepared_taken(make->prepared);
		how.gone_fd = open_gone(at, err);
		r = KP_MIN(how.gone_fd, 0);
	}
	if (before)
		how.before_fd = open_before(all_fd, before->name);
	if (!r)
		r = make->hold ? make->hold(make->ctx, fill_now, &how, err) : fill_now(&how, err);
	if (!r)
		r = write_about(at, s, err);
	if (make->prepared && at >= 0)
		(void)kp_remove_tree(at, GONE);
	end_carry(&how);
	if (young)
		kp_let_time_pass();
	return r;
}

int kp_snapshot_prepare(const struct kp_instance *i, const atomic_bool *cancel, struct kp_prepared **ret, struct kp_err *err)
{
	kp_autoclose int fd = open_all(i, true, err), at = -1;
	kp_autofree char *path = kp_asprintf("%s/snapshots/.prepared-XXXXXX", i->dir);
	struct kp_carry how = {.from_fd = -1, .to_fd = -1, .before_fd = -1, .gone_fd = -1, .kind = KP_TREE_PREPARE, .cancel = cancel};
	struct kp_snapshots kp_autosnapshots all = {0};
	const char *name;
	int r;

	if (fd < 0)
		return fd;
	if (!mkdtemp(path) || rmdir(path) < 0) /* a name that nobody has */
		return kp_fail_errno(err, errno, "%s: cannot be made", path);
	name = strrchr(path, '/') + 1;
	r = kp_snapshot_list(i, false, &all, err);
	if (!r)
		r = start_carry(i, fd, name, NULL, &how, &at, err);
	if (!r && all.count)
		how.before_fd = open_before(fd, all.items[all.count - 1].name);
	how.prepared = kp_prepared_new(name);
	if (!r)
		r = kp_carry(&how, err);
	if (!r && cancel && atomic_load(cancel)) /* to remove it takes long: not left to who asked */
		r = kp_fail(err, ECANCELED, "%s: the copy was given up", i->name);
	end_carry(&how);
	if (r < 0)
		kp_snapshot_unprepare(i, how.prepared);
	else
		*ret = how.prepared;
	return r;
}

void kp_snapshot_unprepare(const struct kp_instance *i, struct kp_prepared *p)
{
	if (p && kp_prepared_name(p))
		kp_snapshot_drop(i, kp_prepared_name(p));
	kp_prepared_free(p);
}

void kp_snapshot_drop(const struct kp_instance *i, const char *name)
{
	kp_autoclose int fd = open_all(i, false, NULL);

	if (fd >= 0)
		(void)kp_remove_tree(fd, name);
}

static int check_make(const struct kp_snapshot_make *make, struct kp_err *err)
{
	bool hidden = make->kind == KP_SNAPSHOT_HIDDEN;

	if (hidden ? !make->name || strncmp(make->name, KP_SNAPSHOT_CLONE, sizeof(KP_SNAPSHOT_CLONE) - 1) != 0 || strchr(make->name, '/')
		   : make->name && !kp_instance_name_ok(make->name))
		return kp_fail(err, EINVAL, "%s: not a snapshot's name: letters, digits and . _ - are", make->name ? make->name : "");
	if (make->note && strlen(make->note) > ABOUT_MAX / 2)
		return kp_fail(err, E2BIG, "--note: longer than %d bytes", ABOUT_MAX / 2);
	return 0;
}

int kp_snapshot_create(const struct kp_instance *i, const struct kp_snapshot_make *make, char **ret_name, struct kp_err *err)
{
	kp_autoclose int fd = check_make(make, err) < 0 ? -err->code : open_to_change(i, true, err);
	kp_autofree char *own = NULL, *temp = NULL, *parent = NULL;
	struct kp_snapshots kp_autosnapshots all = {0};
	struct kp_snapshot s = {.kind = make->kind, .note = (char *)(uintptr_t)(make->note ? make->note : "")};
	int r;

	if (fd < 0)
		return fd;
	(void)clock_gettime(CLOCK_REALTIME, &s.created);
	own = make->name ? kp_strdup(make->name) : name_from_time(fd, make->kind, s.created.tv_sec);
	s.name = own;
	s.parent = parent = state_from(i);
	temp = kp_asprintf(".new-%s", own);
	r = kp_snapshot_list(i, false, &all, err);
	if (!r && kp_snapshots_find(&all, own)) {
		(void)kp_fail(err, EEXIST, "%s: %s has a snapshot of that name", own, i->name);
		return kp_hint(err, "kapsel snapshot rm %s %s", i->name, own);
	}
	if (!r)
		r = fill(i, fd, temp, make, &s, all.count ? &all.items[all.count - 1] : NULL, err);
	/* On disk before it counts: what comes after may take away the only other copy. A clone has its source yet. */
	if (!r && make->kind != KP_SNAPSHOT_HIDDEN && syncfs(fd) < 0)
		r = kp_fail_errno(err, errno, "%s/snapshots/%s: cannot be written", i->dir, own);
	if (!r && renameat(fd, temp, fd, own) < 0)
		r = kp_fail_errno(err, errno, "%s/snapshots/%s: cannot be made", i->dir, own);
	if (r < 0) {
		(void)kp_remove_tree(fd, temp);
		return r;
	}
	if (make->kind != KP_SNAPSHOT_HIDDEN)
		note_state(i, own);
	if (ret_name)
		*ret_name = kp_take_ptr(own);
	return 0;
}

static int no_such(const struct kp_instance *i, const char *name, struct kp_err *err)
{
	(void)kp_fail(err, ENOENT, "%s: %s has no snapshot of that name", name, i->name);
	return kp_hint(err, "kapsel snapshot list %s", i->name);
}

/* What was made from one that goes was made from that one's parent. */
static int adopt(const struct kp_instance *i, int all_fd, const struct kp_snapshot *gone, struct kp_snapshots *all, struct kp_err *err)
{
	kp_autofree char *state = state_from(i);
	int r = 0;

	for (size_t k = 0; k < all->count && !r; k++) {
		struct kp_snapshot child = all->items[k];
		kp_autoclose int at = strcmp(child.parent, gone->name) != 0
					      ? -1 : openat(all_fd, child.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		child.parent = gone->parent;
		if (at >= 0)
			r = write_about(at, &child, err);
	}
	if (!r && !strcmp(state, gone->name))
		note_state(i, gone->parent);
	return r;
}

int kp_snapshot_remove(const struct kp_instance *i, const char *name, struct kp_err *err)
{
	kp_autoclose int fd = open_to_change(i, false, err);
	kp_autofree char *gone = kp_asprintf(".gone-%s", name);
	struct kp_snapshots kp_autosnapshots all = {0};
	const struct kp_snapshot *s;
	int r;

	if (fd == -ENOENT || !kp_instance_name_ok(name))
		return no_such(i, name, err);
	if (fd < 0)
		return fd;
	r = kp_snapshot_list(i, false, &all, err);
	if (r < 0)
		return r;
	s = kp_snapshots_find(&all, name);
	r = s ? adopt(i, fd, s, &all, err) : 0;
	if (r < 0)
		return r;
	if (renameat(fd, name, fd, gone) < 0)
		return errno == ENOENT ? no_such(i, name, err) : kp_fail_errno(err, errno, "%s: cannot be removed", name);
	r = kp_remove_tree(fd, gone);
	return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be removed", name) : 0;
}

void kp_snapshot_prune(const struct kp_instance *i)
{
	struct kp_snapshots kp_autosnapshots all = {0};
	size_t kept = 0;

	if (kp_snapshot_list(i, false, &all, NULL) < 0)
		return;
	for (size_t k = all.count; k-- > 0;)
		if (all.items[k].kind != KP_SNAPSHOT_ASKED && ++kept > KP_SNAPSHOT_AUTO_MAX)
			(void)kp_snapshot_remove(i, all.items[k].name, NULL);
}

int kp_snapshot_open(const struct kp_instance *i, const char *name, struct kp_err *err)
{
	kp_autoclose int fd = open_all(i, false, err);
	kp_autofree char *files = kp_asprintf("%s/files", name);
	int at;

	if (fd == -ENOENT || (!kp_instance_name_ok(name) && (strncmp(name, KP_SNAPSHOT_CLONE, sizeof(KP_SNAPSHOT_CLONE) - 1) != 0 || strchr(name, '/'))))
		return no_such(i, name, err);
	if (fd < 0)
		return fd;
	at = kp_open_beneath(fd, files, O_RDONLY | O_DIRECTORY, 0);
	if (at < 0)
		return errno == ENOENT ? no_such(i, name, err) : kp_fail_errno(err, errno, "%s: cannot be opened", name);
	return at;
}

int kp_snapshot_mark_undone(const struct kp_instance *i, const struct kp_snapshot *s, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("%s/snapshots/%s", i->dir, s->name);
	kp_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct kp_snapshot now = *s;

	now.kind = KP_SNAPSHOT_UNDONE;
	return fd < 0 ? kp_fail_errno(err, errno, "%s: cannot be opened", path) : write_about(fd, &now, err);
}

/* Names of what the new state has, each with its NUL: what else the instance has then goes. */
static int write_items(int at, int files, struct kp_err *err)
{
	struct kp_buf kp_autobuf b = {0};
	struct dirent **names = NULL;
	int count = scandirat(files, ".", &names, NULL, NULL), r;

	for (int k = 0; k < count; k++) {
		if (names[k]->d_name[0] != '.')
			kp_buf_add(&b, names[k]->d_name, strlen(names[k]->d_name) + 1);
		free(names[k]);
	}
	free(names);
	r = count < 0 ? -EIO : kp_write_file_atomic(at, "items", b.data ? b.data : "", b.len, 0600);
	return r < 0 ? kp_fail_errno(err, -r, "restore: cannot be prepared") : 0;
}

int kp_snapshot_restore(const struct kp_instance *i, const char *name, int (*edit)(const char *host_files, void *ctx, struct kp_err *err), void *ctx,
			struct kp_err *err)
{
	kp_autofree char *host_files = kp_asprintf("%s/" KP_SETTLE_NEW "/files", i->dir);
	kp_autoclose int from = kp_snapshot_open(i, name, err);
	kp_autoclose int dir = open(i->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), at = -1, files = -1;
	int r;

	if (from < 0)
		return from;
	(void)kp_remove_tree(dir, KP_SETTLE_NEW);
	if (mkdirat(dir, KP_SETTLE_NEW, 0700) < 0 || mkdirat(dir, KP_SETTLE_NEW "/files", 0700) < 0)
		return kp_fail_errno(err, errno, "%s/" KP_SETTLE_NEW ": cannot be made", i->dir);
	at = openat(dir, KP_SETTLE_NEW, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files = openat(dir, KP_SETTLE_NEW "/files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || files < 0)
		return kp_fail_errno(err, errno, "%s/" KP_SETTLE_NEW ": cannot be opened", i->dir);
	r = kp_carry(&(struct kp_carry){.from_fd = from, .to_fd = files, .before_fd = -1, .kind = KP_TREE_RESTORE}, err);
	if (!r && edit)
		r = edit(host_files, ctx, err);
	if (!r)
		r = write_items(at, files, err);
	/* On disk before it counts. */
	if (!r && syncfs(dir) < 0)
		r = kp_fail_errno(err, errno, "%s: cannot be written", i->dir);
	if (!r && renameat(dir, KP_SETTLE_NEW, dir, KP_SETTLE_RESTORING) < 0)
		r = kp_fail_errno(err, errno, "%s: cannot be restored", i->name);
	if (r < 0) {
		(void)kp_remove_tree(dir, KP_SETTLE_NEW);
		return r;
	}
	r = kp_settle(i->dir);
	note_state(i, name);
	kp_let_time_pass();
	return r < 0 ? kp_fail_errno(err, -r, "%s: the restored state cannot be put in place", i->name) : 0;
}

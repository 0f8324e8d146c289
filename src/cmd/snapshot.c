/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel clone, snapshot and undo: copies of an instance, and going back to one. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/again.h"
#include "cmd/view.h"
#include "instance/config.h"
#include "snapshot/compare.h"
#include "snapshot/snapshot.h"

static void free_instance(struct kp_instance **i)
{
	*i = kp_instance_free(*i);
}
#define auto_instance __attribute__((cleanup(free_instance))) struct kp_instance

static int open_locked(const char *name, bool lock, struct kp_instance **ret, struct kp_err *err)
{
	int r = kp_instance_open(name, ret, err);

	if (r == -ENOENT && !err->code)
		return kp_fail(err, ENOENT, "%s: not set up yet", name);
	return r || !lock ? r : kp_lock_stopped(*ret, err);
}

#define STOP_SECONDS 10
#define LOCK_TRIES 300 /* of 10 ms: somebody holds the lock who does not answer: it starts, ends, or is being worked on */

/* Of an instance that runs, or of one that does not. It is unlocked before and after. */
static int create(struct kp_instance *i, const struct kp_snapshot_make *make, char **ret_name, uint64_t *ret_us, struct kp_err *err)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int r = 0;

	for (int tries = 0; tries < LOCK_TRIES; tries++) {
		r = kp_instance_lock(i);
		if (!r) {
			*ret_us = 0;
			r = kp_snapshot_create(i, make, ret_name, err);
			i->lock_fd = kp_close(i->lock_fd);
			return r;
		}
		if (r != -EWOULDBLOCK)
			break;
		r = kp_front_snapshot(i, make, ret_name, ret_us, err);
		if (r != -ENOTCONN)
			return r;
		(void)nanosleep(&pause, NULL);
	}
	return kp_lock_stopped(i, err);
}

static int clone_all(struct kp_instance *i, const char *snapshot, const char *name, bool numbered, long n, struct kp_err *err)
{
	int r = 0;

	kp_instance_sweep();
	for (long k = 1; k <= n && !r; k++) {
		kp_autofree char *one = numbered ? kp_asprintf("%s-%ld", name, k) : kp_strdup(name);

		r = kp_clone_create(i, snapshot, one, err);
	}
	return r;
}

/* By way of a snapshot that nobody sees. */
static int clone_running(struct kp_instance *i, const char *name, bool numbered, long n, struct kp_err *err)
{
	kp_autofree char *hidden = kp_asprintf(KP_SNAPSHOT_CLONE "%d", (int)getpid());
	struct kp_snapshot_make make = {.name = hidden, .kind = KP_SNAPSHOT_HIDDEN};
	uint64_t us;
	int r = create(i, &make, NULL, &us, err);

	if (r < 0)
		return r;
	r = clone_all(i, hidden, name, numbered, n, err);
	kp_snapshot_drop(i, hidden);
	return r;
}

int kp_cmd_clone(const struct kp_args *args, struct kp_err *err)
{
	const char *count = kp_args_get(args, "count"), *name = args->operands[1];
	auto_instance *i = NULL;
	long n = 1;
	int r = count ? kp_args_number("count", count, 1, 10000, &n, err) : 0;

	if (!r)
		r = open_locked(args->operands[0], false, &i, err);
	if (r < 0)
		return r;
	r = kp_instance_lock(i);
	if (r == -EWOULDBLOCK)
		return clone_running(i, name, count, n, err);
	return r < 0 ? kp_lock_stopped(i, err) : clone_all(i, NULL, name, count, n, err);
}

static void time_text(const struct timespec *t, char *out, size_t size)
{
	struct tm tm;

	(void)strftime(out, size, "%Y-%m-%d %H:%M:%S", localtime_r(&t->tv_sec, &tm));
}

static const char *kind_word(enum kp_snapshot_kind kind)
{
	return kind == KP_SNAPSHOT_ASKED ? "kept" : kind == KP_SNAPSHOT_AUTO ? "automatic" : kind == KP_SNAPSHOT_UNDO ? "before undo"
	       : "undone";
}

static void print_json(const struct kp_snapshot *s, bool first)
{
	struct kp_buf kp_autobuf b = {0};

	kp_buf_puts(&b, first ? "[\n {\"name\":" : ",\n {\"name\":");
	kp_buf_quoted(&b, s->name);
	kp_buf_puts(&b, ",\"parent\":");
	kp_buf_quoted(&b, s->parent);
	kp_buf_printf(&b, ",\"created\":%lld.%03ld,\"kind\":\"%s\",\"disk\":%" PRIu64 ",\"own\":%" PRIu64 ",\"note\":",
		      (long long)s->created.tv_sec, s->created.tv_nsec / 1000000, kind_word(s->kind), s->bytes, s->own);
	kp_buf_quoted(&b, s->note);
	printf("%s}", b.data);
}

static void print_text(const struct kp_snapshot *s, size_t depth)
{
	kp_autofree char *note = kp_shown(s->note), *name = kp_asprintf("%*s%s", 2 * (int)depth, "", s->name);
	char bytes[16], own[16], when[32];

	time_text(&s->created, when, sizeof(when));
	kp_size_text(s->bytes, bytes, sizeof(bytes));
	kp_size_text(s->own, own, sizeof(own));
	printf("%-28s %-19s %8s %8s %-11s %s\n", name, when, bytes, own, kind_word(s->kind), note);
}

/* Each below what it was made from, which is older: where the clock went back it stands by itself. */
static void print_below(const struct kp_snapshots *all, const char *parent, size_t depth)
{
	for (size_t k = 0; k < all->count; k++) {
		const struct kp_snapshot *s = &all->items[k], *up = kp_snapshots_find(all, s->parent);

		if (up && up < s ? !strcmp(up->name, parent) : !*parent) {
			print_text(s, KP_MIN(depth, (size_t)8));
			print_below(all, s->name, depth + 1);
		}
	}
}

static int list(const struct kp_instance *i, bool json, struct kp_err *err)
{
	struct kp_snapshots kp_autosnapshots all = {0};
	int r = kp_snapshot_list(i, true, &all, err);

	if (r < 0)
		return r;
	for (size_t k = 0; k < all.count && json; k++)
		print_json(&all.items[k], !k);
	if (json) {
		puts(all.count ? "\n]" : "[]");
	} else if (all.count) {
		printf("%-28s %-19s %8s %8s %-11s %s\n", "NAME", "CREATED", "SIZE", "OWN", "KIND", "NOTE");
		print_below(&all, "", 0);
	}
	return 0;
}

static void print_change(const struct kp_state_change *c, void *ctx)
{
	const char *at = kp_path_below(c->path, "upper");
	kp_autofree char *path = kp_path_quoted(at && *at ? at : c->path);
	const struct stat *st = c->now ? c->now : c->old;
	bool gone = c->now && S_ISCHR(c->now->st_mode);
	char kind = !c->now || gone ? 'D' : !c->old || S_ISCHR(c->old->st_mode) ? 'A' : 'M', size[16] = "-";
	bool *json = ctx;

	if (S_ISREG(st->st_mode))
		kp_size_text((uint64_t)st->st_size, size, sizeof(size));
	if (!json) {
		printf("%c %8s %s%s\n", kind, size, path, !c->now && S_ISCHR(c->old->st_mode) ? " (deletion)" : "");
		return;
	}
	{
		struct kp_buf kp_autobuf b = {0};

		kp_buf_printf(&b, "%s\n {\"change\":\"%c\",\"path\":", *json ? "[" : ",", kind);
		kp_buf_quoted(&b, at && *at ? at : c->path);
		kp_buf_printf(&b, ",\"size\":%" PRIu64, S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0);
		printf("%s}", b.data);
		*json = false;
	}
}

/* A with B, or with the instance as it is. */
static int diff(const struct kp_instance *i, const char *a, const char *b, bool json, struct kp_err *err)
{
	kp_autoclose int old = kp_snapshot_open(i, a, err), now = -1;
	bool first = true;
	int r;

	if (old < 0)
		return old;
	now = b ? kp_snapshot_open(i, b, err) : open(i->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (now < 0)
		return b ? now : kp_fail_errno(err, errno, "%s: cannot be opened", i->dir);
	r = kp_states_compare(old, now, print_change, json ? &first : NULL, err);
	if (json && !r)
		puts(first ? "[]" : "\n]");
	return r;
}

static int restore_stopped(const struct kp_instance *i, const char *name, struct kp_err *err)
{
	kp_autofree char *note = kp_asprintf("before restore of %s", name);
	int r = kp_snapshot_create(i, &(struct kp_snapshot_make){.note = note, .kind = KP_SNAPSHOT_AUTO}, NULL, err);

	if (!r)
		r = kp_snapshot_restore(i, name, NULL, NULL, err);
	kp_snapshot_prune(i);
	return r;
}

/* Stops what runs. again: told how it was started, if it ran. */
static int lock_or_stop(struct kp_instance *i, bool restart, struct kp_again *again, bool *ret_stopped, struct kp_err *err)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int r = -EWOULDBLOCK;

	for (int tries = 0; tries < LOCK_TRIES && r == -EWOULDBLOCK; tries++) {
		struct kp_err why = {0};

		r = kp_instance_lock(i);
		if (r != -EWOULDBLOCK)
			break;
		if (restart && !again->argv && kp_again_take(i, again, &why) < 0 && why.code != ENOTCONN)
			return kp_fail(err, why.code, "%s", why.text);
		if (!kp_stop_running(i, STOP_SECONDS, &why))
			*ret_stopped = true;
		else if (why.code != ESRCH)
			return kp_fail(err, why.code, "%s", why.text);
		(void)nanosleep(&pause, NULL);
	}
	return r < 0 ? kp_lock_stopped(i, err) : 0;
}

static int restore(struct kp_instance *i, const char *name, bool restart, struct kp_err *err)
{
	int at = kp_snapshot_open(i, name, err), r;
	struct kp_again again = {0};
	bool stopped = false;

	if (at < 0)
		return at;
	(void)kp_close(at);
	r = lock_or_stop(i, restart, &again, &stopped, err);
	if (!r)
		r = restore_stopped(i, name, err);
	i->lock_fd = kp_close(i->lock_fd);
	if (stopped && !again.argv)
		(void)fprintf(stderr, "kapsel: %s: it ran and was stopped; --restart starts it again\n", i->name);
	if (!r && again.argv)
		r = kp_again_exec(&again, err);
	kp_again_free(&again);
	return r;
}

static const struct {
	const char *name;
	size_t min, max; /* words after the instance */
} actions[] = {{"create", 0, 1}, {"list", 0, 0}, {"restore", 1, 1}, {"rm", 1, 1}, {"diff", 1, 2}};

/* How long the programs stood still, and for what. */
static void print_made(const struct kp_instance *i, const char *name, uint64_t us, const struct kp_tally *t, bool json)
{
	struct kp_buf kp_autobuf b = {0};
	char size[16];

	if (json) {
		kp_buf_puts(&b, "{\"name\":");
		kp_buf_quoted(&b, name);
		printf("%s,\"held_ms\":%" PRIu64 ".%03" PRIu64 ",\"copied_files\":%" PRIu64 ",\"copied_bytes\":%" PRIu64 ",\"copying_ms\":%" PRIu64 ".%03" PRIu64 "}\n",
		       b.data, us / 1000, us % 1000, t->files, t->bytes, t->us / 1000, t->us % 1000);
		return;
	}
	puts(name);
	kp_size_text(t->bytes, size, sizeof(size));
	if (us)
		(void)fprintf(stderr, "kapsel: %s: held still for %" PRIu64 ".%01" PRIu64 " ms; copied meanwhile: %" PRIu64 " file%s, %s, in %" PRIu64 ".%01" PRIu64 " ms\n",
			      i->name, us / 1000, us % 1000 / 100, t->files, t->files == 1 ? "" : "s", size, t->us / 1000, t->us % 1000 / 100);
}

static int create_asked(struct kp_instance *i, const char *name, const char *note, bool json, struct kp_err *err)
{
	struct kp_tally tally = {0};
	struct kp_snapshot_make make = {.name = name, .note = note, .kind = KP_SNAPSHOT_ASKED, .tally = &tally};
	kp_autofree char *made = NULL;
	uint64_t us = 0;
	int r = create(i, &make, &made, &us, err);

	if (r < 0)
		return r;
	print_made(i, made, us, &tally, json);
	return 0;
}

int kp_cmd_snapshot(const struct kp_args *args, struct kp_err *err)
{
	const char *const *words = args->operands + 2;
	const char *action = args->operands[0];
	bool json = kp_args_has(args, "json");
	auto_instance *i = NULL;
	size_t n = args->operand_count - 2, k = 0;
	int r;

	while (k < KP_ARRAY_LEN(actions) && strcmp(actions[k].name, action) != 0)
		k++;
	if (k == KP_ARRAY_LEN(actions))
		return kp_fail(err, EINVAL, "snapshot: '%s': not create, list, restore, rm or diff", action);
	if (n < actions[k].min || n > actions[k].max) {
		(void)kp_fail(err, EINVAL, "snapshot %s: %s", action, n < actions[k].min ? "no snapshot named" : "too many names");
		return kp_hint(err, "kapsel snapshot list %s", args->operands[1]);
	}
	if (kp_args_has(args, "note") && strcmp(action, "create") != 0)
		return kp_fail(err, EINVAL, "snapshot %s: --note: for create only", action);
	if (kp_args_has(args, "restart") && strcmp(action, "restore") != 0)
		return kp_fail(err, EINVAL, "snapshot %s: --restart: for restore only", action);
	r = open_locked(args->operands[1], false, &i, err);
	if (r < 0)
		return r;
	if (!strcmp(action, "list"))
		r = list(i, json, err);
	else if (!strcmp(action, "create"))
		r = create_asked(i, n ? words[0] : NULL, kp_args_get(args, "note"), json, err);
	else if (!strcmp(action, "restore"))
		r = restore(i, words[0], kp_args_has(args, "restart"), err);
	else if (!strcmp(action, "rm"))
		r = kp_snapshot_remove(i, words[0], err);
	else
		r = diff(i, words[0], n > 1 ? words[1] : NULL, json, err);
	return r < 0 ? r : kp_flush(err);
}

/* "90s", "10m", "2h", "3d", "@SECONDS", "2026-01-31", "2026-01-31 18:30[:15]". */
static int parse_time(const char *text, time_t *ret, struct kp_err *err)
{
	static const char *const forms[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
	static const struct {
		char unit;
		long seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;
	long n = strtol(text + (text[0] == '@'), &end, 10);

	if (text[0] == '@' && end > text + 1 && !*end) {
		*ret = n;
		return 0;
	}
	for (size_t i = 0; i < KP_ARRAY_LEN(units); i++)
		if (end > text && n >= 0 && n < 100000000 && end[0] == units[i].unit && !end[1]) {
			*ret = time(NULL) - n * units[i].seconds;
			return 0;
		}
	for (size_t i = 0; i < KP_ARRAY_LEN(forms); i++) {
		struct tm tm = {.tm_isdst = -1};

		end = strptime(text, forms[i], &tm);
		if (end && !*end) {
			*ret = mktime(&tm);
			return 0;
		}
	}
	(void)kp_fail(err, EINVAL, "--since: '%s': not a time", text);
	return kp_hint(err, "as 10m, 2h, 3d, '2026-01-31 18:30' or @SECONDS");
}

int kp_cmd_undo(const struct kp_args *args, struct kp_err *err)
{
	const char *since = kp_args_get(args, "since");
	struct kp_snapshots kp_autosnapshots all = {0};
	const struct kp_snapshot *to = NULL;
	auto_instance *i = NULL;
	time_t from = 0;
	int r = since ? parse_time(since, &from, err) : 0;

	if (!r)
		r = open_locked(args->operands[0], true, &i, err);
	if (!r)
		r = kp_snapshot_list(i, false, &all, err);
	if (r < 0)
		return r;
	/* The state before the last step; with a time, before the first since then. */
	for (size_t k = all.count; k-- > 0 && (!to || since);)
		if (all.items[k].kind == KP_SNAPSHOT_AUTO && (!since || all.items[k].created.tv_sec >= from))
			to = &all.items[k];
	if (!to) {
		(void)kp_fail(err, ENOENT, "%s: nothing to undo%s", i->name, since ? " since then" : "");
		return kp_hint(err, "kapsel snapshot list %s; snapshot restore goes to any of them", i->name);
	}
	{
		kp_autofree char *note = kp_asprintf("before undo to %s", to->name);

		r = kp_snapshot_create(i, &(struct kp_snapshot_make){.note = note, .kind = KP_SNAPSHOT_UNDO}, NULL, err);
	}
	if (!r)
		r = kp_snapshot_restore(i, to->name, NULL, NULL, err);
	for (size_t k = 0; k < all.count && !r; k++)
		if (all.items[k].kind == KP_SNAPSHOT_AUTO && &all.items[k] >= to)
			r = kp_snapshot_mark_undone(i, &all.items[k], err);
	kp_snapshot_prune(i);
	if (r < 0)
		return r;
	/* `to` is the oldest of those that are undone. */
	for (const struct kp_snapshot *s = to; s < all.items + all.count; s++)
		if (s->kind == KP_SNAPSHOT_AUTO && !strcmp(s->note, KP_NOTE_COMMIT)) {
			(void)fprintf(stderr, "kapsel: %s: what commit wrote to the host stays there\n", i->name);
			break;
		}
	{
		kp_autofree char *note = kp_shown(to->note);

		printf("%s: as it was %s (%s)\n", i->name, *note ? note : "then", to->name);
	}
	return kp_flush(err);
}

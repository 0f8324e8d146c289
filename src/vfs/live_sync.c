/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One projected file: its text into the registry, the registry into its text. The order on disk is registry, file, record of what was
 * rendered: wherever it is cut, the next time finds the same changes again, which by then are none.
 */
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "vfs/change.h"
#include "vfs/live_internal.h"
#include "vfs/resolve.h"
#include "vfs/tell.h"
#include "vfs/upper.h"

#define BACK_NS 20000000 /* a text that we made is dated so long ago: who writes it within the same tick of the clock gives it another time */

struct job {
	struct kp_vfs *v;
	struct kp_live *l;
	struct kp_live_state *f;
	struct kp_node n;
	struct kp_live_mark now;
	char *text; /* of the file */
	size_t len;
	bool has_record;
	char *record;
	const char *base_text;
	size_t base_len;
	struct kp_settings base, theirs;
};

/* --- the registry's side --- */

static char *key_below(const struct kp_live_state *f, const char *path)
{
	return kp_asprintf("%s%s%s", f->key, *path ? "\\" : "", path);
}

struct gather {
	struct kp_settings *list;
	const char *path;
	struct kp_strings names;
};

static int gather_value(const struct kp_reg_value *value, void *ctx)
{
	struct gather *g = ctx;
	const struct kp_setting s = {g->path, value->name, value->d};

	kp_settings_add(g->list, &s);
	return 0;
}

static int gather_name(const char *name, void *ctx)
{
	struct gather *g = ctx;

	kp_strings_add(&g->names, name);
	return 0;
}

/* Key by key from a list: keys may be nested deeply, a worker's stack is small. */
static int collect(const struct job *j, struct kp_settings *list)
{
	struct kp_strings paths = {0};
	int rc = 0;

	kp_strings_add(&paths, "");
	for (size_t i = 0; i < paths.count && !rc; i++) {
		struct gather g = {.list = list, .path = paths.items[i]};
		kp_autofree char *key = key_below(j->f, paths.items[i]);

		rc = kp_reg_each_value(j->l->reg, key, gather_value, &g);
		if (!rc)
			rc = kp_reg_each_subkey(j->l->reg, key, gather_name, &g);
		if (rc == -ENOENT)
			rc = 0;
		for (size_t k = 0; k < g.names.count; k++) {
			kp_autofree char *below = kp_asprintf("%s%s%s", paths.items[i], *paths.items[i] ? "\\" : "", g.names.items[k]);
			const struct kp_setting s = {.path = below};

			kp_strings_add(&paths, below);
			if (kp_format_tells_keys(j->f->format))
				kp_settings_add(list, &s);
		}
		kp_strings_free(&g.names);
	}
	kp_strings_free(&paths);
	return rc;
}

/* One state of the registry, and its generation. */
static int collect_whole(struct job *j, uint64_t *ret_generation)
{
	int rc = 0;

	for (int tries = 0; tries < 5; tries++) {
		kp_settings_free(&j->theirs);
		*ret_generation = kp_reg_generation(j->l->reg);
		rc = collect(j, &j->theirs);
		if (rc || kp_reg_generation(j->l->reg) == *ret_generation)
			break;
	}
	return rc;
}

static int put_change(struct kp_reg_txn *t, const char *key, const struct kp_take *c)
{
	int rc;

	if (c->kind == KP_TAKE_SET)
		return c->e.name ? kp_reg_set(t, key, c->e.name, &c->e.d) : kp_reg_create_key(t, key);
	rc = c->e.name ? kp_reg_delete_value(t, key, c->e.name) : kp_reg_delete_key(t, key, false);
	/* Gone by itself; or a key that has got something else by now. */
	return rc == -ENODATA || rc == -ENOENT || (!c->e.name && rc == -ENOTEMPTY) ? 0 : rc;
}

static void tell_conflict(struct job *j, const char *key, const struct kp_take *c)
{
	kp_autofree char *mine = c->kind == KP_TAKE_SET ? kp_projection_words(&c->e.d) : kp_strdup("the deletion");
	kp_autofree char *theirs = c->theirs_gone ? kp_strdup("a deletion") : kp_projection_words(&c->theirs);

	if (c->e.name)
		kp_vfs_tell(j->v, "%s: %s: %s: changed on both sides: %s of the file replaces %s of the registry", j->f->guest, key,
			     *c->e.name ? c->e.name : "@", mine, theirs);
}

static void tell_refused(struct job *j, const char *key, const struct kp_take *c, int rc)
{
	kp_vfs_tell(j->v, "%s: %s%s%s: not taken into the registry: %s", j->f->guest, key, c->e.name ? ": " : "",
		     !c->e.name ? "" : *c->e.name ? c->e.name : "@", rc == -EACCES ? "policy sets it" : strerror(-rc));
}

static bool put_one(struct job *j, struct kp_reg_txn *t, const struct kp_take *c)
{
	kp_autofree char *key = key_below(j->f, c->e.path);
	int rc = put_change(t, key, c);

	if (rc)
		tell_refused(j, key, c, rc);
	else if (c->conflict)
		tell_conflict(j, key, c);
	return !rc;
}

/* Deletions first, what lies deepest first. */
static int put_changes(struct job *j, const struct kp_takes *takes)
{
	struct kp_reg_txn *t;
	bool any = false;
	int rc = kp_reg_begin(j->l->reg, &t);

	if (rc)
		return rc;
	for (size_t i = takes->count; i-- > 0;)
		if (takes->items[i].kind == KP_TAKE_DELETE)
			any |= put_one(j, t, &takes->items[i]);
	for (size_t i = 0; i < takes->count; i++)
		if (takes->items[i].kind == KP_TAKE_SET)
			any |= put_one(j, t, &takes->items[i]);
	if (any)
		return kp_reg_commit(t);
	kp_reg_abort(t);
	return 0;
}

/* --- the file's side --- */

static void read_record(struct job *j)
{
	size_t size;

	if (kp_read_file(j->l->record_fd, j->f->record, 4UL * KP_PROJECTION_MAX, &j->record, &size))
		return;
	j->has_record = !kp_projection_unpack(j->record, size, &j->base_text, &j->base_len, &j->base);
	if (!j->has_record)
		kp_settings_free(&j->base);
}

/* Without waiting for the disk: after a loss of power an old one is as good, and a damaged one is none. */
static void write_record(struct job *j, const struct kp_buf *text)
{
	kp_autobuf struct kp_buf packed = {0};
	kp_autoclose int fd = openat(j->l->record_fd, "new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	kp_projection_pack(text->data ? text->data : "", text->len, &j->theirs, &packed);
	if (fd < 0 || kp_write_full(fd, packed.data, packed.len) || renameat(j->l->record_fd, "new", j->l->record_fd, j->f->record) < 0)
		KP_DEBUG(VFS, "%s: what was rendered is not kept", j->f->guest);
}

static int read_text(struct job *j)
{
	kp_autoclose int fd = -1;
	struct stat st;
	int rc;

	if (j->n.origin == KP_ABSENT) {
		j->text = kp_strdup("");
		return 0;
	}
	rc = kp_node_open(j->v, &j->n, O_RDONLY, &fd);
	if (rc)
		return rc;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > KP_PROJECTION_MAX)
		return -EFBIG;
	j->len = (size_t)st.st_size;
	j->text = kp_calloc(1, j->len + 1);
	return kp_pread_full(fd, j->text, j->len, 0);
}

static bool is_being_written(const struct job *j)
{
	kp_autoclose int fd = openat(j->v->upper_fd, j->f->guest + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && kp_has_writer(fd);
}

/* The directory that the file is to lie in. */
static int make_parents(struct job *j, const struct kp_cred *cred)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	struct kp_gpath part;
	int rc = 0;

	for (const char *slash = strchr(j->f->guest + 1, '/'); slash && !rc; slash = strchr(slash + 1, '/')) {
		(void)snprintf(part.s, sizeof(part.s), "%.*s", (int)(slash - j->f->guest), j->f->guest);
		rc = kp_resolve_exact(j->v, part.s, 0, n);
		if (!rc && n->origin == KP_ABSENT && kp_node_on_host(n))
			rc = -EROFS; /* nothing is made for it among the host's files */
		if (!rc && n->origin == KP_ABSENT)
			rc = kp_make_dir(j->v, n, cred, 0755);
	}
	free(n);
	return rc;
}

/* The file is in the upper. */
static int bring_up(struct job *j)
{
	const struct kp_cred cred = {.uid = geteuid(), .gid = getegid(), .privileged = true};
	kp_autoclose int fd = -1;
	int rc;

	if (j->n.origin != KP_ABSENT)
		return kp_copy_up(j->v, &j->n, KP_COPY_DATA);
	rc = make_parents(j, &cred);
	if (!rc)
		rc = kp_resolve_exact(j->v, j->f->guest, 0, &j->n);
	return rc ? rc : kp_create_file(j->v, &j->n, &cred, O_WRONLY, 0644, &fd);
}

static int copy_own(int from, int to)
{
	struct kp_record rec;
	struct stat st;
	ssize_t len = fgetxattr(from, KP_RECORD_XATTR, &rec, sizeof(rec));

	if (len > 0 && fsetxattr(to, KP_RECORD_XATTR, &rec, (size_t)len, 0) < 0)
		return -errno;
	if (fstat(from, &st) < 0)
		return -errno;
	if ((st.st_uid != geteuid() || st.st_gid != getegid()) && fchown(to, st.st_uid, st.st_gid) < 0)
		return -errno;
	return fchmod(to, st.st_mode & 07777) < 0 ? -errno : 0;
}

/* Another file takes its place: who has it open reads on what he had, and it is whole at any time. */
static int write_text(struct job *j, const struct kp_buf *text)
{
	struct kp_temp t = kp_temp_name(j->v);
	kp_autoclose int old = -1, fd = -1;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	int rc = bring_up(j);

	if (!rc) {
		old = openat(j->v->upper_fd, j->f->guest + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		fd = openat(j->v->work_fd, t.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		rc = old < 0 || fd < 0 ? -errno : kp_write_full(fd, text->data, text->len);
	}
	if (!rc)
		rc = copy_own(old, fd);
	(void)clock_gettime(CLOCK_REALTIME, &times[1]);
	times[1].tv_sec -= times[1].tv_nsec < BACK_NS;
	times[1].tv_nsec += times[1].tv_nsec < BACK_NS ? 1000000000 - BACK_NS : -BACK_NS;
	if (!rc && futimens(fd, times) < 0)
		rc = -errno;
	if (!rc)
		return kp_upper_publish_quietly(j->v, &t, &j->n);
	(void)unlinkat(j->v->work_fd, t.name, 0);
	return rc;
}

/* --- both --- */

static int parse(struct job *j, const char *text, size_t len, struct kp_doc **ret, bool tell)
{
	struct kp_err err = {0};
	int rc = kp_doc_parse(j->f->format, text, len, ret, &err);

	if (rc && tell && !kp_live_same(&j->now, &j->f->told)) {
		j->f->told = j->now;
		kp_vfs_tell(j->v, "%s: not taken into the registry: %s: %s", j->f->guest, kp_format_name(j->f->format), err.text);
	}
	return rc;
}

/* Nothing is known of what a program found: only what the registry has, too, is taken to be changed. */
static void only_known(const struct job *j, struct kp_takes *takes)
{
	size_t kept = 0;

	for (size_t i = 0; i < takes->count; i++)
		if (kp_settings_find(&j->theirs, takes->items[i].e.path, takes->items[i].e.name))
			takes->items[kept++] = takes->items[i];
	takes->count = kept;
}

/* What mine says otherwise than what a program found: ret refers to *ret_base. */
static int find_changes(struct job *j, struct kp_doc *mine, struct kp_doc **ret_base, struct kp_takes *ret)
{
	int rc = kp_doc_parse(j->f->format, j->has_record ? j->base_text : "", j->has_record ? j->base_len : 0, ret_base, NULL);

	/* Before the program wrote, nothing could be rendered: as with no record. */
	if (rc)
		j->has_record = false;
	if (rc && kp_doc_parse(j->f->format, "", 0, ret_base, NULL))
		return rc;
	kp_projection_compare(*ret_base, &j->base, mine, &j->theirs, ret);
	if (!j->has_record)
		only_known(j, ret);
	return 0;
}

static int take_back(struct job *j, struct kp_doc *mine, bool removed)
{
	struct kp_doc *base = NULL;
	kp_autotakes struct kp_takes takes = {0};
	size_t kept = 0;
	int rc = find_changes(j, mine, &base, &takes);

	if (rc)
		return rc;
	/* Who removes a file has not seen what came into the registry since. */
	for (size_t i = 0; removed && i < takes.count; i++)
		if (!takes.items[i].conflict)
			takes.items[kept++] = takes.items[i];
	if (removed)
		takes.count = kept;
	rc = takes.count ? put_changes(j, &takes) : 0;
	if (rc)
		kp_vfs_tell(j->v, "%s: not taken into the registry: %s", j->f->guest, strerror(-rc));
	kp_doc_free(base);
	return rc;
}

static bool policy_has(const struct job *j, const struct kp_setting *e)
{
	kp_autofree char *key = key_below(j->f, e->path);
	struct kp_reg_value value;
	bool policy;

	if (!e->name || kp_reg_get(j->l->reg, key, e->name, &value))
		return false;
	policy = value.layer == KP_REG_POLICY;
	kp_reg_value_free(&value);
	return policy;
}

static bool changes_policy(struct job *j)
{
	struct kp_doc *mine = NULL, *base = NULL;
	kp_autotakes struct kp_takes takes = {0};
	uint64_t generation;
	bool any = false;

	read_record(j);
	if (!read_text(j) && !collect_whole(j, &generation) && !parse(j, j->text, j->len, &mine, false) && !find_changes(j, mine, &base, &takes))
		for (size_t i = 0; i < takes.count && !any; i++)
			any = policy_has(j, &takes.items[i].e);
	kp_doc_free(base);
	kp_doc_free(mine);
	return any;
}

static void tell_untold(struct job *j, const struct kp_settings *untold)
{
	kp_autofree char *key = untold->count ? key_below(j->f, untold->items[0].path) : NULL;
	char more[48] = "";

	if (untold->count > 1)
		(void)snprintf(more, sizeof(more), ", and %zu more", untold->count - 1);
	if (untold->count && untold->count != j->f->untold)
		kp_vfs_tell(j->v, "%s: %s: %s: the file does not say what the registry does: %s cannot tell it%s", j->f->guest, key,
			     untold->items[0].name && *untold->items[0].name ? untold->items[0].name : "@", kp_format_name(j->f->format), more);
	j->f->untold = untold->count;
}

static int render(struct job *j, struct kp_doc *doc)
{
	kp_autosettings struct kp_settings untold = {0};
	kp_autobuf struct kp_buf text = {0};
	int rc = 0;

	kp_projection_render(doc, &j->base, &j->theirs, &untold);
	kp_doc_print(doc, &text);
	tell_untold(j, &untold);
	if (text.len != j->len || (text.len && memcmp(text.data, j->text, text.len) != 0))
		rc = write_text(j, &text);
	if (rc)
		kp_vfs_tell(j->v, "%s: cannot be written: %s", j->f->guest, strerror(-rc));
	else
		write_record(j, &text);
	return rc;
}

/* Where the file lies: its changes are told from now on. */
static void watch(const struct job *j)
{
	struct kp_hpath dir;
	char *slash;

	if (kp_path_join(dir.s, sizeof(dir.s), j->v->upper.s, j->f->guest + 1))
		return;
	slash = strrchr(dir.s, '/');
	*slash = '\0';
	(void)inotify_add_watch(j->l->watch_fd, dir.s, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR);
}

static void leave(struct job *j, uint64_t generation)
{
	struct stat st;
	bool there = fstatat(j->v->upper_fd, j->f->guest + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);

	j->f->seen = there ? kp_live_mark(&st) : (struct kp_live_mark){0};
	j->f->generation = generation;
	j->f->known = true;
	j->f->homeless &= !there;
	watch(j);
}

static void sync_text(struct job *j, bool removed)
{
	bool was_there = j->f->known && j->f->seen.there, gone = was_there && j->n.origin == KP_ABSENT, changed;
	struct kp_doc *doc = NULL;
	uint64_t generation = 0;
	int rc;

	read_record(j);
	changed = j->f->known ? j->now.there && !kp_live_same(&j->now, &j->f->seen)
			      : j->now.there && (!j->has_record || j->len != j->base_len || memcmp(j->text, j->base_text, j->len) != 0);
	rc = collect_whole(j, &generation);
	if (!rc && gone && !removed && generation == j->f->generation)
		return;
	if (!rc)
		rc = parse(j, j->text, j->len, &doc, j->now.there);
	if (!rc && (changed || gone)) {
		rc = take_back(j, doc, gone);
		if (!rc)
			rc = collect_whole(j, &generation);
	}
	/* An empty file is not made for nothing; what was removed stays so as long as nothing new is to be said. */
	if (!rc && (j->n.origin != KP_ABSENT || j->theirs.count))
		rc = render(j, doc);
	else if (!rc)
		(void)unlinkat(j->l->record_fd, j->f->record, 0);
	leave(j, generation);
	if (rc)
		KP_DEBUG(VFS, "%s: projection: %s", j->f->guest, strerror(-rc));
	kp_doc_free(doc);
}

static void free_job(struct job *j)
{
	kp_settings_free(&j->base);
	kp_settings_free(&j->theirs);
	free(j->record);
	free(j->text);
	free(j);
}

void kp_live_sync(struct kp_vfs *v, struct kp_live_state *f, bool removed)
{
	struct job *j = kp_calloc(1, sizeof(*j));

	*j = (struct job){.v = v, .l = v->live, .f = f};
	f->homeless = kp_resolve_exact(v, f->guest, 0, &j->n) != 0;
	if (f->homeless) {
		j->n = (struct kp_node){.origin = KP_ABSENT};
		(void)snprintf(j->n.guest.s, sizeof(j->n.guest.s), "%s", f->guest);
	}
	if (kp_node_on_host(&j->n) || (j->n.origin != KP_ABSENT && !S_ISREG(j->n.mode))) {
		f->held_back = true;
		kp_vfs_tell(v, "%s: no projection of %s: %s", f->guest, f->key,
			     kp_node_on_host(&j->n) ? "the file is the host's" : "it is no file");
	} else {
		if (j->n.origin == KP_UPPER)
			j->now = kp_live_mark(&j->n.st);
		kp_going_slow();
		if ((!j->now.there || !is_being_written(j)) && !read_text(j))
			sync_text(j, removed);
	}
	free_job(j);
}

int kp_live_accepts(struct kp_vfs *v, const char *guest, const struct kp_node *from)
{
	struct kp_live_state *f = v->live ? kp_live_find(v->live, guest) : NULL;
	struct job *j;
	bool refused;

	if (!f || f->held_back || !S_ISREG(from->mode))
		return 0;
	j = kp_calloc(1, sizeof(*j));
	*j = (struct job){.v = v, .l = v->live, .f = f, .n = *from};
	refused = changes_policy(j);
	free_job(j);
	return refused ? -EACCES : 0;
}

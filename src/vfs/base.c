/* SPDX-License-Identifier: Apache-2.0 */
/* The generated layer: what every program expects and an image need not bring. Lowest of all layers. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "registry/request.h"
#include "vfs/internal.h"

/*
 * A table, complete before there are guests and unchanged after that. What a guest opens is made a file, below run_dir/base, when it
 * first is: most runs open none, and hardly any the rest.
 */
struct file {
	char *path; /* absolute */
	mode_t mode;
	char *text; /* or where a symlink leads to; NULL for our own program, which is copied when it is wanted */
	size_t len;
	ino_t number;
	bool placed;
	UT_hash_handle hh;
};

struct kp_base {
	struct file *files;
	struct timespec made;
	pthread_mutex_t placing;
};

static struct file *find(const struct kp_vfs *v, const char *path)
{
	struct file *f;

	HASH_FIND_STR(v->base->files, path, f);
	return f;
}

/* What is there stays. text: allocated, it is taken over. */
static void put(struct kp_vfs *v, const char *path, mode_t mode, char *text, size_t len)
{
	struct file *f = find(v, path);

	if (f) {
		free(text);
		return;
	}
	f = kp_calloc(1, sizeof(*f));
	*f = (struct file){.path = kp_strdup(path), .mode = mode, .text = text, .len = len, .number = HASH_COUNT(v->base->files) + 1};
	HASH_ADD_KEYPTR(hh, v->base->files, f->path, strlen(f->path), f);
}

static void put_dir(struct kp_vfs *v, const char *path, mode_t mode)
{
	kp_autofree char *copy = kp_strdup(path);

	for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		put(v, copy, S_IFDIR | 0755, NULL, 0);
		*p = '/';
	}
	put(v, copy, S_IFDIR | mode, NULL, 0);
}

static void put_text(struct kp_vfs *v, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put_text(struct kp_vfs *v, const char *path, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(v, path, S_IFREG | 0644, kp_strdup(text), n < 0 ? 0 : KP_MIN((size_t)n, sizeof(text) - 1));
}

/* This program, for guests to run. Unlike what it was started as, it is there as long as it runs. */
static void put_self(struct kp_vfs *v, const char *path)
{
	kp_autoclose int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t len = fd < 0 ? 0 : kp_image_launcher_len(fd);

	if (!len)
		return;
	put_dir(v, "/.kapsel", 0755);
	put(v, path, S_IFREG | 0755, NULL, len);
}

/* A copy of the host's file, where it has one. */
static void put_copy(struct kp_vfs *v, const char *path, const char *host, const char *fallback)
{
	char *data = NULL;
	size_t len;

	if (!kp_read_file(AT_FDCWD, host, 1 << 20, &data, &len))
		put(v, path, S_IFREG | 0644, data, len);
	else if (fallback)
		put_text(v, path, "%s", fallback);
}

static void put_dirs(struct kp_vfs *v, const struct kp_vfs_options *o)
{
	const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {
		{"/dev", 0755}, {"/dev/pts", 0755}, {"/dev/shm", 01777}, {"/etc", 0755}, {"/proc", 0555}, {"/root", 0700},
		{"/run", 0755}, {"/run/lock", 01777}, {"/sys", o->narrow ? 0755 : 0555}, {"/tmp", 01777}, {"/var", 0755}, {"/var/tmp", 01777},
		{"/home", 0755},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(dirs); i++)
		put_dir(v, dirs[i].path, dirs[i].mode);
	if (o->home && o->home[0] == '/' && o->home[1]) {
		put_dir(v, o->home, 0700);
		find(v, o->home)->mode = S_IFDIR | 0700;
	}
}

/* The directories above a point; there: itself, too, as a directory or an empty file. */
static void put_point(struct kp_vfs *v, const char *guest, bool there, bool dir)
{
	kp_autofree char *parent = kp_strndup(guest, (size_t)(strrchr(guest, '/') - guest));

	if (*parent)
		put_dir(v, parent, 0755);
	if (there)
		put(v, guest, dir ? S_IFDIR | 0755 : S_IFREG | 0644, NULL, 0);
}

/* Each bind point, where a mode begins, and every directory above, exists in the tree even if no image has it. */
static void put_points(struct kp_vfs *v)
{
	struct stat st;

	for (size_t i = 0; i < v->bind_count; i++) {
		bool there = stat(v->binds[i].host, &st) == 0;

		put_point(v, v->binds[i].guest, there, there && S_ISDIR(st.st_mode));
	}
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];
		bool there;

		if (r->mode == KP_MODE_FULL || !r->guest[1])
			continue;
		/* In merged what the host does not have yet can come. */
		there = stat(r->host, &st) == 0;
		put_point(v, r->guest, there || r->mode == KP_MODE_MERGED, !there || S_ISDIR(st.st_mode));
	}
}

static void put_links(struct kp_vfs *v)
{
	static const char *const links[][2] = {
		{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
		{"/dev/stderr", "/proc/self/fd/2"}, {"/etc/mtab", "/proc/self/mounts"}, {"/var/run", "/run"},
		{"/var/lock", "/run/lock"},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(links); i++)
		put(v, links[i][0], S_IFLNK | 0777, kp_strdup(links[i][1]), strlen(links[i][1]));
}

static void put_users(struct kp_vfs *v, const struct kp_vfs_options *o)
{
	const char *user = o->user && v->uid ? o->user : "root", *home = o->home ? o->home : "/";
	char passwd_line[1024] = "", group_line[256] = "";

	if (v->uid)
		(void)snprintf(passwd_line, sizeof(passwd_line), "%s:x:%u:%u:%s:%s:/bin/sh\n", user, v->uid, v->gid, user, home);
	if (v->gid)
		(void)snprintf(group_line, sizeof(group_line), "%s:x:%u:\n", user, v->gid);
	put_text(v, "/etc/passwd",
		 "root:x:0:0:root:%s:/bin/sh\n%s"
		 "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
		 "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
		 "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		 v->uid ? "/root" : home, passwd_line);
	put_text(v, "/etc/group",
		 "root:x:0:\n%sdaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nutmp:x:43:\nnogroup:x:65534:\n", group_line);
}

void kp_base_make(struct kp_vfs *v, const struct kp_vfs_options *o)
{
	const char *host = o->hostname && *o->hostname ? o->hostname : "localhost";

	v->base = kp_calloc(1, sizeof(*v->base));
	pthread_mutex_init(&v->base->placing, NULL);
	(void)clock_gettime(CLOCK_REALTIME, &v->base->made);
	put_dirs(v, o);
	put_points(v);
	put_links(v);
	put_users(v, o);
	put_text(v, "/etc/hostname", "%s\n", host);
	put_text(v, "/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", host);
	put_text(v, "/etc/nsswitch.conf",
		 "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: "
		 "files\nservices: files\n");
	if (o->offline)
		put_text(v, "/etc/resolv.conf", "# no name server: the network is not granted\n");
	else
		put_copy(v, "/etc/resolv.conf", "/etc/resolv.conf", "");
	put_copy(v, "/etc/localtime", "/etc/localtime", NULL);
	if (o->registry)
		put_self(v, KP_REG_PROGRAM);
}

struct kp_base *kp_base_free(struct kp_base *b)
{
	struct file *f, *next;

	if (!b)
		return NULL;
	HASH_ITER (hh, b->files, f, next) {
		HASH_DEL(b->files, f);
		free(f->path);
		free(f->text);
		free(f);
	}
	pthread_mutex_destroy(&b->placing);
	free(b);
	return NULL;
}

int kp_base_stat(const struct kp_vfs *v, const char *guest, struct stat *ret)
{
	const struct file *f = find(v, guest);

	if (!f)
		return -ENOENT;
	*ret = (struct stat){
		.st_dev = v->dev, .st_ino = f->number, .st_mode = f->mode, .st_nlink = 1, .st_uid = v->uid, .st_gid = v->gid,
		.st_size = (off_t)f->len, .st_blksize = 4096, .st_blocks = (blkcnt_t)(S_ISREG(f->mode) ? (f->len + 4095) / 4096 * 8 : 0),
		.st_atim = v->base->made, .st_mtim = v->base->made, .st_ctim = v->base->made,
	};
	return 0;
}

const char *kp_base_link(const struct kp_vfs *v, const char *guest)
{
	const struct file *f = find(v, guest);

	return f && S_ISLNK(f->mode) ? f->text : NULL;
}

void kp_base_each(const struct kp_vfs *v, const char *guest_dir, void (*fn)(const char *name, mode_t mode, ino_t ino, void *ctx), void *ctx)
{
	for (const struct file *f = v->base->files; f; f = f->hh.next) {
		const char *rest = kp_path_below(f->path, guest_dir);

		if (rest && *rest == '/' && rest[1] && !strchr(rest + 1, '/'))
			fn(rest + 1, f->mode, f->number, ctx);
	}
}

static int copy_self(int to, size_t len)
{
	kp_autoclose int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : kp_copy_data(fd, to, len);
}

static int place(const struct file *f, const char *host)
{
	kp_autofree char *parent = kp_strndup(host, (size_t)(strrchr(host, '/') - host));
	kp_autoclose int fd = -1;
	int rc = kp_mkdir_all(AT_FDCWD, parent, 0755);

	if (rc)
		return rc;
	if (S_ISLNK(f->mode))
		return symlink(f->text, host) < 0 && errno != EEXIST ? -errno : 0;
	fd = open(host, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, f->mode & 07777) < 0)
		return -errno;
	return f->text || !f->len ? kp_write_full(fd, f->text, f->len) : copy_self(fd, f->len);
}

int kp_base_place(struct kp_vfs *v, const char *guest, struct kp_hpath *ret)
{
	struct file *f = find(v, guest);
	int rc = f ? kp_path_join(ret->s, sizeof(ret->s), v->base_dir.s, guest) : -ENOENT;

	if (rc)
		return rc;
	pthread_mutex_lock(&v->base->placing);
	if (!f->placed && !S_ISDIR(f->mode))
		rc = place(f, ret->s);
	f->placed |= !rc;
	pthread_mutex_unlock(&v->base->placing);
	return rc;
}

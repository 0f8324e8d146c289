/* SPDX-License-Identifier: Apache-2.0 */
/* The generated layer: what every program expects and an image need not bring. Lowest of all layers. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfs/internal.h"

static int put_file(struct kp_vfs *v, const char *path, const char *text, size_t len, struct kp_err *err)
{
	kp_autoclose int fd = openat(v->base_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	int rc = fd < 0 ? -errno : kp_write_full(fd, text, len);

	return rc ? kp_fail_errno(err, -rc, "%s/%s: cannot write", v->base.s, path) : 0;
}

static int put_text(struct kp_vfs *v, const char *path, struct kp_err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static int put_text(struct kp_vfs *v, const char *path, struct kp_err *err, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return put_file(v, path, text, n < 0 ? 0 : KP_MIN((size_t)n, sizeof(text) - 1), err);
}

/* A copy of the host's file, where it has one. */
static int put_copy(struct kp_vfs *v, const char *path, const char *host, const char *fallback, struct kp_err *err)
{
	kp_autofree char *data = NULL;
	size_t len;

	if (kp_read_file(AT_FDCWD, host, 1 << 20, &data, &len))
		return fallback ? put_text(v, path, err, "%s", fallback) : 0;
	return put_file(v, path, data, len, err);
}

static int put_dirs(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {
		{"dev", 0755}, {"dev/pts", 0755}, {"dev/shm", 01777}, {"etc", 0755}, {"proc", 0555}, {"root", 0700},
		{"run", 0755}, {"run/lock", 01777}, {"sys", o->narrow ? 0755 : 0555}, {"tmp", 01777}, {"var", 0755}, {"var/tmp", 01777},
		{"home", 0755},
	};
	int rc;

	for (size_t i = 0; i < KP_ARRAY_LEN(dirs); i++) {
		if (mkdirat(v->base_fd, dirs[i].path, dirs[i].mode) < 0 && errno != EEXIST)
			return kp_fail_errno(err, errno, "%s/%s: cannot make directory", v->base.s, dirs[i].path);
		if (fchmodat(v->base_fd, dirs[i].path, dirs[i].mode, 0) < 0)
			return kp_fail_errno(err, errno, "%s/%s: cannot set mode", v->base.s, dirs[i].path);
	}
	if (!o->home || o->home[0] != '/' || !o->home[1])
		return 0;
	rc = kp_mkdir_all(v->base_fd, o->home + 1, 0755);
	if (rc)
		return kp_fail_errno(err, -rc, "%s%s: cannot make directory", v->base.s, o->home);
	if (fchmodat(v->base_fd, o->home + 1, 0700, 0) < 0)
		return kp_fail_errno(err, errno, "%s%s: cannot set mode", v->base.s, o->home);
	return 0;
}

/* In merged what the host does not have yet can come. */
static int put_point(struct kp_vfs *v, const char *rel, const char *host, bool dir, struct kp_err *err)
{
	kp_autofree char *parent = kp_strdup(rel);
	char *slash = strrchr(parent, '/');
	struct stat st;
	int rc = 0;

	if (slash) {
		*slash = '\0';
		rc = kp_mkdir_all(v->base_fd, parent, 0755);
	}
	if (rc)
		return rc;
	if (stat(host, &st) == 0)
		dir = S_ISDIR(st.st_mode);
	else if (!dir)
		return 0;
	if (dir)
		return mkdirat(v->base_fd, rel, 0755) < 0 && errno != EEXIST ? -errno : 0;
	return faccessat(v->base_fd, rel, F_OK, 0) < 0 ? put_file(v, rel, "", 0, err) : 0;
}

/* Each bind point, where a mode begins, and every directory above, exists in the tree even if no image has it. */
static int put_bind_points(struct kp_vfs *v, struct kp_err *err)
{
	for (size_t i = 0; i < v->bind_count; i++) {
		int rc = put_point(v, v->binds[i].guest + 1, v->binds[i].host, false, err);

		if (rc)
			return kp_fail_errno(err, -rc, "%s: cannot make the bind point", v->binds[i].guest);
	}
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kp_rule *r = &v->rules[i];
		int rc = r->mode == KP_MODE_FULL || !r->guest[1]
				 ? 0 : put_point(v, r->guest + 1, r->host, r->mode == KP_MODE_MERGED, err);

		if (rc)
			return kp_fail_errno(err, -rc, "%s: cannot make the directories above", r->guest);
	}
	return 0;
}

static int put_links(struct kp_vfs *v, struct kp_err *err)
{
	static const char *const links[][2] = {
		{"dev/fd", "/proc/self/fd"}, {"dev/stdin", "/proc/self/fd/0"}, {"dev/stdout", "/proc/self/fd/1"},
		{"dev/stderr", "/proc/self/fd/2"}, {"etc/mtab", "/proc/self/mounts"}, {"var/run", "/run"},
		{"var/lock", "/run/lock"},
	};

	for (size_t i = 0; i < KP_ARRAY_LEN(links); i++)
		if (symlinkat(links[i][1], v->base_fd, links[i][0]) < 0 && errno != EEXIST)
			return kp_fail_errno(err, errno, "%s/%s: cannot make symlink", v->base.s, links[i][0]);
	return 0;
}

static int put_users(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	const char *user = o->user && v->uid ? o->user : "root", *home = o->home ? o->home : "/";
	char passwd_line[1024] = "", group_line[256] = "";
	int rc;

	if (v->uid)
		(void)snprintf(passwd_line, sizeof(passwd_line), "%s:x:%u:%u:%s:%s:/bin/sh\n", user, v->uid, v->gid, user, home);
	if (v->gid)
		(void)snprintf(group_line, sizeof(group_line), "%s:x:%u:\n", user, v->gid);
	rc = put_text(v, "etc/passwd", err,
		      "root:x:0:0:root:%s:/bin/sh\n%s"
		      "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
		      "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
		      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		      v->uid ? "/root" : home, passwd_line);
	if (!rc)
		rc = put_text(v, "etc/group", err,
			      "root:x:0:\n%sdaemon:x:1:\ntty:x:5:\nwww-data:x:33:\nutmp:x:43:\nnogroup:x:65534:\n", group_line);
	return rc;
}

int kp_base_make(struct kp_vfs *v, const struct kp_vfs_options *o, struct kp_err *err)
{
	const char *host = o->hostname && *o->hostname ? o->hostname : "localhost";
	int rc = put_dirs(v, o, err);

	if (!rc)
		rc = put_bind_points(v, err);
	if (!rc)
		rc = put_links(v, err);
	if (!rc)
		rc = put_users(v, o, err);
	if (!rc)
		rc = put_text(v, "etc/hostname", err, "%s\n", host);
	if (!rc)
		rc = put_text(v, "etc/hosts", err,
			      "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", host);
	if (!rc)
		rc = put_text(v, "etc/nsswitch.conf", err,
			      "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: "
			      "files\nservices: files\n");
	if (!rc)
		rc = o->offline ? put_text(v, "etc/resolv.conf", err, "# no name server: the network is not granted\n")
				: put_copy(v, "etc/resolv.conf", "/etc/resolv.conf", "", err);
	if (!rc)
		rc = put_copy(v, "etc/localtime", "/etc/localtime", NULL, err);
	return rc;
}

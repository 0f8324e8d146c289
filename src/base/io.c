/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors and files: whole transfers, atomic files, trees. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

#ifndef MFD_EXEC /* newer than Debian 12's headers */
#define MFD_EXEC 0x0010U
#endif

void kp_cleanup_free(void *p)
{
	free(*(void **)p);
}

void kp_cleanup_close(int *fd)
{
	kp_close(*fd);
}

void kp_cleanup_fclose(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

int kp_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return -1;
}

int kp_dup_from(pid_t tid, int fd)
{
	kp_autoclose int pidfd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	int rc;

	if (pidfd < 0) /* before 6.9: only thread group leaders */
		pidfd = (int)syscall(SYS_pidfd_open, tid, 0);
	if (pidfd < 0)
		return -errno;
	rc = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	return rc < 0 ? -errno : rc;
}

int kp_open_exact(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0,
		.resolve = RESOLVE_NO_SYMLINKS,
	};
	int fd;

	how.flags &= O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_ASYNC |
		     O_DIRECT | 0100000 /* O_LARGEFILE */ | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE;
	if (flags & O_PATH)
		how.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	/* Some sandboxes know no openat2. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dirfd, path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
	return fd;
}

/* One component after the other, each opened as a directory that is not a symlink. */
static int open_stepwise(int dirfd, const char *rel, int flags, mode_t mode)
{
	kp_autoclose int fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[NAME_MAX + 1];

	while (fd >= 0) {
		size_t len = strcspn(rel, "/");
		bool last = !rel[len + strspn(rel + len, "/")];
		int next;

		if (len > NAME_MAX || (len == 2 && rel[0] == '.' && rel[1] == '.')) {
			errno = len > NAME_MAX ? ENAMETOOLONG : EXDEV;
			return -1;
		}
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, rel);
		if (last)
			return openat(fd, len ? name : ".", flags | O_CLOEXEC | O_NOFOLLOW, mode);
		next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		(void)kp_close(fd);
		fd = next;
		rel += len + strspn(rel + len, "/");
	}
	return -1;
}

int kp_open_beneath(int dirfd, const char *rel, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW), .mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	if (*rel == '/') {
		errno = EXDEV;
		return -1;
	}
	do
		fd = (int)syscall(SYS_openat2, dirfd, *rel ? rel : ".", &how, sizeof(how));
	while (fd < 0 && errno == EAGAIN);
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = open_stepwise(dirfd, rel, flags, mode);
	return fd;
}

int kp_read_full(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int kp_pread_full(int fd, void *buf, size_t len, uint64_t offset)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int kp_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int kp_read_open(int fd, size_t max, char **ret_data, size_t *ret_len)
{
	struct kp_buf b = {0};
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || b.len + (size_t)n > max) {
			int rc = n < 0 ? -errno : -EFBIG;

			kp_buf_free(&b);
			return rc;
		}
		kp_buf_add(&b, chunk, (size_t)n);
		if (!n)
			break;
	}
	*ret_data = b.data;
	if (ret_len)
		*ret_len = b.len;
	return 0;
}

int kp_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len)
{
	kp_autoclose int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : kp_read_open(fd, max, ret_data, ret_len);
}

static int write_file(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool lasting)
{
	kp_autofree char *tmp = kp_asprintf("%s.tmp.%d", path, getpid());
	kp_autoclose int fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int rc;

	if (fd < 0)
		return -errno;
	rc = kp_write_full(fd, data, len);
	if (!rc && lasting && fsync(fd) < 0)
		rc = -errno;
	if (!rc && renameat(dirfd, tmp, dirfd, path) < 0)
		rc = -errno;
	if (rc)
		(void)unlinkat(dirfd, tmp, 0);
	return rc;
}

int kp_write_file_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	return write_file(dirfd, path, data, len, mode, true);
}

int kp_write_file_passing(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	return write_file(dirfd, path, data, len, mode, false);
}

int kp_mkdir_all(int dirfd, const char *path, mode_t mode)
{
	kp_autofree char *copy = NULL;

	/* Most are there, or their parent is. */
	if (!*path || mkdirat(dirfd, path, mode) == 0 || errno == EEXIST)
		return 0;
	copy = kp_strdup(path);
	for (char *p = copy + 1; *copy; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdirat(dirfd, copy, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = was;
		if (!was)
			break;
	}
	return 0;
}

/* Removes what is in a directory but for directories that hold something: the first of these is *ret_name, "" for none. */
static int remove_entries(int dir_fd, char *ret_name, size_t size)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int rc = d ? 0 : -errno;

	*ret_name = '\0';
	if (!d) {
		(void)kp_close(fd);
		return rc;
	}
	while (!rc && !*ret_name && (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || unlinkat(dir_fd, e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			rc = -errno;
		else if (unlinkat(dir_fd, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			rc = errno == ENOTEMPTY || errno == EEXIST ? 0 : -errno;
		else
			continue;
		if (!rc)
			(void)snprintf(ret_name, size, "%s", e->d_name);
	}
	(void)closedir(d);
	return rc;
}

static int open_to_empty(int dirfd, const char *path)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, fd = openat(dirfd, path, flags);

	if (fd < 0 && errno == EACCES && fchmodat(dirfd, path, 0700, 0) == 0)
		fd = openat(dirfd, path, flags);
	if (fd < 0)
		return -errno;
	(void)fchmod(fd, 0700);
	return fd;
}

/* Down by name and up by "..", one descriptor at a time: a tree may be deeper than there are descriptors or stack. */
int kp_empty_tree(int dirfd, const char *path)
{
	kp_autofree struct stat *above = NULL; /* what each ".." must be: somebody may move a directory meanwhile */
	kp_autoclose int fd = open_to_empty(dirfd, path);
	char name[NAME_MAX + 1];
	size_t depth = 0, room = 0;
	struct stat st;
	int rc = fd < 0 ? fd : 0, next;

	while (!rc && !(rc = remove_entries(fd, name, sizeof(name))) && (*name || depth)) {
		if (*name && depth == room) {
			room = room ? 2 * room : 64;
			above = kp_realloc(above, room * sizeof(*above));
		}
		if (*name && fstat(fd, &above[depth]) < 0)
			return -errno;
		next = *name ? open_to_empty(fd, name) : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (next < 0)
			return *name ? next : -errno;
		(void)kp_close(fd);
		fd = next;
		if (*name) {
			depth++;
		} else if (fstat(fd, &st) < 0 || st.st_ino != above[depth - 1].st_ino || st.st_dev != above[depth - 1].st_dev) {
			rc = -EBUSY;
		} else {
			depth--;
		}
	}
	return rc;
}

int kp_remove_tree(int dirfd, const char *path)
{
	int rc;

	if (unlinkat(dirfd, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	rc = kp_empty_tree(dirfd, path);
	if (rc)
		return rc;
	return unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static int copy_range(int in_fd, int out_fd, uint64_t len)
{
	kp_autofree char *buf = NULL;
	bool by_hand = false;

	while (len) {
		size_t want = (size_t)KP_MIN(len, (uint64_t)1 << 30);
		ssize_t n;

		if (!by_hand) {
			n = copy_file_range(in_fd, NULL, out_fd, NULL, want, 0);
			if (n < 0 && errno != ENOSPC && errno != EIO && errno != EFBIG && errno != EDQUOT) {
				by_hand = true;
				continue;
			}
		} else {
			if (!buf)
				buf = kp_calloc(1, 1 << 17);
			n = read(in_fd, buf, KP_MIN(want, (size_t)1 << 17));
			if (n > 0) {
				int rc = kp_write_full(out_fd, buf, (size_t)n);

				if (rc)
					return rc;
			}
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return len == UINT64_MAX ? 0 : -ENODATA;
		if (len != UINT64_MAX)
			len -= (uint64_t)n;
	}
	return 0;
}

/* Copies only what lies between holes of a whole file; -EOPNOTSUPP where holes cannot be found. */
static int copy_sparse(int in_fd, int out_fd, off_t size)
{
	off_t at = 0;

	while (at < size) {
		off_t data = lseek(in_fd, at, SEEK_DATA), hole;
		int rc;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0 || (hole = lseek(in_fd, data, SEEK_HOLE)) < 0)
			return -EOPNOTSUPP;
		if (lseek(in_fd, data, SEEK_SET) < 0 || lseek(out_fd, data, SEEK_SET) < 0)
			return -errno;
		rc = copy_range(in_fd, out_fd, (uint64_t)(hole - data));
		if (rc)
			return rc;
		at = hole;
	}
	return ftruncate(out_fd, size) < 0 ? -errno : 0;
}

int kp_copy_data(int in_fd, int out_fd, uint64_t len)
{
	struct stat st;
	bool file;
	int rc;

	if (len != UINT64_MAX || lseek(in_fd, 0, SEEK_CUR) != 0 || lseek(out_fd, 0, SEEK_CUR) != 0)
		return copy_range(in_fd, out_fd, len);
	if (ioctl(out_fd, FICLONE, in_fd) == 0)
		return 0;
	file = fstat(in_fd, &st) == 0 && S_ISREG(st.st_mode);
	if (file && st.st_blocks * 512 < st.st_size) {
		rc = copy_sparse(in_fd, out_fd, st.st_size);
		if (rc != -EOPNOTSUPP)
			return rc;
		if (lseek(in_fd, 0, SEEK_SET) < 0 || lseek(out_fd, 0, SEEK_SET) < 0)
			return -errno;
	}
	/* One that grows as fast as it is copied has an end, too; one that shrinks, an earlier one. */
	rc = copy_range(in_fd, out_fd, file && st.st_size ? (uint64_t)st.st_size : UINT64_MAX);
	return rc == -ENODATA ? 0 : rc;
}

int kp_sealed_copy(const char *name, int from)
{
	kp_autoclose int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int rc;

	if (fd < 0 && errno == EINVAL) /* before 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	rc = lseek(from, 0, SEEK_SET) < 0 ? -errno : kp_copy_data(from, fd, UINT64_MAX);
	if (!rc && (fchmod(fd, 0555) < 0 ||
		    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
		rc = -errno;
	return rc ? rc : kp_take_fd(&fd);
}

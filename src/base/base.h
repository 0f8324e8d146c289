/* SPDX-License-Identifier: Apache-2.0 */
/* What every file may use: cleanup, whole reads and writes, strings, debug masks. No kapsel knowledge. */
#ifndef KAPSEL_BASE_H
#define KAPSEL_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kapsel/error.h"
#include "base/banned.h"

/* --- cleanup: variables start at NULL or -1 and are released at the end of their scope --- */
void kp_cleanup_free(void *p);
void kp_cleanup_close(int *fd);
void kp_cleanup_fclose(FILE **f);
#define kp_autofree __attribute__((cleanup(kp_cleanup_free)))
#define kp_autoclose __attribute__((cleanup(kp_cleanup_close)))
#define kp_autofclose __attribute__((cleanup(kp_cleanup_fclose)))

/* Gives up ownership: returns the value and leaves -1 or NULL behind. */
static inline int kp_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define kp_take_ptr(p)                                                                                  \
	({                                                                                              \
		__typeof__(p) taken_ = (p);                                                             \
		(p) = NULL;                                                                             \
		taken_;                                                                                 \
	})

#define KP_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define KP_MIN(a, b) ((a) < (b) ? (a) : (b))
#define KP_MAX(a, b) ((a) > (b) ? (a) : (b))

/* --- memory: these never return NULL; out of memory ends the process with 125 --- */
void *kp_calloc(size_t n, size_t size);
/* Zeroes, too, for what is large and mostly never touched: pages of its own, where kp_calloc would write over what others have used before. */
void *kp_pages(size_t size);
void *kp_pages_free(void *pages, size_t size); /* NULL */
void *kp_realloc(void *p, size_t size);
char *kp_strdup(const char *s);
char *kp_strndup(const char *s, size_t len);
char *kp_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- descriptors --- */
/* Closes fd if it is >= 0; errno is kept. Returns -1, so `fd = kp_close(fd)`. */
int kp_close(int fd);
/* A copy of another task's descriptor (same open file description), or -errno (-EPERM: not allowed here). */
int kp_dup_from(pid_t tid, int fd);
/* openat that follows no symlink and, unlike O_NOFOLLOW, leaves no flag behind on the description. */
int kp_open_exact(int dirfd, const char *path, int flags, mode_t mode);
/* Below dirfd, by a relative path ("." is dirfd itself), through no symlink, ".." or other way out, also where the kernel has no
 * openat2. Descriptor, or -1 with errno. */
int kp_open_beneath(int dirfd, const char *rel, int flags, mode_t mode);
/* Whole transfers; EINTR is retried. 0, or -errno (-ENODATA: the end came first). */
int kp_read_full(int fd, void *buf, size_t len);
int kp_pread_full(int fd, void *buf, size_t len, uint64_t offset);
int kp_write_full(int fd, const void *buf, size_t len);
/* The whole of a file of at most max bytes, NUL-terminated; *ret_len excludes the NUL. */
int kp_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_len);
/* The same of what is open, from its position on. */
int kp_read_open(int fd, size_t max, char **ret_data, size_t *ret_len);
/* A new file appears whole or not at all: temporary name, write, fsync, rename. 0 or -errno. */
int kp_write_file_atomic(int dirfd, const char *path, const void *data, size_t len, mode_t mode);
/* The same for what need not outlive the machine: no fsync. */
int kp_write_file_passing(int dirfd, const char *path, const void *data, size_t len, mode_t mode);
/* mkdir -p below dirfd (AT_FDCWD for absolute paths). 0 or -errno. */
int kp_mkdir_all(int dirfd, const char *path, mode_t mode);
/* rm -rf of what is in the directory dirfd/path. 0 or -errno. */
int kp_empty_tree(int dirfd, const char *path);
/* rm -rf of dirfd/path; never follows a symlink; a missing path is success. 0 or -errno. */
int kp_remove_tree(int dirfd, const char *path);
/* Copies len bytes (or to the end, when len is UINT64_MAX) at both file positions: FICLONE where
 * whole, copy_file_range, else read/write; holes stay holes. 0 or -errno. */
int kp_copy_data(int in_fd, int out_fd, uint64_t len);
/* realpath(3), allocated, NULL with errno. What leads to several paths is looked at once. */
char *kp_real_path(const char *path);
/* A memfd of that name with the file's content, sealed, that may be executed: for files on file systems where that is not
 * allowed. A descriptor or -errno. */
int kp_sealed_copy(const char *name, int from);

/* --- time --- */
int64_t kp_clock_us(clockid_t clock); /* microseconds */

/* --- long work --- */
/* To be called before work that takes long (unpacking, copying): lets whoever runs this thread make arrangements, such as having
 * another thread answer meanwhile. Does nothing unless this thread has set kp_slow_hook. */
extern _Thread_local void (*kp_slow_hook)(void *ctx);
extern _Thread_local void *kp_slow_ctx;
static inline void kp_going_slow(void)
{
	if (kp_slow_hook)
		kp_slow_hook(kp_slow_ctx);
}

/* --- strings --- */
/* Joins a and b with exactly one '/' between; -ENAMETOOLONG when it does not fit. */
int kp_path_join(char *buf, size_t size, const char *a, const char *b);
/* If path is dir or below it, the rest ("" or "/..."), else NULL. dir has no trailing slash
 * ("" stands for the root). */
const char *kp_path_below(const char *path, const char *dir);
/* Makes text safe to show: control bytes and invalid UTF-8 become '?'. In place. */
void kp_printable(char *text);
char *kp_shown(const char *text); /* a copy that is; the caller frees */
/* FNV-1a: for tables and short names, not against anybody who means to collide. */
uint64_t kp_hash_string(const char *s);
static inline uint64_t kp_hash_add(uint64_t h, uint64_t value)
{
	return (h ^ value) * 0x100000001b3ULL;
}
/* Lower-case hex of len bytes into out (2 * len + 1). */
void kp_hex(char *out, const uint8_t *bytes, size_t len);

/* A growing byte string; zero-initialise. data is NUL-terminated whenever len > 0. */
struct kp_buf {
	char *data;
	size_t len, cap;
};
void kp_buf_add(struct kp_buf *b, const void *data, size_t len);
void kp_buf_puts(struct kp_buf *b, const char *s);
void kp_buf_printf(struct kp_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kp_buf_free(struct kp_buf *b);
#define kp_autobuf __attribute__((cleanup(kp_buf_free)))

/* A list of texts, NULL-terminated besides the count, so it can serve as an argv; zero-initialise. */
struct kp_strings {
	char **items;
	size_t count;
};
void kp_strings_add(struct kp_strings *list, const char *text); /* to a list that only this has made */
char *kp_strings_pop(struct kp_strings *list); /* the last one, now the caller's; NULL: there is none */
bool kp_strings_have(const struct kp_strings *list, const char *text);
void kp_strings_free(struct kp_strings *list);
#define kp_autostrings __attribute__((cleanup(kp_strings_free)))

/* --- tests of tests: built with FAULTS=1, the mechanisms that KAPSEL_FAULT names are left out. No other build looks at it --- */
#ifdef KP_FAULTS
bool kp_fault(const char *name);
#else
#define kp_fault(name) false
#endif

/* rt_sigaction as the kernel has it (SA_RESTORER is the caller's matter): the library's knows nothing of signals 32 and 33. */
struct kp_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};
static inline int kp_sigaction(int signo, const struct kp_sigaction *act, struct kp_sigaction *ret_old)
{
	return (int)syscall(SYS_rt_sigaction, signo, act, ret_old, sizeof(act->mask));
}

/* --- debug: KAPSEL_DEBUG=help|all|image,vfs,...; to standard error (or the descriptor set) --- */
enum kp_debug_mask {
	KP_DBG_IMAGE = 1 << 0,
	KP_DBG_STORE = 1 << 1,
	KP_DBG_VFS = 1 << 2,
	KP_DBG_TRAP = 1 << 3,
	KP_DBG_EXEC = 1 << 4,
	KP_DBG_LAUNCH = 1 << 5,
	KP_DBG_PACK = 1 << 6,
};
extern unsigned kp_debug_enabled;
/* Parses KAPSEL_DEBUG. Returns true when it was "help" and the list has been printed. */
bool kp_debug_init(void);
void kp_debug_print(const char *area, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define KP_DEBUG(area, ...)                                                                             \
	do {                                                                                            \
		if (kp_debug_enabled & KP_DBG_##area)                                                   \
			kp_debug_print(#area, __VA_ARGS__);                                             \
	} while (0)

#endif

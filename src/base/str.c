/* SPDX-License-Identifier: Apache-2.0 */
/* Strings, paths as text, growing buffers, memory that does not fail. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"

static void *must(void *p)
{
	static const char text[] = "kapsel: out of memory\n";

	if (!p) {
		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
		_exit(KP_EXIT_FAILED);
	}
	return p;
}

void *kp_calloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1));
}

/* The leak sanitizer sees no pointers in other memory than the allocator's. */
#if defined(__SANITIZE_ADDRESS__)
void *kp_pages(size_t size)
{
	return kp_calloc(1, size);
}

void *kp_pages_free(void *pages, size_t size)
{
	(void)size;
	free(pages);
	return NULL;
}
#else
void *kp_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return must(p == MAP_FAILED ? NULL : p);
}

void *kp_pages_free(void *pages, size_t size)
{
	if (pages)
		(void)munmap(pages, size);
	return NULL;
}
#endif

void *kp_realloc(void *p, size_t size)
{
	return must(realloc(p, size ? size : 1));
}

char *kp_strdup(const char *s)
{
	return must(strdup(s));
}

char *kp_strndup(const char *s, size_t len)
{
	return must(strndup(s, len));
}

char *kp_asprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	return must(len < 0 ? NULL : text);
}

int kp_path_join(char *buf, size_t size, const char *a, const char *b)
{
	size_t len = strlen(a);
	int n;

	while (len > 1 && a[len - 1] == '/')
		len--;
	while (*b == '/')
		b++;
	if (!*b)
		n = snprintf(buf, size, "%.*s", (int)len, a);
	else
		n = snprintf(buf, size, "%.*s%s%s", (int)len, a, len && a[len - 1] == '/' ? "" : "/", b);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

const char *kp_path_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (len == 1 && dir[0] == '/')
		len = 0;
	if (strncmp(path, dir, len) != 0)
		return NULL;
	if (path[len] != '\0' && path[len] != '/')
		return NULL;
	return path + len;
}

uint64_t kp_hash_string(const char *s)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	while (*s)
		h = kp_hash_add(h, (unsigned char)*s++);
	return h;
}

/* Length of the UTF-8 sequence at s, or 0 if it is none that should be shown. */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (n == 1)
		return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* C1 controls (U+0080..U+009F) drive terminals too. */
	return n == 2 && s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n;
}

void kp_printable(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t n = utf8_len(s);

		if (!n) {
			*s = '?';
			n = 1;
		}
		s += n;
	}
}

char *kp_shown(const char *text)
{
	char *copy = kp_strdup(text);

	kp_printable(copy);
	return copy;
}

void kp_hex(char *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}

void kp_buf_add(struct kp_buf *b, const void *data, size_t len)
{
	if (b->len + len + 1 > b->cap) {
		b->cap = KP_MAX(b->cap * 2, b->len + len + 64);
		b->data = kp_realloc(b->data, b->cap);
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void kp_buf_puts(struct kp_buf *b, const char *s)
{
	kp_buf_add(b, s, strlen(s));
}

void kp_buf_printf(struct kp_buf *b, const char *fmt, ...)
{
	kp_autofree char *text = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&text, fmt, ap);
	va_end(ap);
	must(len < 0 ? NULL : text);
	kp_buf_add(b, text, (size_t)len);
}

void kp_buf_free(struct kp_buf *b)
{
	free(b->data);
	*b = (struct kp_buf){0};
}

void kp_strings_add(struct kp_strings *list, const char *text)
{
	/* Room grows by doubling: it is full when the count is a power of two. */
	if (!(list->count & (list->count + 1)) || !list->items)
		list->items = kp_realloc(list->items, (list->count * 2 + 3) * sizeof(char *));
	list->items[list->count++] = kp_strdup(text);
	list->items[list->count] = NULL;
}

char *kp_strings_pop(struct kp_strings *list)
{
	char *last = list->count ? list->items[--list->count] : NULL;

	if (last)
		list->items[list->count] = NULL;
	return last;
}

bool kp_strings_have(const struct kp_strings *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i], text))
			return true;
	return false;
}

void kp_strings_free(struct kp_strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct kp_strings){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Unified differences of two texts, by Myers' O(ND) search; what a terminal would act on is shown as '?'. */
#include "changes/changes.h"

#define CONTEXT 3
#define MAX_EDITS 2000 /* more than that: all of the old goes, all of the new comes */

struct line {
	const char *text;
	size_t len; /* with its newline */
};

struct text {
	struct line *lines;
	int count;
};

struct edit { /* lines [old, old + gone) become [new, new + come) */
	int old, gone, new, come;
};

struct edits {
	struct edit *items; /* last first */
	size_t count;
};

static struct text split(const char *data, size_t len)
{
	struct text t = {0};
	size_t room = 0;

	for (size_t at = 0; at < len;) {
		const char *end = memchr(data + at, '\n', len - at);
		size_t n = end ? (size_t)(end - data) - at + 1 : len - at;

		if ((size_t)t.count == room) {
			room = room ? 2 * room : 256;
			t.lines = kp_realloc(t.lines, room * sizeof(*t.lines));
		}
		t.lines[t.count++] = (struct line){data + at, n};
		at += n;
	}
	return t;
}

static bool same(const struct text *a, int i, const struct text *b, int j)
{
	return a->lines[i].len == b->lines[j].len && !memcmp(a->lines[i].text, b->lines[j].text, a->lines[i].len);
}

static void put(struct edits *e, int old, int gone, int new, int come)
{
	struct edit *last = e->count ? &e->items[e->count - 1] : NULL;

	/* Found backwards: one that ends where the last begins is part of it. */
	if (last && old + gone == last->old && new + come == last->new) {
		last->old = old;
		last->new = new;
		last->gone += gone;
		last->come += come;
		return;
	}
	e->items = kp_realloc(e->items, (e->count + 1) * sizeof(*e->items));
	e->items[e->count++] = (struct edit){old, gone, new, come};
}

/* Goes back along the furthest paths that search() kept for each number of edits. */
static void trace_back(int *const *kept, int edits, int n, int m, struct edits *ret)
{
	int x = n, y = m;

	for (int d = edits; d > 0; d--) {
		const int *v = kept[d - 1] + d; /* of d - 1 edits; v[k], k in [-d, d] */
		int k = x - y, from = k == -d || (k != d && v[k - 1] < v[k + 1]) ? k + 1 : k - 1;
		int px = v[from], py = px - from;

		if (from == k + 1)
			put(ret, px, 0, py, 1);
		else
			put(ret, px, 1, py, 0);
		x = px;
		y = py;
	}
}

static bool search(const struct text *a, const struct text *b, struct edits *ret)
{
	int n = a->count, m = b->count, max = KP_MIN(n + m, MAX_EDITS), d = 0;
	kp_autofree int *room = kp_calloc((size_t)(2 * max + 3), sizeof(int));
	kp_autofree int **kept = kp_calloc((size_t)max + 1, sizeof(*kept));
	int *v = room + max + 1;
	bool found = false;

	for (d = 0; d <= max && !found; d++) {
		for (int k = -d; k <= d && !found; k += 2) {
			int x = k == -d || (k != d && v[k - 1] < v[k + 1]) ? v[k + 1] : v[k - 1] + 1, y = x - k;

			while (x < n && y >= 0 && y < m && same(a, x, b, y)) {
				x++;
				y++;
			}
			v[k] = x;
			found = x >= n && y >= m;
		}
		if (!found) {
			kept[d] = kp_calloc((size_t)(2 * d + 3), sizeof(int));
			memcpy(kept[d], v - d - 1, (size_t)(2 * d + 3) * sizeof(int));
		}
	}
	if (found)
		trace_back(kept, d - 1, n, m, ret);
	for (int i = 0; i <= max; i++)
		free(kept[i]);
	return found;
}

static void print_line(FILE *out, char mark, const struct line *l)
{
	bool whole = l->text[l->len - 1] == '\n';
	kp_autofree char *shown = kp_strndup(l->text, l->len - whole);

	for (char *tab; (tab = strchr(shown, '\t'));)
		*tab = '\001';
	for (char *p = shown, *end; *p; p = end) { /* tabs stay */
		char was;

		end = p + strcspn(p, "\001");
		was = *end;
		*end = '\0';
		kp_printable(p);
		if (was)
			*end++ = '\t';
	}
	(void)fprintf(out, "%c%s\n%s", mark, shown, whole ? "" : "\\ No newline at end of file\n");
}

/* Edits first to last (indices going down) that are near enough to share their context. */
static void print_hunk(FILE *out, const struct text *a, const struct text *b, const struct edits *e, size_t first, size_t last)
{
	const struct edit *f = &e->items[first], *l = &e->items[last];
	int before = KP_MIN(CONTEXT, f->old), old = f->old - before, new = f->new - before;
	int old_end = KP_MIN(a->count, l->old + l->gone + CONTEXT), new_end = l->new + l->come + old_end - l->old - l->gone;
	int at = old;

	(void)fprintf(out, "@@ -%d,%d +%d,%d @@\n", old_end > old ? old + 1 : old, old_end - old, new_end > new ? new + 1 : new,
		      new_end - new);
	for (size_t i = first + 1; i-- > last;) {
		const struct edit *x = &e->items[i];

		for (; at < x->old; at++)
			print_line(out, ' ', &a->lines[at]);
		for (int j = 0; j < x->gone; j++)
			print_line(out, '-', &a->lines[at++]);
		for (int j = 0; j < x->come; j++)
			print_line(out, '+', &b->lines[x->new + j]);
	}
	for (; at < old_end; at++)
		print_line(out, ' ', &a->lines[at]);
}

bool kp_unified(FILE *out, const char *old, size_t old_len, const char *new, size_t new_len)
{
	struct edits e = {0};
	struct text a, b;

	if ((old_len && memchr(old, '\0', old_len)) || (new_len && memchr(new, '\0', new_len)))
		return false;
	a = split(old, old_len);
	b = split(new, new_len);
	if (!search(&a, &b, &e))
		put(&e, 0, a.count, 0, b.count);
	for (size_t first = e.count; first-- > 0;) {
		size_t last = first;

		while (last && e.items[last - 1].old - e.items[last].old - e.items[last].gone <= 2 * CONTEXT)
			last--;
		print_hunk(out, &a, &b, &e, first, last);
		first = last;
	}
	free(e.items);
	free(a.lines);
	free(b.lines);
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Registry and text, both ways. */
#include "projection/internal.h"
#include "projection/merge.h"

struct comparison {
	struct kp_doc *base, *mine;
	const struct kp_settings *base_values, *theirs;
	struct kp_takes *out;
};

static void add_change(struct kp_takes *c, const struct kp_take *change)
{
	if (!(c->count & (c->count + 1)) || !c->items)
		c->items = kp_realloc(c->items, (c->count * 2 + 3) * sizeof(*c->items));
	c->items[c->count++] = *change;
}

/* The type that the text's value is to be read with. */
static uint32_t type_of(const struct comparison *c, const struct kp_setting *e)
{
	const struct kp_setting *known = kp_settings_find(c->theirs, e->path, e->name);

	if (!known)
		known = kp_settings_find(c->base_values, e->path, e->name);
	return known ? known->d.type : KP_REG_NONE;
}

/* The program changed e from base to mine (either may be missing): what does that mean for the registry? */
static void judge(struct comparison *c, const struct kp_setting *base, const struct kp_setting *mine)
{
	const struct kp_setting *e = mine ? mine : base;
	const struct kp_setting *was = kp_settings_find(c->base_values, e->path, e->name), *is = kp_settings_find(c->theirs, e->path, e->name);
	struct kp_take change = {.kind = mine ? KP_TAKE_SET : KP_TAKE_DELETE, .e = *e};

	if (mine ? is && kp_reg_data_same(&is->d, &mine->d) : !is)
		return;
	if (was ? !is || !kp_reg_data_same(&is->d, &was->d) : is != NULL) {
		change.conflict = true;
		change.theirs_gone = !is;
		if (is)
			change.theirs = is->d;
	}
	add_change(c->out, &change);
}

static int look_mine(const struct kp_setting *e, void *ctx)
{
	struct comparison *c = ctx;
	uint32_t type = e->name ? type_of(c, e) : KP_REG_NONE;
	struct kp_setting mine, base;
	bool had;

	if (!kp_doc_get(c->mine, e->path, e->name, type, &mine))
		return 0;
	had = kp_doc_get(c->base, e->path, e->name, type, &base);
	if (!had || !kp_reg_data_same(&base.d, &mine.d))
		judge(c, had ? &base : NULL, &mine);
	return 0;
}

static int look_base(const struct kp_setting *e, void *ctx)
{
	struct comparison *c = ctx;
	struct kp_setting base = *e, mine;

	if (!kp_doc_get(c->mine, e->path, e->name, KP_REG_NONE, &mine))
		judge(c, &base, NULL);
	return 0;
}

void kp_projection_compare(struct kp_doc *base, const struct kp_settings *base_values, struct kp_doc *mine, const struct kp_settings *theirs,
			   struct kp_takes *ret)
{
	struct comparison c = {base, mine, base_values, theirs, ret};

	*ret = (struct kp_takes){0};
	/* What is gone first: a key that is deleted takes nothing with it that comes after. */
	kp_doc_each(base, look_base, &c);
	kp_doc_each(mine, look_mine, &c);
}

void kp_takes_free(struct kp_takes *c)
{
	free(c->items);
	*c = (struct kp_takes){0};
}

/* --- what is kept --- */
#define FIRST_LINE "kapsel projection 1 "

void kp_projection_pack(const char *text, size_t len, const struct kp_settings *values, struct kp_buf *out)
{
	struct kp_doc *doc = NULL;

	kp_buf_printf(out, FIRST_LINE "%zu\n", len);
	kp_buf_add(out, text, len);
	/* wine's format tells everything; what it cannot tell (texts that are no UTF-8) no other format has told either. */
	if (kp_doc_parse(&kp_format_wine, "", 0, &doc, NULL) == 0) {
		kp_projection_render(doc, NULL, values, NULL);
		kp_doc_print(doc, out);
	}
	kp_doc_free(doc);
}

static int add_entry(const struct kp_setting *e, void *ctx)
{
	kp_settings_add(ctx, e);
	return 0;
}

int kp_projection_unpack(const char *data, size_t size, const char **ret_text, size_t *ret_len, struct kp_settings *values)
{
	const char *line = size ? memchr(data, '\n', size) : NULL;
	size_t head = strlen(FIRST_LINE), digits = line ? (size_t)(line - data) : 0;
	struct kp_doc *doc = NULL;
	uint64_t len;

	if (digits <= head || strncmp(data, FIRST_LINE, head) != 0 || !kp_parse_number(data + head, digits - head, &len))
		return -EINVAL;
	size -= digits + 1;
	if (len > size || kp_doc_parse(&kp_format_wine, line + 1 + len, size - len, &doc, NULL))
		return -EINVAL;
	*ret_text = line + 1;
	*ret_len = len;
	kp_doc_each(doc, add_entry, values);
	kp_doc_free(doc);
	return 0;
}

#define WORDS 60U

char *kp_projection_words(const struct kp_reg_data *d)
{
	kp_autobuf struct kp_buf text = {0};
	char *words;

	if (d->type == KP_REG_MULTI_SZ) {
		const char *s = d->data, *end = s + d->len;

		for (; s < end; s += strnlen(s, (size_t)(end - s)) + 1)
			kp_buf_printf(&text, "%s'%.*s'", s == d->data ? "" : ", ", (int)strnlen(s, (size_t)(end - s)), s);
		kp_buf_add(&text, "", 0);
	} else {
		bool quote = d->type == KP_REG_SZ || d->type == KP_REG_EXPAND_SZ;

		kp_buf_puts(&text, quote ? "'" : "");
		if (kp_plain_text(&text, d, NULL, 0))
			kp_buf_puts(&text, "?");
		kp_buf_puts(&text, quote ? "'" : "");
	}
	if (text.len > WORDS) {
		text.len = WORDS;
		while (text.len && ((unsigned char)text.data[text.len] & 0xc0) == 0x80)
			text.len--;
		kp_buf_puts(&text, "...");
	}
	words = kp_strndup(text.data, text.len);
	kp_printable(words);
	return words;
}

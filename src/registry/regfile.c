/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the .reg text format: version 5 and REGEDIT4, as reg.exe, regedit and Wine write them. */
#include <ctype.h>

#include "registry/internal.h"

struct reader {
	const char *at, *end; /* UTF-8 */
	const char *file;
	size_t line;
	bool wide; /* version 5: strings in hex are UTF-16 */
	char *key; /* NULL: none yet, or one that was deleted */
	const struct kp_regfile_sink *sink;
	struct kp_err *err;
};

static int fail(const struct reader *r, const char *what)
{
	return kp_fail(r->err, EINVAL, "%s:%zu: %s", r->file, r->line, what);
}

/* What the sink says to something that this line asked for. */
static int said(const struct reader *r, const char *object, int rc)
{
	char start[200];

	if (!rc || r->err->code)
		return rc;
	(void)snprintf(start, sizeof(start), "%s", object);
	return kp_fail_errno(r->err, -rc, "%s:%zu: %s", r->file, r->line, start);
}

/* --- characters --- */

static int peek(const struct reader *r)
{
	return r->at < r->end ? (unsigned char)*r->at : -1;
}

static bool at_line_end(const struct reader *r)
{
	return peek(r) < 0 || *r->at == '\n' || *r->at == '\r';
}

static void skip_blanks(struct reader *r)
{
	while (peek(r) == ' ' || peek(r) == '\t')
		r->at++;
}

static void skip_line(struct reader *r)
{
	while (!at_line_end(r))
		r->at++;
	if (peek(r) == '\r')
		r->at++;
	if (peek(r) == '\n')
		r->at++;
	r->line++;
}

static bool take(struct reader *r, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(r->end - r->at) < len || strncasecmp(r->at, word, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* Nothing but a comment is left on the line. */
static int line_done(struct reader *r)
{
	skip_blanks(r);
	if (!at_line_end(r) && *r->at != ';')
		return fail(r, "there is more on the line than was expected");
	skip_line(r);
	return 0;
}

/* Behind the opening quote. A text may hold ends of lines, as regedit writes them. */
static int quoted(struct reader *r, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (;;) {
		int c = peek(r);

		if (c < 0)
			return fail(r, "a quote is missing at the end of a text");
		r->at++;
		if (c == '"')
			return 0;
		if (c == '\n')
			r->line++;
		if (c == '\\' && peek(r) >= 0) {
			c = *r->at++;
			if (c == '\n')
				r->line++;
			c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == '0' ? '\0' : c;
		}
		kp_buf_add(out, &(char){(char)c}, 1);
	}
}

/* --- values --- */

static int hex_digit(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A backslash at the end of a line, and comments and empty lines behind it. */
static bool continues(struct reader *r)
{
	const char *at = r->at;

	if (peek(r) != '\\')
		return false;
	r->at++;
	skip_blanks(r);
	if (!at_line_end(r) && peek(r) != ';') {
		r->at = at;
		return false;
	}
	do {
		skip_line(r);
		skip_blanks(r);
	} while (peek(r) == ';' || (peek(r) >= 0 && at_line_end(r)));
	return true;
}

static int bytes(struct reader *r, struct kp_buf *out)
{
	kp_buf_add(out, "", 0);
	for (;;) {
		int high, low;

		skip_blanks(r);
		while (continues(r))
			skip_blanks(r);
		if (at_line_end(r) || *r->at == ';')
			return 0;
		high = hex_digit(*r->at++);
		low = peek(r) < 0 ? -1 : hex_digit(*r->at);
		if (high < 0)
			return fail(r, "two hexadecimal digits were expected");
		if (low < 0) { /* one digit alone, as Wine takes it */
			low = high;
			high = 0;
		} else {
			r->at++;
		}
		kp_buf_add(out, &(uint8_t){(uint8_t)(high << 4 | low)}, 1);
		if (out->len > 3 * (size_t)KP_REG_DATA)
			return fail(r, "a value is too long");
		skip_blanks(r);
		while (continues(r))
			skip_blanks(r);
		if (peek(r) == ',')
			r->at++;
		else if (!at_line_end(r) && *r->at != ';')
			return fail(r, "a comma was expected between bytes");
	}
}

static int hex_value(struct reader *r, struct kp_reg_data *d, struct kp_buf *out)
{
	struct kp_buf kp_autobuf raw = {0};
	uint64_t type = 0;
	int digits = 0, rc;

	d->type = KP_REG_BINARY;
	if (peek(r) == '(') {
		for (r->at++; peek(r) >= 0 && hex_digit(*r->at) >= 0 && digits < 8; digits++)
			type = type << 4 | (unsigned)hex_digit(*r->at++);
		if (!digits || peek(r) != ')')
			return fail(r, "a type was expected: hex(2):");
		r->at++;
		d->type = (uint32_t)type;
	}
	if (peek(r) != ':')
		return fail(r, "a colon was expected: hex:");
	r->at++;
	rc = bytes(r, &raw);
	if (!rc && kp_reg_data_from_windows(d->type, raw.data, raw.len, r->wide, out) < 0)
		rc = fail(r, "a text of half a letter: its bytes are odd in number");
	return rc;
}

static int dword_value(struct reader *r, struct kp_reg_data *d, struct kp_buf *out)
{
	uint32_t n = 0;
	int digits = 0;

	skip_blanks(r);
	for (; peek(r) >= 0 && hex_digit(*r->at) >= 0 && digits < 9; digits++)
		n = n << 4 | (unsigned)hex_digit(*r->at++);
	if (!digits || digits > 8)
		return fail(r, "one to eight hexadecimal digits were expected");
	d->type = KP_REG_DWORD;
	kp_buf_add(out, &n, sizeof(n));
	return 0;
}

static int value(struct reader *r, const char *name)
{
	struct kp_buf kp_autobuf data = {0};
	struct kp_reg_data d = {.type = KP_REG_SZ};
	int rc;

	skip_blanks(r);
	if (peek(r) != '=')
		return fail(r, "an equals sign was expected behind the name");
	r->at++;
	skip_blanks(r);
	if (!r->key)
		return fail(r, "a value before any key");
	if (peek(r) == '-') {
		r->at++;
		rc = line_done(r);
		return rc ? rc : said(r, name, r->sink->delete_value(r->sink->ctx, r->key, name));
	}
	if (peek(r) == '"') {
		r->at++;
		rc = quoted(r, &data);
	} else if (take(r, "dword:")) {
		rc = dword_value(r, &d, &data);
	} else if (take(r, "hex")) {
		rc = hex_value(r, &d, &data);
	} else {
		rc = fail(r, "a value was expected: a quoted text, dword:, hex: or -");
	}
	if (rc)
		return rc;
	d.data = data.data;
	d.len = data.len;
	rc = said(r, name, r->sink->set(r->sink->ctx, r->key, name, &d));
	return rc ? rc : line_done(r);
}

static int named_value(struct reader *r)
{
	struct kp_buf kp_autobuf name = {0};
	int rc;

	r->at++;
	rc = quoted(r, &name);
	if (!rc && strlen(name.data) != name.len)
		rc = fail(r, "a name with a zero byte");
	return rc ? rc : value(r, name.data);
}

/* --- lines --- */

/* The last bracket of the line ends the key: its name may hold others. */
static int key_line(struct reader *r)
{
	const char *start = ++r->at, *close = NULL;
	bool deletes = peek(r) == '-';
	kp_autofree char *key = NULL;
	int rc;

	for (; !at_line_end(r); r->at++)
		if (*r->at == ']')
			close = r->at;
	if (!close)
		return fail(r, "a bracket is missing at the end of a key");
	r->at = close + 1;
	start += deletes;
	key = kp_strndup(start, (size_t)(close - start));
	free(r->key);
	r->key = NULL;
	rc = line_done(r);
	if (rc)
		return rc;
	r->line--; /* for what the sink says */
	rc = said(r, key, deletes ? r->sink->delete_key(r->sink->ctx, key) : r->sink->key(r->sink->ctx, key));
	r->line++;
	if (!rc && !deletes)
		r->key = kp_take_ptr(key);
	return rc;
}

static int first_line(struct reader *r)
{
	while (skip_blanks(r), peek(r) >= 0 && at_line_end(r))
		skip_line(r);
	if (take(r, "Windows Registry Editor Version 5"))
		r->wide = true;
	else if (!take(r, "REGEDIT4"))
		return fail(r, "not a .reg file: it begins with neither 'Windows Registry Editor Version 5.00' nor 'REGEDIT4'");
	skip_line(r);
	return 0;
}

static int lines(struct reader *r)
{
	int rc = first_line(r);

	while (!rc && peek(r) >= 0) {
		skip_blanks(r);
		switch (peek(r)) {
		case -1: break;
		case '[': rc = key_line(r); break;
		case '"': rc = named_value(r); break;
		case '@':
			r->at++;
			rc = value(r, "");
			break;
		case ';':
		case '\r':
		case '\n': skip_line(r); break;
		default: rc = fail(r, "a key, a value or a comment was expected"); break;
		}
	}
	return rc;
}

int kp_regfile_read(const void *file_bytes, size_t len, const char *file, const struct kp_regfile_sink *sink, struct kp_err *err)
{
	const uint8_t *b = file_bytes;
	struct kp_buf kp_autobuf text = {0};
	struct kp_err own = {0};
	struct reader r = {.file = file, .line = 1, .sink = sink, .err = err ? err : &own};
	int rc;

	r.err->code = 0;
	kp_buf_add(&text, "", 0);
	if (len >= 2 && b[0] == 0xfe && b[1] == 0xff)
		return kp_fail(r.err, EINVAL, "%s: big-endian UTF-16: little-endian was expected", file);
	if (len >= 2 && ((b[0] == 0xff && b[1] == 0xfe) || (b[0] && !b[1]))) {
		size_t mark = b[0] == 0xff ? 2 : 0;

		(void)kp_utf16_to_text(b + mark, (len - mark) & ~(size_t)1, &text);
	} else if (len >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf) {
		kp_ansi_to_text((const char *)b + 3, len - 3, &text);
	} else {
		kp_ansi_to_text((const char *)b, len, &text);
	}
	r.at = text.data;
	r.end = text.data + text.len;
	rc = lines(&r);
	free(r.key);
	return rc;
}

/* --- where it goes --- */

static int tree_key(void *ctx, const char *key)
{
	return kp_hive_tree_key(ctx, key);
}

static int tree_delete_key(void *ctx, const char *key)
{
	return kp_hive_tree_delete_key(ctx, key);
}

static int tree_set(void *ctx, const char *key, const char *name, const struct kp_reg_data *data)
{
	return kp_hive_tree_set(ctx, key, name, data);
}

static int tree_delete_value(void *ctx, const char *key, const char *name)
{
	return kp_hive_tree_delete_value(ctx, key, name);
}

struct kp_regfile_sink kp_hive_tree_sink(struct kp_hive_tree *t)
{
	return (struct kp_regfile_sink){tree_key, tree_delete_key, tree_set, tree_delete_value, t};
}

static int txn_key(void *ctx, const char *key)
{
	return kp_reg_create_key(ctx, key);
}

static int txn_delete_key(void *ctx, const char *key)
{
	int rc = kp_reg_delete_key(ctx, key, true);

	return rc == -ENOENT ? 0 : rc;
}

static int txn_set(void *ctx, const char *key, const char *name, const struct kp_reg_data *data)
{
	return kp_reg_set(ctx, key, name, data);
}

static int txn_delete_value(void *ctx, const char *key, const char *name)
{
	int rc = kp_reg_delete_value(ctx, key, name);

	return rc == -ENOENT || rc == -ENODATA ? 0 : rc;
}

struct kp_regfile_sink kp_reg_txn_sink(struct kp_reg_txn *t)
{
	return (struct kp_regfile_sink){txn_key, txn_delete_key, txn_set, txn_delete_value, t};
}

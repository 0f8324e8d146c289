/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alternatives (editor, java, php, cc, ...): the links that update-alternatives would make. The calls are read out of the
 * maintainer scripts, which use little of the shell: assignments, `for` over words, continued lines. All branches are
 * taken; what names a file that is not there is dropped at the end.
 */
#include <ctype.h>

#include "packager/pack.h"

#define MAX_STEPS 20000
#define UNKNOWN '\001' /* stands for a value that only running the script would tell */

struct variable {
	char *name, *value;
};

struct script {
	struct pack *p;
	struct kp_strings lines; /* statements */
	struct variable *vars;
	size_t var_count;
	unsigned steps;
};

/* Statements: ended by newline or `;`, outside quotes; comments and continuations gone. */
static void split_statements(struct script *s, const char *text)
{
	kp_autobuf struct kp_buf b = {0};
	char quote = 0;

	for (const char *c = text; *c; c++) {
		if (c[0] == '\\' && c[1] == '\n') {
			kp_buf_puts(&b, " ");
			c++;
			continue;
		}
		if (c[0] == '#' && !quote && (!b.len || isspace((unsigned char)b.data[b.len - 1]))) {
			c += strcspn(c, "\n");
			if (!*c)
				break;
		}
		if (quote ? *c == quote : *c == '"' || *c == '\'')
			quote = quote ? 0 : *c;
		if ((*c == '\n' && quote != '"') || (*c == ';' && !quote)) {
			quote = 0;
			if (b.len)
				kp_strings_add(&s->lines, b.data);
			kp_buf_free(&b);
			continue;
		}
		kp_buf_add(&b, c, 1);
	}
	if (b.len)
		kp_strings_add(&s->lines, b.data);
}

static const char *get_var(const struct script *s, const char *name, size_t len)
{
	for (size_t i = 0; i < s->var_count; i++)
		if (strlen(s->vars[i].name) == len && !strncmp(s->vars[i].name, name, len))
			return s->vars[i].value;
	return NULL;
}

static void set_var(struct script *s, const char *name, size_t len, const char *value)
{
	for (size_t i = 0; i < s->var_count; i++) {
		if (strlen(s->vars[i].name) == len && !strncmp(s->vars[i].name, name, len)) {
			free(s->vars[i].value);
			s->vars[i].value = kp_strdup(value);
			return;
		}
	}
	s->vars = kp_realloc(s->vars, (s->var_count + 1) * sizeof(*s->vars));
	s->vars[s->var_count++] = (struct variable){kp_strndup(name, len), kp_strdup(value)};
}

static size_t name_len(const char *s)
{
	size_t n = 0;

	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return isdigit((unsigned char)s[0]) ? 0 : n;
}

/* Puts variables in; anything cleverer than $x and ${x} is unknown. */
static char *expand(const struct script *s, const char *text)
{
	static const char unknown[] = {UNKNOWN, '\0'};
	struct kp_buf b = {0};

	while (*text) {
		bool brace = text[0] == '$' && text[1] == '{';
		size_t len = text[0] == '$' ? name_len(text + 1 + brace) : 0;
		const char *end = text + 1 + brace + len, *value;

		if (text[0] == '`' || (text[0] == '$' && text[1] == '(')) {
			const char *stop = strchr(text + 1, text[0] == '`' ? '`' : ')');

			kp_buf_puts(&b, unknown);
			text = stop ? stop + 1 : text + strlen(text);
		} else if (text[0] == '$' && len && (!brace || *end == '}')) {
			value = get_var(s, text + 1 + brace, len);
			kp_buf_puts(&b, value ? value : unknown);
			text = end + brace;
		} else if (brace) {
			kp_buf_puts(&b, unknown);
			text += strcspn(text, "}");
			text += *text == '}';
		} else {
			kp_buf_add(&b, text++, 1);
		}
		if (b.len > 65536)
			break;
	}
	return b.len ? b.data : kp_strdup("");
}

/* Words of an expanded statement, quotes gone; words of nothing but unknown values are left out. */
static struct kp_strings words(const char *text)
{
	struct kp_strings list = {0};

	while (*(text += strspn(text, " \t\n"))) {
		kp_autobuf struct kp_buf b = {0};
		char quote = 0;

		for (; *text && (quote || !isspace((unsigned char)*text)); text++) {
			if (quote ? *text == quote : *text == '"' || *text == '\'')
				quote = quote ? 0 : *text;
			else
				kp_buf_add(&b, text, 1);
		}
		if (b.len && strspn(b.data, "\001") != b.len)
			kp_strings_add(&list, b.data);
	}
	return list;
}

static bool sound(char *const *w, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strchr(w[i], UNKNOWN) || strpbrk(w[i], "\t\n"))
			return false;
	return true;
}

/* Records: "LINK NAME PATH PRIORITY" in tabs, slaves under it with a leading tab. */
static void record(struct script *s, const struct kp_strings *w)
{
	bool open = false;
	size_t i = 0;

	while (i < w->count && strcmp(w->items[i], "update-alternatives") != 0 &&
	       strcmp(w->items[i], "/usr/bin/update-alternatives") != 0)
		i++;
	for (; i < w->count; i++) {
		if (!strcmp(w->items[i], "--install") && i + 4 < w->count && sound(w->items + i + 1, 4)) {
			kp_buf_printf(&s->p->scripts, "%s\t%s\t%s\t%s\n", w->items[i + 1], w->items[i + 2],
				      w->items[i + 3], w->items[i + 4]);
			open = true;
			i += 4;
		} else if (!strcmp(w->items[i], "--slave") && open && i + 3 < w->count &&
			   sound(w->items + i + 1, 3)) {
			kp_buf_printf(&s->p->scripts, "\t%s\t%s\t%s\n", w->items[i + 1], w->items[i + 2],
				      w->items[i + 3]);
			i += 3;
		}
	}
}

static bool starts(const char *line, const char *word)
{
	size_t len = strlen(word);

	return !strncmp(line, word, len) && (!line[len] || isspace((unsigned char)line[len]));
}

/* A statement without the keywords before it. */
static const char *strip(const char *line)
{
	static const char *const keywords[] = {"then", "do", "else", "elif", "if", "{", "!", "fi"};
	bool again = true;

	while (again) {
		again = false;
		line += strspn(line, " \t");
		for (size_t i = 0; i < KP_ARRAY_LEN(keywords); i++) {
			if (starts(line, keywords[i]) && line[strlen(keywords[i])]) {
				line += strlen(keywords[i]);
				again = true;
			}
		}
	}
	return line;
}

static size_t find_done(const struct script *s, size_t i, size_t end)
{
	int depth = 0;

	for (; i < end; i++) {
		const char *line = strip(s->lines.items[i]);

		if (starts(line, "for") || starts(line, "while") || starts(line, "until"))
			depth++;
		else if (starts(line, "done") && --depth == 0)
			return i;
	}
	return end;
}

static void interpret(struct script *s, size_t i, size_t end, int depth);

static void for_loop(struct script *s, const char *line, size_t i, size_t end, int depth)
{
	const char *name = line + 3 + strspn(line + 3, " \t");
	size_t len = name_len(name);
	const char *in = name + len + strspn(name + len, " \t");
	kp_autostrings struct kp_strings list = {0};
	kp_autofree char *text = NULL;

	if (!len || !starts(in, "in"))
		return;
	text = expand(s, in + 2);
	list = words(text);
	for (size_t w = 0; w < list.count; w++) {
		set_var(s, name, len, list.items[w]);
		interpret(s, i + 1, end, depth + 1);
	}
}

static void interpret(struct script *s, size_t i, size_t end, int depth)
{
	for (; i < end && s->steps < MAX_STEPS && depth < 8; i++) {
		const char *line = strip(s->lines.items[i]);
		kp_autofree char *text = NULL;
		kp_autostrings struct kp_strings w = {0};
		size_t len = name_len(line);

		s->steps++;
		if (starts(line, "for")) {
			size_t done = find_done(s, i, end);

			for_loop(s, line, i, done, depth);
			i = done;
		} else if (len && line[len] == '=') {
			text = expand(s, line + len + 1);
			w = words(text);
			set_var(s, line, len, w.count ? w.items[0] : "");
		} else if (strstr(line, "update-alternatives")) {
			text = expand(s, line);
			w = words(text);
			record(s, &w);
		}
	}
}

void alternatives_scan(struct pack *p, const char *script)
{
	struct script s = {.p = p};

	if (!strstr(script, "update-alternatives"))
		return;
	split_statements(&s, script);
	interpret(&s, 0, s.lines.count, 0);
	for (size_t i = 0; i < s.var_count; i++) {
		free(s.vars[i].name);
		free(s.vars[i].value);
	}
	free(s.vars);
	kp_strings_free(&s.lines);
}

struct choice {
	char *link, *name, *path; /* into the records */
	long priority;
};

static int make_link(struct pack *p, const struct choice *c, struct kp_err *err)
{
	kp_autofree char *etc = kp_asprintf("/etc/alternatives/%s", c->name), *norm = NULL;
	int rc;

	if (c->link[0] != '/' || strchr(c->name, '/') || kp_path_normalise(c->link, &norm) < 0 ||
	    !tree_has(p, c->path) || !norm[1])
		return 0;
	pack_note(p, "alternative %s -> %s", norm, c->path);
	rc = tree_add_link(p, etc, c->path, 0, err);
	return rc ? rc : tree_add_link(p, norm, etc, 0, err);
}

/* Fields of a record, split in place; false when there are fewer than n. */
static bool fields(char *line, char **ret, int n)
{
	for (int i = 0; i < n; i++) {
		if (!line)
			return false;
		ret[i] = strsep(&line, "\t");
	}
	return true;
}

int alternatives_make(struct pack *p, struct kp_err *err)
{
	kp_autofree char *text = kp_strdup(p->scripts.len ? p->scripts.data : "");
	kp_autofree struct choice *list = NULL;
	char *save = NULL, *f[4];
	size_t count = 0;
	int rc = 0, owner = -1;
	kp_autofree int *owners = NULL; /* the master of each entry, -1: it is one */

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool slave = line[0] == '\t';

		if (!fields(line + slave, f, slave ? 3 : 4))
			continue;
		list = kp_realloc(list, (count + 1) * sizeof(*list));
		owners = kp_realloc(owners, (count + 1) * sizeof(*owners));
		list[count] = (struct choice){f[0], f[1], f[2], slave ? 0 : strtol(f[3], NULL, 10)};
		owners[count] = slave ? owner : -1;
		if (!slave)
			owner = (int)count;
		count++;
	}
	for (size_t i = 0; !rc && i < count; i++) {
		bool best = owners[i] < 0 && list[i].path[0] == '/' && tree_has(p, list[i].path);

		for (size_t j = 0; best && j < count; j++)
			if (j != i && owners[j] < 0 && !strcmp(list[j].name, list[i].name) &&
			    tree_has(p, list[j].path) &&
			    (list[j].priority > list[i].priority || (list[j].priority == list[i].priority && j < i)))
				best = false;
		if (!best)
			continue;
		rc = make_link(p, &list[i], err);
		for (size_t j = i + 1; !rc && j < count && owners[j] == (int)i; j++)
			rc = make_link(p, &list[j], err);
	}
	return rc;
}

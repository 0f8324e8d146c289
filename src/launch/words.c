/* SPDX-License-Identifier: Apache-2.0 */
/* Splits KAPSEL_OPTS into words with a shell's quoting. */
#include "launch/args.h"

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* One word from *from to *to; both move on. False: a quote is open at the end. */
static bool take_word(const char **from, char **to)
{
	const char *p = *from;
	char *out = *to, quote = 0;

	for (; *p && (quote || !blank(*p)); p++) {
		if (quote) {
			if (*p == quote)
				quote = 0;
			else if (*p == '\\' && quote == '"' && p[1] && strchr("\"\\$`\n", p[1]))
				*out++ = *++p;
			else
				*out++ = *p;
		} else if (*p == '\'' || *p == '"') {
			quote = *p;
		} else if (*p == '\\') {
			if (!p[1])
				return false;
			*out++ = *++p;
		} else {
			*out++ = *p;
		}
	}
	*out++ = '\0';
	*from = p;
	*to = out;
	return !quote;
}

int kp_words_split(const char *text, char ***ret_words, size_t *ret_count, struct kp_err *err)
{
	size_t len = strlen(text), max = len / 2 + 2, count = 0;
	/* Words and their NULs never need more than the text and its end, twice over for empty words in quotes. */
	char **words = kp_calloc(1, max * sizeof(*words) + 2 * len + 2);
	char *out = (char *)(words + max);

	for (;;) {
		while (blank(*text))
			text++;
		if (!*text)
			break;
		words[count++] = out;
		if (!take_word(&text, &out)) {
			free(words);
			return kp_fail(err, EINVAL, "KAPSEL_OPTS: quote or backslash without an end");
		}
	}
	*ret_words = words;
	*ret_count = count;
	return 0;
}

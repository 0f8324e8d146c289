/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: verbs and options as tables; parsing, help, man pages and completions derived from them. */
#ifndef KAPSEL_LAUNCH_ARGS_H
#define KAPSEL_LAUNCH_ARGS_H

#include "base/base.h"

enum kp_option_flags {
	KP_OPT_REPEAT = 1 << 0, /* may be given more than once */
	KP_OPT_LATER = 1 << 1,  /* known, not in this version: refused */
	KP_OPT_START = 1 << 2,  /* settled when an instance starts: who joins it may only ask for the same */
	KP_OPT_FILE = 1 << 3,   /* its value begins with a host path, relative to the working directory */
};

struct kp_option {
	const char *name; /* without the dashes */
	char letter;      /* short form, or 0 */
	const char *arg;  /* placeholder of the value, or NULL: a flag */
	unsigned flags;
	const char *help;
};

enum kp_verb_flags {
	KP_VERB_PACK = 1 << 0,    /* done by kapsel-pack */
	KP_VERB_LATER = 1 << 1,   /* known, not in this version: refused */
	KP_VERB_COMMAND = 1 << 2, /* takes `-- CMD ARG...` */
	KP_VERB_SLASH = 1 << 3,   /* takes the options of Windows' reg.exe, too: /v, /ve, ... */
};

struct kp_args;

struct kp_verb {
	const char *name;
	int (*fn)(const struct kp_args *args, struct kp_err *err); /* exit status, or -errno with err set */
	unsigned flags;
	uint32_t powers; /* what is left to root: base/powers.h */
	int min_operands, max_operands;
	const char *usage; /* what follows the name */
	const char *help;
	const struct kp_option *options; /* ends with a NULL name; may be NULL */
};

struct kp_given {
	const struct kp_option *option;
	const char *value; /* NULL for a flag */
};

struct kp_args {
	const struct kp_verb *verb;
	struct kp_given *given;
	size_t given_count;
	const char **operands; /* NULL-terminated */
	size_t operand_count;
	char **command; /* what follows `--`; NULL when there was no `--` */
	size_t command_count;
	bool help;
};

/* Sorts argv[0..argc) (what follows the verb) into ret_args; strings are borrowed. 0 or -EINVAL. */
int kp_args_parse(const struct kp_verb *verb, int argc, char **argv, struct kp_args *ret_args, struct kp_err *err);
void kp_args_free(struct kp_args *args);
#define kp_autoargs __attribute__((cleanup(kp_args_free)))
/* The last value given for an option; NULL when absent (a flag that was given: ""). */
const char *kp_args_get(const struct kp_args *args, const char *name);
/* All values given for it, in order: an array to free, of borrowed strings. */
const char **kp_args_values(const struct kp_args *args, const char *name, size_t *ret_count);
/* What was asked for with KP_OPT_START options, a line each ("--bind=/a:/b"), paths absolute. Caller frees. */
char *kp_args_settled(const struct kp_args *args);
bool kp_args_has(const struct kp_args *args, const char *name);
/* A decimal number from min to max. 0 or -EINVAL naming the option. */
int kp_args_number(const char *name, const char *text, long min, long max, long *ret_value, struct kp_err *err);

/* Splits as a shell would: blanks, '...', "...", backslash; nothing is expanded. Words are allocated as one
 * block with the array: free(*ret_words). 0 or -EINVAL. */
int kp_words_split(const char *text, char ***ret_words, size_t *ret_count, struct kp_err *err);

/* Derived texts; verbs ends with a NULL name. */
void kp_doc_help(const struct kp_verb *verbs, FILE *out);
void kp_doc_verb_help(const struct kp_verb *verb, FILE *out);
void kp_doc_man(const struct kp_verb *verbs, const struct kp_verb *verb, FILE *out); /* verb NULL: kapsel(1) */
int kp_doc_completion(const struct kp_verb *verbs, const char *shell, FILE *out, struct kp_err *err);

#endif

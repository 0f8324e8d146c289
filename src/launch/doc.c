/* SPDX-License-Identifier: Apache-2.0 */
/* Help, man pages and shell completions, from the tables of verbs and options. */
#include "launch/args.h"

static bool listed(const struct kp_verb *v)
{
	return !(v->flags & KP_VERB_LATER);
}

void kp_doc_help(const struct kp_verb *verbs, FILE *out)
{
	(void)fputs("usage: kapsel COMMAND [OPTIONS] ...\n\nApplications in one file, run anywhere, without install.\n\n", out);
	for (const struct kp_verb *v = verbs; v->name; v++)
		if (listed(v))
			(void)fprintf(out, "  %-9s %s\n", v->name, v->help);
	(void)fputs("\nkapsel COMMAND --help explains a command; --version names this version.\n"
		    "Exit status: the program's own; 128+N when signal N ended it; 125 kapsel failed;\n"
		    "126 found, not executable; 127 not found.\n", out);
}

static void option_text(const struct kp_option *o, char *buf, size_t size)
{
	if (o->letter)
		(void)snprintf(buf, size, "-%c, --%s%s%s", o->letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	else
		(void)snprintf(buf, size, "    --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
}

#define HELP_AT 33    /* column where the text of an option begins */
#define HELP_WIDTH 100 /* of the whole */

/* From column HELP_AT on, over as many lines as it takes. */
static void put_wrapped(const char *text, FILE *out)
{
	size_t room = HELP_WIDTH - HELP_AT;

	while (strlen(text) > room) {
		size_t len = room;

		while (len > 0 && text[len] != ' ')
			len--;
		if (!len)
			len = strcspn(text, " ");
		(void)fprintf(out, "%.*s\n%*s", (int)len, text, HELP_AT, "");
		text += len;
		text += strspn(text, " ");
	}
	(void)fprintf(out, "%s\n", text);
}

void kp_doc_verb_help(const struct kp_verb *v, FILE *out)
{
	char text[128];

	(void)fprintf(out, "usage: kapsel %s %s\n\n%s%s\n\n", v->name, v->usage, v->help,
		      listed(v) ? "" : " (not in this version)");
	for (const struct kp_option *o = v->options; o && o->name; o++) {
		if (o->flags & KP_OPT_LATER)
			continue;
		kp_autofree char *help = kp_asprintf("%s%s", o->help, o->flags & KP_OPT_REPEAT ? " (repeatable)" : "");

		option_text(o, text, sizeof(text));
		(void)fprintf(out, "  %-30s ", text);
		if (strlen(text) > HELP_AT - 3)
			(void)fprintf(out, "\n%*s", HELP_AT, "");
		put_wrapped(help, out);
	}
	(void)fprintf(out, "  %-30s %s\n", "    --help", "show this text");
}

/* Text for troff: no line starts a request, no dash is a hyphen. */
static void roff(FILE *out, const char *s)
{
	if (*s == '.' || *s == '\'')
		(void)fputs("\\&", out);
	for (; *s; s++) {
		if (*s == '-')
			(void)fputs("\\-", out);
		else if (*s == '\\')
			(void)fputs("\\e", out);
		else
			(void)fputc(*s, out);
	}
}

static void man_head(FILE *out, const char *title, const char *name, const char *help)
{
	(void)fprintf(out, ".TH %s 1 \"\" \"kapsel %s\" \"User commands\"\n.SH NAME\n", title, KP_VERSION);
	roff(out, name);
	(void)fputs(" \\- ", out);
	roff(out, help);
	(void)fputs("\n.SH SYNOPSIS\n", out);
}

static void man_tail(FILE *out)
{
	(void)fputs(".SH EXIT STATUS\nThe program's own; 128+N when signal N ended it; 125 kapsel itself failed; "
		    "126 found, not executable; 127 not found.\n.SH SEE ALSO\n.BR kapsel (1)\n", out);
}

static void man_verb(const struct kp_verb *v, FILE *out)
{
	kp_autofree char *title = kp_asprintf("KAPSEL-%s", v->name), *name = kp_asprintf("kapsel-%s", v->name);
	char text[128];

	for (char *p = title; *p; p++)
		if (*p >= 'a' && *p <= 'z')
			*p -= 'a' - 'A';
	man_head(out, title, name, v->help);
	(void)fprintf(out, ".B kapsel %s\n", v->name);
	roff(out, v->usage);
	(void)fputs("\n.SH OPTIONS\n", out);
	for (const struct kp_option *o = v->options; o && o->name; o++) {
		if (o->flags & KP_OPT_LATER)
			continue;
		option_text(o, text, sizeof(text));
		(void)fputs(".TP\n", out);
		roff(out, text + strspn(text, " "));
		(void)fputc('\n', out);
		roff(out, o->help);
		(void)fputs(o->flags & KP_OPT_REPEAT ? " (repeatable)\n" : "\n", out);
	}
	(void)fputs(".TP\n\\-\\-help\nshow a short text\n", out);
	man_tail(out);
}

void kp_doc_man(const struct kp_verb *verbs, const struct kp_verb *verb, FILE *out)
{
	if (verb) {
		man_verb(verb, out);
		return;
	}
	man_head(out, "KAPSEL", "kapsel", "applications in one file, run anywhere, without install");
	(void)fputs(".B kapsel\nCOMMAND [OPTIONS] ...\n.SH COMMANDS\n", out);
	for (const struct kp_verb *v = verbs; v->name; v++) {
		if (!listed(v))
			continue;
		(void)fprintf(out, ".TP\n.BR kapsel\\-%s (1)\n", v->name);
		roff(out, v->help);
		(void)fputc('\n', out);
	}
	(void)fputs(".SH ENVIRONMENT\n.TP\nKAPSEL_OPTS\noptions of kapsel run, for an image that is started as a program\n"
		    ".TP\nKAPSEL_STORE\ndirectory of the object store\n.TP\nKAPSEL_DEBUG\n"
		    "areas to report on; \"help\" lists them\n", out);
	man_tail(out);
}

static void bash(const struct kp_verb *verbs, FILE *out)
{
	(void)fputs("_kapsel()\n{\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} words\n\tif ((COMP_CWORD == 1)); then\n\t\twords='",
		    out);
	for (const struct kp_verb *v = verbs; v->name; v++)
		if (listed(v))
			(void)fprintf(out, "%s ", v->name);
	(void)fputs("--help --version'\n\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n\t\treturn\n\tfi\n"
		    "\tcase ${COMP_WORDS[1]} in\n", out);
	for (const struct kp_verb *v = verbs; v->name; v++) {
		if (!listed(v))
			continue;
		(void)fprintf(out, "\t%s) words='--help", v->name);
		for (const struct kp_option *o = v->options; o && o->name; o++)
			if (!(o->flags & KP_OPT_LATER))
				(void)fprintf(out, " --%s", o->name);
		(void)fputs("' ;;\n", out);
	}
	(void)fputs("\t*) words= ;;\n\tesac\n\tif [[ $cur == -* ]]; then\n"
		    "\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
		    "\telse\n\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n\tfi\n}\n"
		    "complete -o filenames -F _kapsel kapsel\n", out);
}

/* Option help inside zsh's [...] and single quotes. */
static void zsh_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'')
			(void)fputs("'\\''", out);
		else if (strchr("[]:\\", *s))
			(void)fprintf(out, "\\%c", *s);
		else
			(void)fputc(*s, out);
	}
}

static void zsh(const struct kp_verb *verbs, FILE *out)
{
	(void)fputs("#compdef kapsel\nlocal -a commands=(\n", out);
	for (const struct kp_verb *v = verbs; v->name; v++) {
		if (!listed(v))
			continue;
		(void)fprintf(out, "\t'%s:", v->name);
		zsh_text(out, v->help);
		(void)fputs("'\n", out);
	}
	(void)fputs(")\nif ((CURRENT == 2)); then\n\t_describe command commands\n\treturn\nfi\ncase $words[2] in\n", out);
	for (const struct kp_verb *v = verbs; v->name; v++) {
		if (!listed(v))
			continue;
		(void)fprintf(out, "%s) _arguments", v->name);
		for (const struct kp_option *o = v->options; o && o->name; o++) {
			if (o->flags & KP_OPT_LATER)
				continue;
			(void)fprintf(out, " '%s--%s[", o->flags & KP_OPT_REPEAT ? "*" : "", o->name);
			zsh_text(out, o->help);
			(void)fputs("]", out);
			if (o->arg) {
				(void)fputs(":", out);
				zsh_text(out, o->arg);
				(void)fputs(":_files", out);
			}
			(void)fputs("'", out);
		}
		(void)fputs(" '*:file:_files' ;;\n", out);
	}
	(void)fputs("esac\n", out);
}

static void fish_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			(void)fputc('\\', out);
		(void)fputc(*s, out);
	}
}

static void fish(const struct kp_verb *verbs, FILE *out)
{
	for (const struct kp_verb *v = verbs; v->name; v++) {
		if (!listed(v))
			continue;
		(void)fprintf(out, "complete -c kapsel -n __fish_use_subcommand -f -a %s -d '", v->name);
		fish_text(out, v->help);
		(void)fputs("'\n", out);
		for (const struct kp_option *o = v->options; o && o->name; o++) {
			if (o->flags & KP_OPT_LATER)
				continue;
			(void)fprintf(out, "complete -c kapsel -n '__fish_seen_subcommand_from %s' -l %s", v->name, o->name);
			if (o->letter)
				(void)fprintf(out, " -s %c", o->letter);
			(void)fprintf(out, "%s -d '", o->arg ? " -r" : "");
			fish_text(out, o->help);
			(void)fputs("'\n", out);
		}
	}
}

int kp_doc_completion(const struct kp_verb *verbs, const char *shell, FILE *out, struct kp_err *err)
{
	if (!strcmp(shell, "bash"))
		bash(verbs, out);
	else if (!strcmp(shell, "zsh"))
		zsh(verbs, out);
	else if (!strcmp(shell, "fish"))
		fish(verbs, out);
	else
		return kp_fail(err, EINVAL, "%s: no completion: bash, zsh and fish are known", shell);
	return 0;
}

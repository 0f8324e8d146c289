/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel-pack: the verbs of kapsel that build images. */
#include <locale.h>

#include "base/powers.h"
#include "packager/pack.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	uint32_t powers;
	const char *help;
} verbs[] = {
	{"pack", cmd_pack, KP_POWERS_WRITE, "build an image from a manifest"},
	{"export-tree", cmd_export_tree, KP_POWERS_WRITE, "for 'kapsel export'"},
	{"import-tree", cmd_import_tree, KP_POWERS_COPY, "for 'kapsel import'"},
};

static void usage(FILE *out)
{
	fprintf(out, "usage: kapsel VERB [ARG...]\n\nThe verbs of kapsel-pack:\n");
	for (size_t i = 0; i < KP_ARRAY_LEN(verbs); i++)
		fprintf(out, "  %-12s %s\n", verbs[i].name, verbs[i].help);
	fprintf(out, "\n'kapsel VERB --help' explains one.\n");
}

int main(int argc, char **argv)
{
	struct kp_err err = {0};

	/* libarchive converts names by the locale; a name must come through as it is. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		(void)setlocale(LC_CTYPE, "");
	if (kp_debug_init())
		return 0;
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))) {
		usage(stdout);
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("kapsel-pack %s\n", KP_VERSION);
		return 0;
	}
	for (size_t i = 0; argc > 1 && i < KP_ARRAY_LEN(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name)) {
			if (!kp_powers_keep(verbs[i].powers, &err))
				return verbs[i].run(argc - 1, argv + 1);
			fprintf(stderr, "kapsel: %s\n", err.text);
			return KP_EXIT_FAILED;
		}
	if (argc < 2)
		fprintf(stderr, "kapsel: kapsel-pack: no verb given: pack was expected\n");
	else
		fprintf(stderr, "kapsel: %s: no verb of kapsel-pack: pack was expected\n", argv[1]);
	fprintf(stderr, "hint: kapsel-pack --help\n");
	return KP_EXIT_FAILED;
}

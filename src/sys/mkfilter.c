/* SPDX-License-Identifier: Apache-2.0 */
/* Runs at build time: prints the filter as a C file. */
#include <stdio.h>
#include <stdlib.h>

#include "sys/filter.h"

int main(void)
{
	struct sock_filter *code;
	struct kp_err err = {0};
	unsigned short len;

	if (kp_filter_build(&code, &len, &err)) {
		fprintf(stderr, "mkfilter: %s\n", err.text);
		return EXIT_FAILURE;
	}
	printf("/* Made by mkfilter from syscalls.def. */\n#include \"sys/filter.h\"\n\n");
	printf("const unsigned short kp_filter_len = %u;\nconst struct sock_filter kp_filter_code[] = {\n", len);
	for (unsigned i = 0; i < len; i++)
		printf("\t{0x%x, %u, %u, 0x%x},\n", code[i].code, code[i].jt, code[i].jf, code[i].k);
	printf("};\n");
	free(code);
	return ferror(stdout) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

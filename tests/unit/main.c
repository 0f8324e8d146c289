/* SPDX-License-Identifier: Apache-2.0 */
/* The one Check runner: CK_RUN_SUITE=NAME runs one suite, CK_FORK=no helps under gdb. */
#include <stdlib.h>

#include "tests/unit/suites.h"


static Suite *(*const suites[])(void) = {
#define SUITE(name) name,
#include "tests/unit/suites.def"
#undef SUITE
};

int main(void)
{
	SRunner *runner = srunner_create(NULL);
	int failed;

	(void)setenv("CK_DEFAULT_TIMEOUT", "300", 0); /* seconds: a hang is found, a busy machine is none */

	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		srunner_add_suite(runner, suites[i]());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

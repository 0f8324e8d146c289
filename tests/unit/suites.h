/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KAPSEL_TESTS_UNIT_SUITES_H
#define KAPSEL_TESTS_UNIT_SUITES_H

#include <check.h>

/* Each test_<module>.c defines Suite *test_<module>(void) and stands in suites.def. */
#define SUITE(name) Suite *name(void);
#include "tests/unit/suites.def"
#undef SUITE

#endif

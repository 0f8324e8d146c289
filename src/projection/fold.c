/* SPDX-License-Identifier: Apache-2.0 */
/* Folds names where src/registry is not linked in: ASCII only. */
#include <ctype.h>

#include "projection/internal.h"

__attribute__((weak)) char *kp_reg_fold(const char *name)
{
	char *folded = kp_strdup(name);

	for (char *c = folded; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return folded;
}

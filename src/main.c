/* SPDX-License-Identifier: Apache-2.0 */
/* Placeholder entry until the verb table lands. */
#include "base/base.h"

int main(void)
{
	return KP_EXIT_FAILED;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that are errors waiting to happen do not compile. */
#ifndef KAPSEL_BANNED_H
#define KAPSEL_BANNED_H

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets mktemp tmpnam

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Files that an exported instance has beside its own: the launcher and the packager agree on them. */
#ifndef KAPSEL_CARRIED_H
#define KAPSEL_CARRIED_H

#define KP_CARRIED_HEADER "kapsel-instance" /* the first: "FORMAT NAME\n"; unpacked, its name begins with a dot */
#define KP_CARRIED_AGAINST "against"        /* what the changes were made against, where nothing else is carried (changes/against.c) */
#define KP_CARRIED_AGAINST_MAX (256U << 20)

#endif

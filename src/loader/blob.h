/* SPDX-License-Identifier: Apache-2.0 */
/* The loader's ELF file, embedded in the launcher. Where it is placed as a file, its mode is 0555. */
#ifndef KAPSEL_LOADER_BLOB_H
#define KAPSEL_LOADER_BLOB_H

extern const unsigned char kp_loader_start[], kp_loader_end[];

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A small image in memory, for the tests of image/ and store/. */
#ifndef KAPSEL_TESTS_UNIT_IMAGE_FIXTURE_H
#define KAPSEL_TESTS_UNIT_IMAGE_FIXTURE_H

#include "image/image.h"
#include "image/writer.h"

/* Directories, links, equal files, a hard link, zero blocks, several blocks with a tail. */
struct kp_tree *fixture_tree(void);
/* Written to a memfd; jobs compressor threads. */
int fixture_write(const struct kp_tree *tree, unsigned jobs);
struct kp_image *fixture_open(int fd);
/* What the fixture's /data/big holds. */
#define FIXTURE_BIG_SIZE 700001U
#define FIXTURE_SPARSE_SIZE (4U << 20)
uint8_t fixture_byte(size_t i);

#endif

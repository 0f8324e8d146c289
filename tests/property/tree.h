/* SPDX-License-Identifier: Apache-2.0 */
/* A whole tree as text: what any program could tell of it. */
#ifndef TESTS_PROPERTY_TREE_H
#define TESTS_PROPERTY_TREE_H

#include <stdio.h>
#include <sys/stat.h>

/* Times of things made or changed in this run are not the same in two runs; those set by a call, or by the fixture, are. */
#define RUN_BEGAN 1500000000

/* type, permissions, size, links, owner, time of last change: one line without its end */
void print_stat(FILE *to, const struct stat *st);
unsigned long hash_fd(int fd); /* of the contents, from the beginning */
/* names of a directory with their types, sorted; complains where d_ino is not st_ino */
void print_names(int dirfd);
void print_tree(FILE *to, const char *path);
unsigned long hash_tree(const char *path); /* of what print_tree would print */

#endif

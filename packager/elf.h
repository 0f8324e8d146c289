/* SPDX-License-Identifier: Apache-2.0 */
/* What a program of the host needs: read from its headers, found as its loader would. */
#ifndef KAPSEL_PACKAGER_ELF_H
#define KAPSEL_PACKAGER_ELF_H

#include "packager/pack.h"

struct elf_facts {
	bool is_elf;
	int class, machine;       /* ELFCLASS*, EM_* */
	char *interp, *interp_arg; /* PT_INTERP, or the program of a #! line and its argument */
	char *rpath, *runpath;
	struct kp_strings needed;
};

/* Reads the headers of a host file. Neither ELF nor script: is_elf false, interp NULL. 0 or -errno with err. */
int elf_read(const char *host_path, struct elf_facts *ret, struct kp_err *err);
void elf_facts_free(struct elf_facts *f);

/* The host's /etc/ld.so.cache: name to path, as ldconfig left it. */
struct ld_cache {
	char *data;
	size_t len;
};
void ld_cache_open(struct ld_cache *c, const char *path);
/* Each path that the cache has for a name, in its order; index counts from 0. NULL: no more. */
const char *ld_cache_find(const struct ld_cache *c, const char *name, size_t index);

/* Finds a library as the loader of `by` (at host path `by_path`) would; above are the run paths of those who loaded
 * it (DT_RPATH is inherited). Caller frees *ret. 0 or -ENOENT. */
int elf_search(const struct ld_cache *cache, const struct elf_facts *by, const char *by_path,
	       const struct kp_strings *above, const char *name, bool musl, char **ret);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the exec loader and the supervisor say to each other, and the addresses both know.
 *
 * Every execve of a guest becomes an execve of the loader (same argv, same envp). The loader is a static ET_EXEC,
 * linked at KP_LOADER_BASE, freestanding. Its first act is syscall(KP_NR_START, &start, sizeof(start), N), N being which program its own
 * name says (KP_SCRATCH_LOADER): the supervisor fills the struct and answers with a descriptor: of what is mapped, for reading, at
 * KP_SCRATCH_BASE, and behind it, with fast, what guests read themselves. The call exists nowhere else; without an exec under way it is ENOSYS.
 */
#ifndef KAPSEL_START_H
#define KAPSEL_START_H

#include <stdint.h>

/* Not a kernel number on any architecture (and no x32 bit). */
#define KP_NR_START 0x6b70

/* mseal: newer than the headers. */
#define KP_NR_MSEAL 462

/* In every sanitizer's high application range, far below mmap's top-down area. */
#define KP_LOADER_BASE 0x7ea000000000ULL

/* Every guest has this area mapped, one memory for all, which the supervisor alone can write: here it puts the strings of rewritten calls (slot
 * by slot: a slot belongs to one rewritten call at a time), and no thread of the guest's writes over them before the kernel reads them.
 * The loader seals the mapping (mseal, Linux 6.10): it stays. */
#define KP_SCRATCH_BASE 0x7ea000100000ULL
#define KP_SCRATCH_SLOT 8192U
#define KP_SCRATCH_SLOTS 510U /* taken in turn: a slot let go is read by the kernel a moment longer */
#define KP_SCRATCH_SIZE (KP_SCRATCH_SLOT * (KP_SCRATCH_SLOTS + 2))

/* The last two hold the exec loader's host path for ever, spelled in as many ways as there are names: with N times "./" before its last part it
 * says that known program N is wanted, with none, what has been settled. What the gate lets through is an execve of one of these (kapsel/fast.h).
 * Empty where it could not be sealed, and where no program has that number. */
#define KP_SCRATCH_LOADER (KP_SCRATCH_BASE + KP_SCRATCH_SLOT * KP_SCRATCH_SLOTS)
#define KP_LOADER_NAME 256U
#define KP_LOADER_NAMES (2 * KP_SCRATCH_SLOT / KP_LOADER_NAME)
_Static_assert(KP_SCRATCH_LOADER % (KP_LOADER_NAME * KP_LOADER_NAMES) == 0, "the filter looks at its bits");

/* A page below the scratch holds what /proc must say of this process image. It is in the guest's hands: a guest
 * can lie here only about itself. */
#define KP_IDENT_BASE (KP_SCRATCH_BASE - 0x2000ULL)
#define KP_IDENT_MAGIC 0x7470616b6b706c31ULL
struct kp_ident {
	uint64_t magic;
	uint64_t near;  /* fast path: the page of slots near the libraries; 0: none */
	uint32_t near_used;
	int32_t pid; /* of who ran the program; what a child has of this is a copy, or, after vfork, the very same memory */
	int32_t dumpable; /* what PR_GET_DUMPABLE says; to the kernel guests always are, or the supervisor could not read them */
	uint32_t reserved;
	char exe[4096]; /* guest path of the running program, NUL-terminated */
};

/* A file's number, which its call sites are known by (kapsel/fast.h), its size in bytes, and its device: a copy of its code is not another's. */
struct kp_start_file {
	uint64_t ino, size, dev;
};

#define KP_START_STRINGS 20480U
struct kp_start {
	int32_t program_fd;  /* ELF to run; the loader closes it. -1: it opens it itself, at program_off */
	int32_t interp_fd;   /* the same of its PT_INTERP */
	uint32_t has_interp; /* 0: static */
	uint32_t argv_drop;  /* how many of the caller's argv entries to drop from the front (scripts: 1) */
	uint32_t argv_count; /* how many strings to put in their place */
	uint32_t execfn_off; /* offsets into strings: AT_EXECFN, the program's canonical guest path, comm */
	uint32_t exe_off;
	uint32_t comm_off;
	uint32_t program_off, interp_off; /* host paths, opened at the gate */
	uint32_t argv_off;   /* argv_count strings one after the other, each NUL-terminated */
	uint32_t strings_len;
	int32_t dumpable;    /* what it begins with */
	uint32_t fast;       /* is the fast path's cache behind the scratch? */
	int32_t pid;
	struct kp_start_file program, interp; /* with fast */
	char strings[KP_START_STRINGS];
};

#endif

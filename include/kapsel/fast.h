/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast path: what the supervisor writes and the stub in a guest's process reads (docs/FAST.md). One memfd per run, writable only
 * by the supervisor, mapped by the exec loader at KP_FAST_BASE; stub and gate are part of the loader, at fixed addresses.
 */
#ifndef KAPSEL_FAST_H
#define KAPSEL_FAST_H

#include <stdint.h>

#include "kapsel/start.h"

/* "syscall; ret" in the loader's text: what the filter sees of a call made there is the address behind the instruction. */
#define KP_GATE (KP_LOADER_BASE + 0x100)
#define KP_GATE_IP (KP_GATE + 2)
/* The same, where the filter lets nothing through: the supervisor knows by the address that the stub asks. */
#define KP_ASK (KP_LOADER_BASE + 0x108)
#define KP_ASK_IP (KP_ASK + 2)
#define KP_STUB_ENTRY (KP_LOADER_BASE + 0x110)

/* The answer to an execve asked for there: all is prepared, and the gate lets the stub execute the exec loader. */
#define KP_EXEC_READY 1

/* Right behind the scratch, in one mapping and one memfd with it. */
#define KP_FAST_BASE (KP_SCRATCH_BASE + KP_SCRATCH_SIZE)
#define KP_FAST_MAGIC 0x3174736166706b6bULL

enum kp_fast_kind {
	KP_FAST_ABSENT = 1, /* ENOENT; with a host path: where guests may have made it, the kernel is asked */
	KP_FAST_RECORD,     /* an image's: all that stat says is in the entry */
	KP_FAST_PLAIN,      /* the instance's, without a record: the kernel is asked at the host path */
	KP_FAST_NOTED,      /* the instance's file with a record: mode, owner and number are the entry's */
	KP_FAST_DIR,        /* the same of a directory */
	KP_FAST_CWD,        /* a directory's name, for who is in it */
};

/* What an open at the gate may be: it reads and makes nothing. O_CLOEXEC, O_LARGEFILE, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY, O_DIRECTORY. */
#define KP_GATE_OPEN_FLAGS (02000000 | 0100000 | 0400000 | 04000 | 0400 | 0200000)

/* The same of one that makes a file, which must not be there: O_CREAT and O_EXCL, and how it may be used. No bits but those of rwx, and its owner can
 * read and write it: no other mode needs a record. */
#define KP_GATE_MAKES (0100 | 0200)
#define KP_GATE_MAKE_FLAGS (KP_GATE_MAKES | 02000000 | 0100000 | 0400000 | 04000 | 02000 | 0400 | 01 | 02)
#define KP_GATE_MAKE_MODE 0777
#define KP_GATE_MAKE_OWNER 0600

/* In perm, beside R_OK, W_OK and X_OK: a file that can be opened at the host path in text; a directory that may be gone through, in which nothing
 * lies but what the instance has, so that the kernel can be asked for any name in it, at the host path in text; and made there a file that is not. */
#define KP_FAST_OPEN 8
#define KP_FAST_ALONE 16
#define KP_FAST_MAKE 32

/* Links in the last component: an entry may hold for calls that follow them, for those that do not, or for both. */
enum { KP_FAST_FOLLOW = 1, KP_FAST_NOFOLLOW = 2, KP_FAST_GETCWD = 4 };

/* An entry, as long as it is the same one. */
struct kp_fast_ref {
	uint32_t at; /* 0: none */
	uint32_t seq;
};

/* Who executes a path executes that name of the exec loader (KP_SCRATCH_LOADER), while the entry of the interpreter's name holds. */
struct kp_fast_program {
	uint32_t number; /* 0: the supervisor is asked */
	struct kp_fast_ref interp;
};

#define KP_FAST_INO_UPPER (1ULL << 56) /* in the numbers of what the instance has */
#define KP_FAST_DEAD 0x40000000U /* FUTEX_OWNER_DIED */

#define KP_FAST_TEXT 216U
struct kp_fast_entry {
	uint32_t seq; /* odd while it is written */
	uint32_t hash;
	uint32_t all, name; /* hold while the counters are these */
	uint32_t dirs; /* the same of a path that led through links or dots; 0: it is the directory's name and what follows */
	uint32_t name_slot;
	uint16_t path_len;
	uint8_t kind, calls;
	uint64_t dev, ino; /* of the real directory that a relative path starts from; absolute paths: 0 */
	uint32_t mode, nlink, uid, gid;
	uint64_t st_ino, size;
	int64_t mtime;
	uint8_t perm;       /* R_OK | W_OK | X_OK that access() grants, KP_FAST_OPEN */
	uint8_t has_target; /* a symlink's target is in text */
	uint16_t second;    /* where in text the host path or the target begins; 0: there is none */
	struct kp_fast_program program;
	char text[KP_FAST_TEXT]; /* the path as given, NUL, the other, NUL */
};
_Static_assert(sizeof(struct kp_fast_entry) == 320, "five cache lines");

/* Where a thread is: the real directory that its relative paths start from. Holds while nobody has moved since. */
struct kp_fast_place {
	uint32_t seq; /* odd while it is written */
	uint32_t tid, moved;
	uint32_t reserved;
	uint64_t dev, ino;
};
#define KP_FAST_PLACES 64U /* a thread's is the one of its number modulo this */

/* Call sites that are known to be such, by the file that the code is of, and the call's number. Files and places are added, never changed. */
#define KP_SITES_FILES 32U
#define KP_SITES_EACH 24U
struct kp_site {
	uint64_t offset; /* in the file, behind the syscall instruction */
	uint32_t nr, reserved; /* of the call; KP_SITE_ANY: whichever the caller says, libc's syscall() */
};
#define KP_SITE_ANY UINT32_MAX
/* A copy of a file's code in which places are jumps. The same for all copies of that file, but for the number of places. */
#define KP_PREPARED_PATH 192U
struct kp_prepared {
	uint64_t dev;                /* of the file: another may have that number elsewhere, and other code */
	uint64_t text_off, text_len; /* the pages that are mapped from the copy in place of the file's, at the same offset in it */
	uint64_t slots_off, below;   /* its page of slots, which is mapped so many bytes before those */
	char path[KP_PREPARED_PATH]; /* the copy's host path, which ends with `prepared` as a number */
};
struct kp_sites_file {
	uint64_t ino;
	uint32_t count;
	uint32_t prepared; /* there is a copy in which the first so many places are jumps; 0: none. `copy` is set before */
	struct kp_prepared copy;
	struct kp_site place[KP_SITES_EACH];
};

#define KP_FAST_DIRS 256U
#define KP_FAST_WAYS 8U
#define KP_FAST_SETS 16384U
#define KP_FAST_ENTRIES (KP_FAST_SETS * KP_FAST_WAYS)
/* Counters: first those of inodes; then each directory has a page of them, which others may have, too, for the names in it: what is made in one is
 * no reason to ask again for names in another, and memory is used by directory. */
#define KP_FAST_INODES 131072U
#define KP_FAST_DIR_NAMES 1024U
#define KP_FAST_NAMES 4194304U
struct kp_fast {
	uint64_t magic;
	uint32_t on;
	uint32_t all;  /* moves when directories or links change, or whatever may concern other names */
	uint32_t dirs; /* moves, too, when an empty directory goes; odd */
	uint64_t st_dev; /* what guests see */
	uint32_t moved;  /* moves before any thread goes to another directory */
	uint32_t placed; /* what that was when a place was written last */
	uint32_t site_files;
	uint32_t settles; /* every execve is asked of the supervisor: somebody is to see it */
	uint32_t makes;   /* guests may make files (KP_FAST_MAKE), while the supervisor lives */
	uint64_t pipe_dev; /* of pipes that have no name */
	uint64_t reserved2;
	char dirs_path[KP_FAST_DIRS]; /* where directories' stand-ins are; "": too long */
	struct kp_sites_file sites[KP_SITES_FILES];
	struct kp_fast_place places[KP_FAST_PLACES];
	uint32_t names[KP_FAST_NAMES]; /* each moves when a name or an inode of its hash changes */
	uint32_t index[KP_FAST_SETS][KP_FAST_WAYS]; /* which entries, taken one after the other: memory is used as they are */
	struct kp_fast_entry entries[KP_FAST_ENTRIES]; /* the first is nobody's */
	/* The beginning of a robust mutex that the supervisor holds: when it is gone, also killed, the kernel says so in the first word (KP_FAST_DEAD), before
	 * any call finds nobody to answer it. The rest, its place in a list, lies on a page of the supervisor's own behind this. */
	_Alignas(4096) uint8_t unused[4096 - 24];
	uint32_t alive[6];
};
_Static_assert(sizeof(struct kp_fast) % 4096 == 0, "whole pages");

static inline uint64_t kp_fast_mix(uint64_t h, uint8_t byte)
{
	return (h ^ byte) * 0x100000001b3ULL;
}
#define KP_FAST_SEED 0xcbf29ce484222325ULL

/* From the hash of the path's bytes and the directory it starts from. */
static inline uint64_t kp_fast_key(uint64_t h, uint64_t dev, uint64_t ino)
{
	h ^= (ino ^ dev << 48) * 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

/* Which counter an inode's is. */
static inline uint32_t kp_fast_inode_slot(uint64_t dev, uint64_t ino)
{
	return (uint32_t)(kp_fast_key(KP_FAST_SEED, dev, ino) >> 8) % KP_FAST_INODES;
}

/* --- call sites --- */

/* A page near the libraries, filled slot by slot by the supervisor: a patched call site jumps to its own slot. The first word is the
 * address of the stub. */
#define KP_NEAR_SIZE 4096U
#define KP_NEAR_SLOT 64U
#define KP_NEAR_FIRST 64U
#define KP_NEAR_SLOTS ((KP_NEAR_SIZE - KP_NEAR_FIRST) / KP_NEAR_SLOT)

#endif

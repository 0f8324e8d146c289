/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile guests: each attempt tries to get at something outside that the stage (stage.c) has laid out. */
#ifndef TESTS_HOSTILE_H
#define TESTS_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What there is outside. The directory of an attempt holds: canary, empty/, fifo, program, link (to canary). */
struct hostile {
	const char *out;      /* a directory that nothing shows */
	const char *dir;      /* out/ATTEMPT */
	const char *token;    /* the content of every canary */
	pid_t victim;         /* a process of the same user, with the token in its memory and environment */
	uint64_t address;     /* where, in its memory */
	int victim_fd;        /* its descriptor of a canary */
	int port;             /* it sends the token to who connects, by TCP, and to who writes, by UDP */
	const char *abstract; /* the same on a name without a file */
	const char *path;     /* and on a path below out; path.dgram for datagrams */
	const char *pts;      /* a terminal of its own */
	int shm, sem, msg;    /* System V objects, the token in the first */
	int shm_key;
	const char *queue;    /* a POSIX queue that holds the token */
	const char *dev_shm;  /* a file of /dev/shm */
	pid_t parent;         /* what has started the attempts: inside, the supervisor */
	const char *inside;   /* a directory of the guest that can be written to */
};

enum {
	GOT = 0,
	NOT_HERE = 255, /* neither this kernel nor this user can do it natively */
};

/* S: kept at level strict only. W: what it did is seen outside, by the directory's having changed. */
struct attempt {
	const char *name;
	const char *cases; /* of the list of cases in docs/SECURITY.md */
	const char *marks;
	int (*try)(const struct hostile *h); /* GOT, an errno, or NOT_HERE */
};

extern const struct attempt abi_attempts[], path_attempts[], proc_attempts[], ipc_attempts[], exec_attempts[];

/* Prints what the compiler cannot know: errno, or EIO where that says nothing. */
int refused(void);
/* Does the descriptor give the token? Closes it. */
int holds_token(const struct hostile *h, int fd);
/* Opens a path (with what follows it) and looks. */
int reads_token(const struct hostile *h, const char *path);
/* h->dir/NAME, in a buffer of its own for each of the last four calls. */
const char *outside(const struct hostile *h, const char *name);
/* A path of the guest's, for a file of its own. */
const char *inner(const struct hostile *h, const char *name);
/* Runs it in a child: 0 if that says so by exit status 0, else its status. */
int in_child(int (*what)(const struct hostile *h), const struct hostile *h);

int stage_main(int argc, char **argv);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the supervisor share, and the terminal relay of the front. */
#ifndef KAPSEL_LAUNCH_INTERNAL_H
#define KAPSEL_LAUNCH_INTERNAL_H

#include <termios.h>

#include "instance/cgroup.h"
#include "launch/launch.h"
#include "sys/engine.h"
#include "vfs/live.h"
#include "vfs/tell.h"

struct kp_client {
	struct kp_ctl_conn conn;
	pid_t pid;       /* of the client process */
	pid_t guest;     /* its guest, 0: none */
	bool stopped;    /* the guest is, by job control */
	bool along;      /* the client is, with it */
	bool front;      /* the process that started this supervisor: same session and process group */
	bool done;       /* its guest has ended: it only waits for us to go */
	bool waits_stop; /* asked for STOP */
	bool waits_copy; /* its next message is taken when the copy is made */
	struct kp_client *next;
};

struct kp_supervisor {
	struct kp_plan *plan;
	char *run_dir;
	struct kp_store *store;
	struct kp_store_image **store_images; /* of each image, top down */
	struct kp_reg *registry;
	struct kp_vfs *vfs;
	struct kp_engine *engine;
	struct kp_cgroup group;
	int epoll_fd, listen_fd, signal_fd, copied_fd;
	struct kp_copying *copying; /* a snapshot that is being made; or NULL */
	struct kp_client *clients;
	size_t client_count;
	bool joined;       /* another client than the front ran a guest */
	bool stopping;     /* TERM has been sent to all */
	int64_t kill_at;   /* when KILL follows, in milliseconds of CLOCK_MONOTONIC */
	int64_t started;   /* CLOCK_REALTIME seconds */
	char *cwd;         /* where it was started */
	struct kp_strings config; /* what the image calls so, and what shows it */
	uint32_t group_by[32]; /* by signal: who last sent it to our process group, which is the front's; 0: nobody */
};

int64_t kp_now_ms(void);
/* front.c: those that it hands on, and SIGCHLD. */
void kp_user_signals(sigset_t *ret);
/* supervisor.c: was that signal sent to our process group as well? Asked once. */
bool kp_supervisor_saw(struct kp_supervisor *s, uint32_t signo, uint32_t sender);

/* supervisor.c: are events of the registry and of projected files to be taken? */
void kp_supervisor_listen(struct kp_supervisor *s, bool on);

/* clients.c */
/* Those that wait for the copy's end. */
void kp_clients_go_on(struct kp_supervisor *s);
/* What guests have written to files that stand for the registry becomes part of it. */
void kp_settle_written(struct kp_supervisor *s);
struct kp_client *kp_client_add(struct kp_supervisor *s, int fd, bool front);
void kp_client_readable(struct kp_supervisor *s, struct kp_client *c);
void kp_client_accept(struct kp_supervisor *s);
void kp_client_drop(struct kp_supervisor *s, struct kp_client *c);
/* Tells why; the client is to exit with that status. */
void kp_client_fail(struct kp_client *c, const struct kp_err *err, int exit_status);

/* projections.c: opens the registry for the files that show it, and these; at the end takes back what is left. */
int kp_projections_open(struct kp_supervisor *s, struct kp_err *err);
void kp_projections_close(struct kp_supervisor *s);
/* The manifest's, projection_count of them; the caller frees the array. */
struct kp_live_file *kp_projected_files(const struct kp_registry *r);
/* about.c */
int kp_client_info(struct kp_supervisor *s, struct kp_client *c);

/* copies.c */
void kp_copies_done(struct kp_supervisor *s); /* copied_fd is readable */
void kp_copies_forget(struct kp_supervisor *s, const struct kp_client *c); /* it goes */
bool kp_copies_hold(const struct kp_supervisor *s); /* nothing may change now */
void kp_copies_cancel(struct kp_supervisor *s); /* unless the guests are held already */
void kp_copies_watch_config(struct kp_supervisor *s);
int kp_client_snapshot(struct kp_supervisor *s, struct kp_client *c, struct kp_ctl_reader *in);

/* guests.c */
void kp_guests_reap(struct kp_supervisor *s);
void kp_guests_signal_all(struct kp_supervisor *s, int signo);
void kp_guests_stop(struct kp_supervisor *s, unsigned seconds);
/* SIGKILLs pid and all below it. */
void kp_guests_kill_tree(struct kp_supervisor *s, pid_t pid);
bool kp_guests_alive(struct kp_supervisor *s);

/* terminal.c: a pseudo terminal for a guest that joins. */
struct kp_relay {
	int master, slave;
	int in, out; /* the user's terminal */
	bool raw;
	struct termios saved;
};
void kp_relay_init(struct kp_relay *t);
int kp_relay_open(struct kp_relay *t, struct kp_err *err);
void kp_relay_start(struct kp_relay *t); /* raw mode */
void kp_relay_resize(const struct kp_relay *t);
/* Moves what is there; false when the side has ended. */
bool kp_relay_to_guest(struct kp_relay *t);
bool kp_relay_from_guest(struct kp_relay *t);
void kp_relay_close(struct kp_relay *t); /* shows what is left, restores the terminal */

/* layers.c: opens what the manifest and --layer name into plan->under. */
int kp_plan_layers(struct kp_plan *plan, const char *const *options, size_t count, struct kp_err *err);
/* Image i of the run, top down: 0 is its own. */
struct kp_image *kp_plan_image(const struct kp_plan *plan, size_t i);
/* Of all images, as an instance records them. Allocated. */
char *kp_plan_digests(const struct kp_plan *plan);

/* plan.c: who the guest is: login name, home, host name. */
void kp_plan_user(struct kp_plan *plan);

/* grants.c: the profile of that name (NULL: the default), and what the manifest's requests and --net leave of it. */
int kp_plan_profile(struct kp_plan *plan, const char *name, const char *net, const char *const *limits, size_t limit_count,
		    struct kp_err *err);
/* Binds of granted devices and sockets of the desktop, into plan->binds; the plan's variables for them. */
void kp_plan_desktop(struct kp_plan *plan);
/* What a run is granted, as one line: what an instance that runs was started with, beside its socket. Allocated. */
char *kp_plan_grants(const struct kp_plan *plan);
/* May the plan's guest join what runs there? 0, or -EEXIST with err. */
int kp_plan_check_grants(const struct kp_plan *plan, const char *run_dir, struct kp_err *err);
int kp_plan_write_grants(const struct kp_plan *plan, const char *run_dir);
/* What system calls and sockets are refused, into plan->policy. */
int kp_plan_policy(struct kp_plan *plan, struct kp_err *err);

/* modes.c: the rules of profile, manifest and --mode, into plan->rules. The profile must be there, and the binds. */
int kp_plan_modes(struct kp_plan *plan, const char *const *options, size_t count, struct kp_err *err);
/* The rules as an instance's configuration has them ("PATH=MODE", "PATH/.*=MODE"), and back: what the last run saw. */
void kp_rules_note(const struct kp_plan *plan, struct kp_strings *ret);
void kp_rules_again(struct kp_plan *plan, const struct kp_strings *noted);
/* Where a rule shows the host directory: a guest path, allocated; NULL: nowhere. */
char *kp_rules_show(const struct kp_plan *plan, const char *host);
/* A guest path's host path, symlinks resolved as far as it exists. Allocated. */
char *kp_host_of(const char *guest);
/* registry.c: the same for the keys of the registry ("KEY=MODE" among the others). cap: what of a mode is granted at a guest path. */
void kp_plan_key_modes(struct kp_plan *plan, enum kp_mode (*cap)(const char *guest, enum kp_mode mode, void *ctx), void *ctx);
void kp_key_modes_note(const struct kp_plan *plan, struct kp_strings *ret);
void kp_key_modes_again(struct kp_plan *plan, const struct kp_strings *noted);
/* private.c: Kapsel's own directories, which no mode shows. */
char **kp_private_dirs(const char *instance_dir, const char *run_dir, const char *store_root, size_t *ret_count);
void kp_private_dirs_free(char **dirs, size_t count);

#endif

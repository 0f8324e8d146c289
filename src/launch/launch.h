/* SPDX-License-Identifier: Apache-2.0 */
/* From a plan to a running program: the front that the user started, and the supervisor behind it. */
#ifndef KAPSEL_LAUNCH_LAUNCH_H
#define KAPSEL_LAUNCH_LAUNCH_H

#include "base/base.h"
#include "image/image.h"
#include "instance/control.h"
#include "instance/instance.h"
#include "manifest/manifest.h"
#include "profile/profile.h"
#include "registry/registry.h"
#include "snapshot/snapshot.h"
#include "sys/policy.h"
#include "vfs/vfs.h"

/* Everything a run needs, decided before anything is started. */
struct kp_plan {
	struct kp_image *image;
	struct kp_image **under; /* the images below it, top down */
	size_t under_count;
	struct kp_manifest *manifest;
	struct kp_profile *profile;
	/* What the profile grants of what the manifest and the command line ask for. */
	struct kp_net net;
	unsigned desktop;
	struct kp_limits limits;
	struct kp_policy policy;
	bool grants_given; /* the user said what is granted: an instance that runs with something else is not joined */
	char *host_image; /* absolute, symlinks resolved */
	struct kp_instance *instance;
	bool throw_away;
	struct kp_strings modes, layers; /* as asked for, layers as absolute paths: the instance keeps them */
	struct kp_bind *binds;
	size_t bind_count;
	struct kp_rule *rules;
	size_t rule_count;
	struct kp_key_mode *key_modes; /* of the registry */
	size_t key_mode_count;
	char *home, *user, *hostname;
	enum kp_level level;
	char *trace; /* absolute host path or NULL */
	char *settled; /* kp_args_settled() of the run, or NULL: exec */
	char **argv, **envp; /* of the guest */
	char *cwd;
	bool cwd_asked; /* by the user */
	int pass_fds[KP_CTL_FDS_MAX];
	size_t pass_fd_count;
	int fail_exit; /* exit status that goes with a failed start (126, 127), 0: 125 */
};

/* What the command line says of a run. */
struct kp_request {
	const char *instance; /* name or NULL */
	const char *cwd, *trace, *profile, *net, *level;
	bool throw_away;
	const char *const *binds, *const *modes, *const *layers, *const *env, *const *unset, *const *limits, *const *publish; /* option values */
	size_t bind_count, mode_count, layer_count, env_count, unset_count, limit_count, publish_count;
	const char *start_as; /* name of a manifest command, or NULL */
	char *const *command; /* what follows `--`, or NULL: the entry point */
	size_t command_count;
	char *const *more; /* appended to the entry point's command */
	size_t more_count;
	int pass_fds[KP_CTL_FDS_MAX];
	size_t pass_fd_count;
};

/* Opens image and manifest only. */
int kp_plan_open_image(struct kp_plan *plan, const char *host_path, struct kp_err *err);
/* Instance, binds, command, environment; the plan's image must be open. */
int kp_plan_make(struct kp_plan *plan, const struct kp_request *request, struct kp_err *err);
/* Command, environment and directory only: for a guest that joins plan->instance. */
int kp_plan_make_guest(struct kp_plan *plan, const struct kp_request *request, struct kp_err *err);
void kp_plan_free(struct kp_plan *plan);
#define kp_autoplan __attribute__((cleanup(kp_plan_free)))
/* --publish HOST:GUEST[/tcp|/udp]. */
int kp_publish_parse(const char *text, struct kp_publish *ret_publish, struct kp_err *err);
/* The ports to publish; those of the host must be free now. The plan's network is known. */
int kp_plan_publish(struct kp_plan *plan, const char *const *texts, size_t count, struct kp_err *err);
/* HOST[:GUEST[:ro]] to a bind with allocated, absolute paths. 0 or -errno with err. */
int kp_bind_parse(const char *text, struct kp_bind *ret_bind, struct kp_err *err);

/* The registry of the plan's images, instance and profile. writable: what is to be written can be; it needs an instance. */
int kp_plan_registry(const struct kp_plan *plan, bool writable, struct kp_reg **ret_reg, struct kp_err *err);

/* The guest's environment, NULL-terminated and allocated. host_env as of environ(7). */
struct kp_environ_options {
	char *const *host_env;
	const struct kp_manifest *manifest;
	struct kp_reg *registry;       /* its HKCU\Environment; or NULL */
	const struct kp_strings *pass; /* host variables that the profile lets in; or NULL */
	unsigned desktop;              /* enum kp_desktop: what is granted of it brings its variables */
	const char *home, *user, *instance;
	const char *const *env, *const *unset;
	size_t env_count, unset_count;
};
int kp_environ_make(const struct kp_environ_options *o, char ***ret_envp, struct kp_err *err);
void kp_environ_free(char **envp);
const char *kp_environ_get(char *const *envp, const char *name);
/* Login name for the guest: safe in passwd(5). Caller frees. */
char *kp_user_name(char *const *host_env, uid_t uid);

/* Opens descriptors 0, 1 and 2 where they are closed; notes which others were handed to us. */
void kp_fds_at_start(void);
/* Closes the descriptors that kp_fds_at_start noted. */
void kp_fds_drop_inherited(void);

/* Runs the plan: exit status, or -errno with err. */
int kp_front_run(struct kp_plan *plan, struct kp_err *err);
/* Joins the running plan->instance; -ENOTCONN when it does not run. */
int kp_front_join(struct kp_plan *plan, struct kp_err *err);
/* Connects to a running instance: descriptor; -ENOTCONN when it does not run. */
int kp_front_connect(const struct kp_instance *instance);
/* Of an instance that runs. 0, -ENOTCONN when it does not, other -errno; no answer within a second is -ETIMEDOUT. */
struct kp_about {
	uint32_t started; /* seconds since the epoch */
	pid_t supervisor;
	uint32_t count;   /* of guest processes */
	pid_t *pids;
	char *cwd;        /* where it was started */
	char *ports;      /* as of kp_engine_ports() */
};
int kp_about_running(const struct kp_instance *instance, struct kp_about *ret);
void kp_about_free(struct kp_about *a);
/* A snapshot of an instance that runs; *ret_us: how long it was held still; make->tally: what was copied meanwhile. -ENOTCONN (err unset) when it does not run. */
int kp_front_snapshot(const struct kp_instance *instance, const struct kp_snapshot_make *make, char **ret_name, uint64_t *ret_us,
		      struct kp_err *err);

/* The supervisor; first is its end of the front's connection. Never returns. */
_Noreturn void kp_supervisor_main(struct kp_plan *plan, int first);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles (docs/PROFILES.md): what the user grants a program. Shipped ones are part of this binary; the user's lie in
 * $XDG_CONFIG_HOME/kapsel/profiles.
 */
#ifndef KAPSEL_PROFILE_PROFILE_H
#define KAPSEL_PROFILE_PROFILE_H

#include "base/base.h"
#include "kapsel/profile.h"
#include "manifest/manifest.h"

#define KP_PROFILE_DEFAULT "portable"

struct kp_profile_rule {
	char *path;    /* as written: absolute, or begins with $HOME, $CWD or $XDG_RUNTIME_DIR; normalised */
	bool dots;     /* it ends in "/.*", which path lacks: the entries of that directory whose names begin with a dot */
	bool force;    /* binds what an image asks for below it, too */
	bool required; /* no run without it */
	enum kp_mode mode;
	struct kp_mark mark;
};

struct kp_profile {
	char *name; /* as asked for */
	char *summary;
	enum kp_level level;
	struct kp_profile_rule *rules;
	size_t rule_count;
	struct kp_net net;
	unsigned desktop;           /* enum kp_desktop */
	struct kp_strings devices;  /* host paths below /dev */
	struct kp_strings env;      /* names of host variables that pass; a name may end in "*" */
	struct kp_limits limits;
	struct kp_strings syscalls; /* denied further, by name */
	struct kp_registry_value *registry; /* values that no program changes */
	size_t registry_count;
	bool daemons; /* processes may outlive the entry */
};

/* Where profiles come from. */
struct kp_profile_places {
	const char *config_home, *home; /* $XDG_CONFIG_HOME and $HOME, NULL where not set */
};

/* Parses text; file is used in errors, "FILE:LINE:COLUMN: key.path: what". 0, or -EINVAL (bad), -ENOENT (include). */
int kp_profile_parse(const char *text, size_t len, const char *file, const struct kp_profile_places *places,
		     struct kp_profile **ret_profile, struct kp_err *err);
/* By name (the user's, else a shipped one) or, with a slash in it or ending in .yaml, by file. */
int kp_profile_load(const char *name, const struct kp_profile_places *places, struct kp_profile **ret_profile,
		    struct kp_err *err);
struct kp_profile *kp_profile_free(struct kp_profile *p); /* NULL is fine; returns NULL */

/* The shipped ones, ended by a NULL name. */
struct kp_shipped {
	const char *name, *start, *end;
};
extern const struct kp_shipped kp_shipped_profiles[];

/* limits.c: "memory", "512M". 0, or -EINVAL with err's text "KEY: what". */
int kp_limit_parse(const char *key, const char *value, struct kp_limits *limits, struct kp_err *err);
extern const char *const kp_limit_names[KP_LIMIT_COUNT];
/* How it is kept, in words: in_group: by a control group. */
const char *kp_limit_how(enum kp_limit which, bool in_group);
/* The value as a user would write it. */
void kp_limit_text(enum kp_limit which, uint64_t value, char *buf, size_t size);

#endif

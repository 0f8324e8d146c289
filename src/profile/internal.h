/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. */
#ifndef KAPSEL_PROFILE_INTERNAL_H
#define KAPSEL_PROFILE_INTERNAL_H

#include "profile/profile.h"

struct kp_profile *kp_profile_new(void); /* grants no files, the host's network, daemons */
/* included: by another profile, so it may not include one itself. */
int kp_profile_parse_as(const char *text, size_t len, const char *file, const struct kp_profile_places *places,
			bool included, struct kp_profile **ret_profile, struct kp_err *err);
int kp_profile_read(const char *name, const struct kp_profile_places *places, bool included,
		    struct kp_profile **ret_profile, struct kp_err *err);

#endif

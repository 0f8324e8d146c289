/* SPDX-License-Identifier: Apache-2.0 */
/* Giving up capabilities. */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/powers.h"

/* Yama's scope 2: tracing one's own children takes CAP_SYS_PTRACE, which elsewhere is but a way to the powers of others. */
static bool tracing_takes_power(void)
{
	kp_autofree char *scope = NULL;

	return !kp_read_file(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 16, &scope, NULL) && atoi(scope) == 2;
}

static int keep_only(uint32_t keep, uint32_t *ret_left)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {0};
	uint32_t extra, more;

	if (syscall(SYS_capget, &header, caps) < 0)
		return -errno;
	/* Without CAP_SETPCAP, as for all ordinary users, each would be refused. */
	for (int cap = 0; caps[0].effective & KP_POWER(CAP_SETPCAP) && cap < 64; cap++)
		if (cap >= 32 || !(keep & KP_POWER(cap)))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	extra = (caps[0].permitted | caps[0].inheritable) & ~keep;
	more = caps[1].permitted | caps[1].inheritable;
	*ret_left = caps[0].permitted & keep;
	if (!extra && !more)
		return 0;
	caps[0].effective &= keep;
	caps[0].permitted &= keep;
	caps[0].inheritable &= keep;
	memset(&caps[1], 0, sizeof(caps[1]));
	return syscall(SYS_capset, &header, caps) < 0 ? -errno : 0; /* the ambient set goes with them */
}

int kp_powers_keep(uint32_t keep, struct kp_err *err)
{
	uint32_t left = 0, tracing = KP_POWER(CAP_SYS_PTRACE);
	int r;

	if (kp_fault("capabilities"))
		return 0;
	r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : keep_only(keep, &left);
	if (!r && left & tracing && !tracing_takes_power())
		r = keep_only(keep & ~tracing, &left);
	return r ? kp_fail_errno(err, -r, "capabilities: cannot be given up") : 0;
}

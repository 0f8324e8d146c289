/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to root, command by command; and that the rest is gone from all sets. */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/powers.h"
#include "cmd/cmd.h"
#include "tests/unit/suites.h"

#define P KP_POWER

/* Written out once more: who gives a command more says so here, too. */
static const struct {
	const char *verbs;
	uint32_t want;
} wanted[] = {
	{"inspect ls cat explain stop", P(CAP_DAC_READ_SEARCH)},
	{"verify diff", P(CAP_DAC_READ_SEARCH) | P(CAP_DAC_OVERRIDE) | P(CAP_FOWNER)},
	{"extract rm reg cache pack export", P(CAP_DAC_OVERRIDE) | P(CAP_FOWNER)},
	{"commit discard clone undo upgrade import", P(CAP_DAC_OVERRIDE) | P(CAP_FOWNER) | P(CAP_CHOWN) | P(CAP_LEASE)},
	{"run exec ps snapshot doctor", P(CAP_DAC_OVERRIDE) | P(CAP_FOWNER) | P(CAP_CHOWN) | P(CAP_LEASE) |
						P(CAP_NET_BIND_SERVICE) | P(CAP_SETPCAP) | P(CAP_SYS_PTRACE)},
	{"capture learn lint report selftest sign try why", 0},
};

START_TEST(each_command_has_its_own)
{
	size_t found = 0, all = 0;

	for (size_t i = 0; i < KP_ARRAY_LEN(wanted); i++) {
		for (const char *at = wanted[i].verbs; *at; at += strspn(at, " "), found++) {
			kp_autofree char *name = kp_asprintf("%.*s", (int)strcspn(at, " "), at);
			const struct kp_verb *v = kp_verb_find(name);

			ck_assert_ptr_nonnull(v);
			ck_assert_msg(v->powers == wanted[i].want, "%s: %#x", name, v->powers);
			ck_assert_uint_eq(v->powers & ~KP_POWERS_ALL, 0);
			at += strlen(name);
		}
	}
	while (kp_verbs[all].name)
		all++;
	ck_assert_uint_eq(found, all);
}
END_TEST

/* Is none outside of `keep`? The bounding set is lowered by who has CAP_SETPCAP still. */
static bool sets_hold(uint32_t keep, bool bounding)
{
	static const char *const names[] = {"CapInh:", "CapPrm:", "CapEff:", "CapAmb:", "CapBnd:"};
	kp_autofree char *text = NULL;
	bool ok = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;

	if (kp_read_file(AT_FDCWD, "/proc/self/status", 65536, &text, NULL))
		return false;
	for (size_t i = 0; i < KP_ARRAY_LEN(names) - !bounding; i++) {
		const char *at = strstr(text, names[i]);

		ok = ok && at && !(strtoull(at + strlen(names[i]), NULL, 16) & ~(unsigned long long)keep);
	}
	return ok;
}

START_TEST(the_rest_is_gone)
{
	static const uint32_t steps[] = {KP_POWERS_ALL, KP_POWERS_RUN, KP_POWERS_READ, 0};
	int status;
	pid_t pid = fork();

	if (!pid) {
		for (size_t i = 0; i < KP_ARRAY_LEN(steps); i++)
			if (kp_powers_keep(steps[i], NULL) || !sets_hold(steps[i], !geteuid() && i < 3))
				_exit((int)i + 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_powers(void)
{
	Suite *s = suite_create("powers");
	TCase *t = tcase_create("powers");

	tcase_add_test(t, each_command_has_its_own);
	tcase_add_test(t, the_rest_is_gone);
	suite_add_tcase(s, t);
	return s;
}

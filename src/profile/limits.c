/* SPDX-License-Identifier: Apache-2.0 */
/* Limits as users write them: 512M, 2h, 100. */
#include <inttypes.h>

#include "profile/profile.h"

const char *const kp_limit_names[KP_LIMIT_COUNT] = {"memory", "processes", "open-files", "file-size", "cpu-time", "disk"};

static const struct unit {
	char letter;
	uint64_t factor;
} bytes[] = {{'K', 1ULL << 10}, {'M', 1ULL << 20}, {'G', 1ULL << 30}, {'T', 1ULL << 40}, {0, 0}},
  seconds[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {0, 0}}, counts[] = {{0, 0}};

static const struct {
	const struct unit *units;
	uint64_t min;
	const char *what;
} kinds[KP_LIMIT_COUNT] = {
	[KP_LIMIT_MEMORY] = {bytes, 16 << 20, "a size such as 512M (at least 16M), or none"},
	[KP_LIMIT_PROCESSES] = {counts, 1, "a number of at least 1, or none"},
	[KP_LIMIT_OPEN_FILES] = {counts, 16, "a number of at least 16, or none"},
	[KP_LIMIT_FILE_SIZE] = {bytes, 0, "a size such as 512M, or none"},
	[KP_LIMIT_CPU_TIME] = {seconds, 1, "a time such as 90s, 10m or 2h, or none"},
	[KP_LIMIT_DISK] = {bytes, 0, "a size such as 512M, or none"},
};

static int parse_value(int which, const char *text, uint64_t *ret_value)
{
	const struct unit *u = kinds[which].units;
	uint64_t value = 0, factor = 1;
	const char *s = text;

	if (!strcmp(text, "none")) {
		*ret_value = KP_UNLIMITED;
		return 0;
	}
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -ERANGE;
	if (s == text)
		return -EINVAL;
	if (*s) {
		while (u->letter && u->letter != *s && u->letter + ('a' - 'A') != *s)
			u++;
		if (!u->letter || s[1])
			return -EINVAL;
		factor = u->factor;
	}
	if (__builtin_mul_overflow(value, factor, &value) || value > INT64_MAX || value < kinds[which].min)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

int kp_limit_parse(const char *key, const char *value, struct kp_limits *limits, struct kp_err *err)
{
	for (int i = 0; i < KP_LIMIT_COUNT; i++)
		if (!strcmp(key, kp_limit_names[i]))
			return parse_value(i, value, &limits->max[i]) ? kp_fail(err, EINVAL, "%s: '%s': not %s", key, value, kinds[i].what) : 0;
	return kp_fail(err, EINVAL, "'%s': no limit: memory, processes, open-files, file-size, cpu-time or disk", key);
}

void kp_limit_text(enum kp_limit which, uint64_t value, char *buf, size_t size)
{
	const struct unit *best = NULL;

	if (value == KP_UNLIMITED) {
		(void)snprintf(buf, size, "none");
		return;
	}
	for (const struct unit *u = kinds[which].units; u->letter; u++)
		if (value && value % u->factor == 0)
			best = u;
	if (best)
		(void)snprintf(buf, size, "%" PRIu64 "%c", value / best->factor, best->letter);
	else
		(void)snprintf(buf, size, "%" PRIu64, value);
}

const char *kp_limit_how(enum kp_limit which, bool in_group)
{
	static const char *const how[KP_LIMIT_COUNT] = {
		[KP_LIMIT_MEMORY] = "of each process",
		[KP_LIMIT_PROCESSES] = "counted at each fork",
		[KP_LIMIT_OPEN_FILES] = "of each process",
		[KP_LIMIT_FILE_SIZE] = "of each file",
		[KP_LIMIT_CPU_TIME] = "of each process",
		[KP_LIMIT_DISK] = "of the instance, looked at every second",
	};

	if (in_group)
		return which == KP_LIMIT_MEMORY ? "of all processes together, by a control group" : "by a control group";
	return how[which];
}

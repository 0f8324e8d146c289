/* SPDX-License-Identifier: Apache-2.0 */
/* One decoded line a call, for --trace. */
#include "kapsel/fast.h"
#include "sys/internal.h"

static void put_text(FILE *f, const char *text)
{
	char safe[PATH_MAX];

	(void)snprintf(safe, sizeof(safe), "%s", text);
	kp_printable(safe);
	fprintf(f, "\"%s\"", safe);
}

static void put_args(FILE *f, const struct kp_call *c)
{
	size_t path = 0;
	int last = -1;

	for (int i = 0; i < 6; i++)
		if (c->row->roles[i] != KP_ROLE__)
			last = i;
	for (int i = 0; i <= last; i++) {
		uint8_t role = c->row->roles[i];

		if (i)
			fputs(", ", f);
		if (kp_role_is_path(role) && path < c->path_count)
			put_text(f, c->path[path++]);
		else if (role == KP_ROLE_STR && c->str)
			put_text(f, c->str);
		else if (role == KP_ROLE_DIRFD && (int)c->raw[i] == -100)
			fputs("AT_FDCWD", f);
		else if (role == KP_ROLE_FD || role == KP_ROLE_DIRFD || role == KP_ROLE_INT || role == KP_ROLE_LEN)
			fprintf(f, "%lld", (long long)(int64_t)c->raw[i]);
		else if (role == KP_ROLE_MODE)
			fprintf(f, "0%llo", (unsigned long long)c->raw[i]);
		else
			fprintf(f, "0x%llx", (unsigned long long)c->raw[i]);
	}
}

void kp_trace(struct kp_engine *e, const struct kp_call *c, int rc, uint64_t microseconds)
{
	static const char *const replies[] = {
		[KP_REPLY_VALUE] = "", [KP_REPLY_FD] = " descriptor", [KP_REPLY_KERNEL] = " kernel",
		[KP_REPLY_REWRITE] = " rewritten", [KP_REPLY_DONE] = " done",
	};

	pthread_mutex_lock(&e->trace_lock);
	fprintf(e->trace, "%d %s(", c->tid, c->row->name);
	put_args(e->trace, c);
	if (rc < 0)
		fprintf(e->trace, ") = -1 %s", strerrorname_np(-rc) ? strerrorname_np(-rc) : "?");
	else
		fprintf(e->trace, ") = %lld%s", (long long)c->value, c->n.data.instruction_pointer == KP_ASK_IP ? " settled" : replies[c->reply]);
	fprintf(e->trace, " <%llu us>\n", (unsigned long long)microseconds);
	(void)fflush(e->trace);
	pthread_mutex_unlock(&e->trace_lock);
}

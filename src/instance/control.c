/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the control protocol to bytes and back. */
#include "instance/control.h"

void kp_ctl_put_u32(struct kp_buf *b, uint32_t value)
{
	kp_buf_add(b, &value, sizeof(value));
}

void kp_ctl_put_u64(struct kp_buf *b, uint64_t value)
{
	kp_buf_add(b, &value, sizeof(value));
}

void kp_ctl_put_string(struct kp_buf *b, const char *s)
{
	size_t len = strlen(s);

	kp_ctl_put_u32(b, (uint32_t)len);
	kp_buf_add(b, s, len + 1);
}

static void get(struct kp_ctl_reader *r, void *ret, size_t len)
{
	if (r->bad || r->left < len) {
		r->bad = true;
		return;
	}
	memcpy(ret, r->at, len);
	r->at += len;
	r->left -= len;
}

uint32_t kp_ctl_get_u32(struct kp_ctl_reader *r)
{
	uint32_t value = 0;

	get(r, &value, sizeof(value));
	return value;
}

uint64_t kp_ctl_get_u64(struct kp_ctl_reader *r)
{
	uint64_t value = 0;

	get(r, &value, sizeof(value));
	return value;
}

const char *kp_ctl_get_string(struct kp_ctl_reader *r)
{
	size_t len = kp_ctl_get_u32(r);
	const char *s = r->at;

	if (r->bad || len >= r->left || s[len] || memchr(s, 0, len)) {
		r->bad = true;
		return NULL;
	}
	r->at += len + 1;
	r->left -= len + 1;
	return s;
}

static void put_list(struct kp_buf *out, const char *const *items, size_t count)
{
	kp_ctl_put_u32(out, (uint32_t)count);
	for (size_t i = 0; i < count; i++)
		kp_ctl_put_string(out, items[i]);
}

static const char **get_list(struct kp_ctl_reader *r, size_t *ret_count)
{
	size_t count = kp_ctl_get_u32(r);
	const char **items;

	if (r->bad || count > r->left / 5) { /* a length and a NUL each */
		r->bad = true;
		return NULL;
	}
	items = kp_calloc(count + 1, sizeof(*items));
	for (size_t i = 0; i < count; i++)
		items[i] = kp_ctl_get_string(r);
	*ret_count = count;
	return items;
}

void kp_ctl_run_encode(const struct kp_ctl_run *run, struct kp_buf *out)
{
	kp_ctl_put_u32(out, run->flags);
	kp_ctl_put_u32(out, run->umask);
	kp_ctl_put_u64(out, run->ignored);
	kp_ctl_put_u64(out, run->blocked);
	kp_ctl_put_string(out, run->cwd);
	kp_ctl_put_string(out, run->settled);
	put_list(out, run->argv, run->argc);
	put_list(out, run->envp, run->envc);
	kp_ctl_put_u32(out, (uint32_t)run->pass_count);
	for (size_t i = 0; i < run->pass_count; i++)
		kp_ctl_put_u32(out, run->pass[i]);
}

int kp_ctl_run_decode(const char *payload, size_t len, struct kp_ctl_run *ret_run)
{
	struct kp_ctl_reader r = {payload, len, false};
	struct kp_ctl_run run = {0};

	run.flags = kp_ctl_get_u32(&r);
	run.umask = kp_ctl_get_u32(&r) & 0777;
	run.ignored = kp_ctl_get_u64(&r);
	run.blocked = kp_ctl_get_u64(&r);
	run.cwd = kp_ctl_get_string(&r);
	run.settled = kp_ctl_get_string(&r);
	run.argv = get_list(&r, &run.argc);
	run.envp = get_list(&r, &run.envc);
	run.pass_count = kp_ctl_get_u32(&r);
	if (run.pass_count > KP_CTL_FDS_MAX)
		r.bad = true;
	for (size_t i = 0; !r.bad && i < run.pass_count; i++) {
		run.pass[i] = kp_ctl_get_u32(&r);
		if (run.pass[i] < 3 || run.pass[i] > 1 << 20)
			r.bad = true;
	}
	if (r.bad || r.left || !run.argc) {
		kp_ctl_run_free(&run);
		return -EPROTO;
	}
	*ret_run = run;
	return 0;
}

void kp_ctl_run_free(struct kp_ctl_run *run)
{
	free(run->argv);
	free(run->envp);
	*run = (struct kp_ctl_run){0};
}

/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel reg: the registry of an image or an instance, from outside. What it does there: registry/request.h. */
#include <poll.h>
#include <unistd.h>

#include "cmd/reg.h"
#include "launch/internal.h"

struct target {
	struct kp_plan plan;
	struct kp_reg *reg;
};

/* --- the target --- */

/* A running instance takes back what its programs wrote, before anything is read or changed. Closes fd. */
static void settle(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct kp_ctl_conn conn;
	const char *payload;
	unsigned type;
	size_t len;
	int r = kp_ctl_send(fd, KP_CTL_SETTLE, NULL, NULL, 0, 0);

	kp_ctl_conn_init(&conn, fd);
	while (!r && poll(&p, 1, 5000) > 0 && !(r = kp_ctl_fill(&conn)))
		r = kp_ctl_next(&conn, &type, &payload, &len); /* whatever comes: it has been asked */
	kp_ctl_conn_close(&conn);
}

/* A stopped instance is kept from being removed meanwhile; a running one takes changes by its file's locks. */
static int hold(struct kp_instance *i, struct kp_err *err)
{
	int r = kp_instance_lock(i), fd;

	if (r != -EWOULDBLOCK)
		return r < 0 ? kp_fail_errno(err, -r, "%s: cannot be locked", i->name) : 0;
	fd = kp_front_connect(i);
	if (fd < 0) {
		(void)kp_fail(err, EBUSY, "%s: in use: another command works on it", i->name);
		return kp_hint(err, "try again when it has ended");
	}
	settle(fd);
	return 0;
}

static int open_target(struct target *t, const struct kp_args *args, bool write, struct kp_err *err)
{
	const char *what = args->operands[1], *profile = kp_args_get(args, "profile");
	struct kp_plan *plan = &t->plan;
	const struct kp_strings *last = NULL;
	int r = 0;

	if (!strchr(what, '/') && kp_instance_name_ok(what))
		r = kp_instance_open(what, &plan->instance, err);
	if (r && (r != -ENOENT || access(what, F_OK) < 0))
		return r;
	if (!plan->instance && write) {
		(void)kp_fail(err, EROFS, "%s: an image is not changed", what);
		return kp_hint(err, "its manifest makes its registry; an instance of it takes changes");
	}
	r = plan->instance ? hold(plan->instance, err) : 0;
	if (!r)
		r = kp_plan_open_image(plan, plan->instance ? plan->instance->image : what, err);
	last = plan->instance ? &plan->instance->layers : NULL;
	if (!r)
		r = kp_plan_layers(plan, last ? (const char *const *)last->items : NULL, last ? last->count : 0, err);
	if (!r)
		r = kp_plan_profile(plan, profile, NULL, NULL, 0, err);
	if (!r && plan->instance && plan->instance->modes.count && !profile)
		kp_rules_again(plan, &plan->instance->modes);
	else if (!r)
		r = kp_plan_modes(plan, NULL, 0, err);
	return r ? r : kp_plan_registry(plan, write, &t->reg, err);
}

static int perform(const struct kp_reg_request *q, struct kp_buf *out, void *ctx, struct kp_err *err)
{
	return kp_reg_perform(ctx, q, out, err);
}

int kp_cmd_reg(const struct kp_args *args, struct kp_err *err)
{
	struct kp_regcmd c = {.args = args, .target = true, .perform = perform};
	struct target t = {.reg = NULL};
	int r = kp_regcmd_parse(&c, err);

	if (r)
		return r;
	r = open_target(&t, args, c.request.action == KP_REG_ADD || c.request.action == KP_REG_DELETE || c.request.action == KP_REG_IMPORT, err);
	c.ctx = t.reg;
	if (!r)
		r = kp_regcmd_run(&c, err);
	(void)kp_reg_free(t.reg);
	kp_plan_free(&t.plan);
	return r;
}

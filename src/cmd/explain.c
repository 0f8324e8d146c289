/* SPDX-License-Identifier: Apache-2.0 */
/* kapsel explain: which layer answers for a path, by which rule, and where a change would go. */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/view.h"
#include "launch/internal.h"
#include "vfs/explain.h"
#include "vfs/resolve.h"

static const char *kind(mode_t mode)
{
	return S_ISDIR(mode) ? "directory" : S_ISREG(mode) ? "file" : S_ISLNK(mode) ? "link" : S_ISFIFO(mode) ? "FIFO"
	       : S_ISSOCK(mode) ? "socket" : "device";
}

static const char *image_name(const struct kp_view *w, size_t i)
{
	const char *path = kp_image_name(kp_plan_image(&w->plan, i)), *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void print_verdict(const struct kp_view *w, const struct kp_explained *x, const char *shown)
{
	const struct kp_node *n = &x->node;
	char mode[11];

	if (n->origin == KP_ABSENT) {
		printf("%s: not there: %s\n", shown, n->whiteout ? "the instance has deleted it" : "no layer has it");
		return;
	}
	kp_mode_text(n->mode, mode);
	printf("%s: %s %s, ", shown, kind(n->mode), mode);
	switch (n->origin) {
	case KP_UPPER:
		puts("from the instance");
		break;
	case KP_IMAGE:
		printf("from the image %s\n", image_name(w, n->layer));
		break;
	case KP_HOST:
		puts(n->self.bind ? "from the host, as in every run" : "from the host");
		break;
	case KP_BASE:
		puts("made by Kapsel for each run");
		break;
	case KP_PROC:
	case KP_REG:
	case KP_MAGIC:
	case KP_ABSENT:
	default:
		puts("made by Kapsel from the host's /proc");
		break;
	}
}

static void print_rule(const struct kp_explained *x)
{
	const struct kp_rule *r = x->rule;
	kp_autofree char *at = r ? kp_shown(r->guest) : NULL;

	if (x->node.self.bind)
		printf("  bind       of the host's in the place of all layers%s\n", x->node.self.bind->read_only ? ", read-only" : "");
	else if (r)
		printf("  mode       %s, by the rule for %s%s\n", kp_mode_names[r->mode], r->guest[1] || !r->dots ? at : "", r->dots ? "/.*" : "");
	else
		printf("  mode       full: no rule shows the host here\n");
	if (x->node.origin == KP_ABSENT && (!r || r->mode == KP_MODE_FULL) && access(x->node.guest.s, F_OK) == 0)
		printf("             the host has it: --mode PATH=writecopy or PATH=merged would show it\n");
	if (kp_node_on_host(&x->node) || x->node.self.bind) {
		kp_autofree char *shown = kp_shown(x->node.host.s);

		printf("  a change   goes to the host: %s\n", shown);
		return;
	}
	printf("  a change   goes to the instance%s\n",
	       x->node.origin == KP_UPPER || x->node.origin == KP_ABSENT ? "" : ", which takes a copy first");
}

static void print_said(const struct kp_view *w, const struct kp_said *s)
{
	kp_autofree char *host = kp_shown(s->host.s), *from = kp_shown(s->from.s);
	const char *name = s->layer == KP_UPPER ? "instance" : s->layer == KP_HOST ? "host" : "generated";
	char hex[2 * KP_DIGEST_LEN + 1] = "";
	struct kp_entry e;

	printf("  %-10s ", s->layer == KP_IMAGE ? "image" : name);
	if (s->whiteout)
		printf("whiteout: hides what lies below");
	else if (!s->mode)
		printf("nothing");
	else
		printf("%s%s%s", kind(s->mode), s->opaque ? ", hides what lies below" : "",
		       s->answers ? "" : s->merges ? ", its names are seen too" : ", hidden");
	if (s->layer == KP_IMAGE) {
		kp_autofree char *shown = kp_shown(image_name(w, s->image));

		printf("  (%s", shown);
		if (s->mode && !kp_image_entry(kp_plan_image(&w->plan, s->image), s->entry, &e) && e.digest) {
			kp_digest_text(e.digest, hex);
			printf(", %" PRIu64 " bytes, digest %s", e.size, hex);
		}
		putchar(')');
	} else if (s->mode && host[0]) {
		printf("  %s", host);
	}
	if (from[0])
		printf("  renamed in the instance: here it is %s", from);
	putchar('\n');
}

int kp_cmd_explain(const struct kp_args *args, struct kp_err *err)
{
	kp_autofree char *path = kp_asprintf("/%s", args->operands[1] + strspn(args->operands[1], "/"));
	kp_autofree struct kp_explained *x = kp_calloc(1, sizeof(*x));
	kp_autofree char *shown = kp_shown(path), *real = NULL;
	char target[PATH_MAX];
	struct kp_view kp_autoview w = {0};
	int r = kp_view_open(&w, args, args->operands[0], KP_VIEW_WHOLE, err);

	if (!r) {
		r = kp_vfs_explain(w.vfs, path, false, x);
		if (r < 0)
			(void)kp_fail_errno(err, -r, "%s", shown);
	}
	if (!r) {
		print_verdict(&w, x, shown);
		real = kp_shown(x->node.guest.s);
		if (strcmp(real, shown) != 0)
			printf("  path       %s\n", real);
		if (S_ISLNK(x->node.mode) && !kp_node_readlink(w.vfs, &x->node, target, sizeof(target))) {
			kp_autofree char *to = kp_shown(target);

			printf("  link to    %s\n", to);
		}
		print_rule(x);
		for (size_t i = 0; i < x->count; i++)
			print_said(&w, &x->said[i]);
		r = kp_flush(err);
	}
	return r;
}

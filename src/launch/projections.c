/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest's projections, on the registry of the run. */
#include "launch/internal.h"

struct kp_live_file *kp_projected_files(const struct kp_registry *r)
{
	struct kp_live_file *files = kp_calloc(r->projection_count + 1, sizeof(*files));

	for (size_t i = 0; i < r->projection_count; i++)
		files[i] = (struct kp_live_file){r->projections[i].file, r->projections[i].format, r->projections[i].key};
	return files;
}

int kp_projections_open(struct kp_supervisor *s, struct kp_err *err)
{
	const struct kp_registry *r = &s->plan->manifest->registry;
	kp_autofree struct kp_live_file *files = NULL;

	if (!r->projection_count)
		return 0;
	files = kp_projected_files(r);
	return kp_live_open(s->vfs, s->registry, s->plan->instance->dir, files, r->projection_count, err);
}

void kp_projections_close(struct kp_supervisor *s)
{
	if (s->vfs)
		kp_live_close(s->vfs);
}

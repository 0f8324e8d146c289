/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's /.kapsel/reg asks: a sealed memfd of its own goes in, a file with the answer comes out. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "registry/request.h"
#include "vfs/live.h"
#include "vfs/regtree_internal.h"

int kp_regtree_request(const char *guest)
{
	const char *name = kp_path_below(guest, KP_REGTREE), *digits;
	char *end;
	long number;

	if (!name || strncmp(name, "/" KP_REG_REQUEST_NAME, sizeof(KP_REG_REQUEST_NAME)) != 0)
		return -1;
	digits = name + sizeof(KP_REG_REQUEST_NAME);
	number = strtol(digits, &end, 10);
	return *digits >= '0' && *digits <= '9' && !*end && number <= INT32_MAX ? (int)number : -1;
}

/* path_fd names a file that cannot be exchanged any more. Only what is a memfd, and stays as it is, is read: nothing that may block. */
static int read_request(int path_fd, char **ret_bytes, size_t *ret_len)
{
	char proc[32], link[16] = "";
	kp_autofree char *bytes = NULL;
	kp_autoclose int fd = -1;
	struct stat st;
	int rc, seals;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
	if (readlink(proc, link, sizeof(link) - 1) < 0 || strncmp(link, "/memfd:", 7) != 0)
		return -EINVAL;
	fd = open(proc, O_RDONLY | O_CLOEXEC);
	seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & KP_REG_SEALS) != KP_REG_SEALS || fstat(fd, &st) < 0)
		return -EINVAL;
	if ((uint64_t)st.st_size > KP_REG_TEXT)
		return -EFBIG;
	bytes = kp_calloc(1, (size_t)st.st_size + 1);
	rc = kp_pread_full(fd, bytes, (size_t)st.st_size, 0);
	if (rc)
		return rc;
	*ret_bytes = kp_take_ptr(bytes);
	*ret_len = (size_t)st.st_size;
	return 0;
}

int kp_regtree_ask(struct kp_vfs *v, const struct kp_node *n, int path_fd, int *ret_fd)
{
	struct kp_buf kp_autobuf out = {0}, answer = {0};
	kp_autofree char *bytes = NULL;
	struct kp_reg_request q;
	struct kp_err err = {0};
	size_t len;
	int rc = read_request(path_fd, &bytes, &len), fd;

	if (!rc)
		rc = kp_reg_request_decode(bytes, len, &q);
	if (rc)
		return rc;
	kp_going_slow();
	kp_live_drain(v);
	kp_regtree_drain(v->registry);
	rc = kp_reg_perform(v->registry->reg, &q, &out, &err);
	kp_reg_answer_encode(rc, &err, &out, &answer);
	fd = kp_regtree_snapshot(v->registry, n, &answer);
	if (fd >= 0)
		*ret_fd = fd;
	return KP_MIN(fd, 0);
}

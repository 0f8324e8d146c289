/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory. */
#include <sys/uio.h>

#include "base/base.h"
#include "trap/trap.h"

#define PAGE 4096U

/* Reads up to the first unmapped page: how many bytes came. */
static ssize_t read_some(pid_t tid, uint64_t addr, char *buf, size_t len)
{
	struct iovec local = {buf, len}, remote[8];
	size_t count = 0, done = 0;

	/* A remote part is all or nothing: one a page. */
	while (done < len && count < KP_ARRAY_LEN(remote)) {
		size_t part = KP_MIN(len - done, PAGE - (size_t)((addr + done) % PAGE));

		remote[count++] = (struct iovec){(void *)(uintptr_t)(addr + done), part};
		done += part;
	}
	local.iov_len = done;
	return process_vm_readv(tid, &local, 1, remote, count, 0);
}

ssize_t kp_mem_string(pid_t tid, uint64_t addr, char *buf, size_t size)
{
	size_t have = 0;

	if (!addr)
		return -EFAULT;
	while (have < size) {
		/* Most end in the page that they begin in, and each page costs. */
		size_t page_left = PAGE - (size_t)((addr + have) % PAGE);
		size_t want = KP_MIN(size - have, have ? (size_t)PAGE : KP_MIN(page_left, (size_t)256));
		ssize_t n = read_some(tid, addr + have, buf + have, want);
		char *end;

		if (n <= 0)
			return -EFAULT;
		end = memchr(buf + have, '\0', (size_t)n);
		if (end)
			return end - buf;
		have += (size_t)n;
	}
	return -ENAMETOOLONG;
}

int kp_mem_read(pid_t tid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = {buf, len}, remote = {(void *)(uintptr_t)addr, len};

	if (!len)
		return 0;
	return process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

int kp_mem_gather(pid_t tid, const uint64_t *addrs, size_t count, size_t len, void *buf)
{
	struct iovec local = {buf, count * len}, remote[32];

	if (count > KP_ARRAY_LEN(remote))
		return -EFAULT;
	for (size_t i = 0; i < count; i++)
		remote[i] = (struct iovec){(void *)(uintptr_t)addrs[i], len};
	return process_vm_readv(tid, &local, 1, remote, count, 0) == (ssize_t)(count * len) ? 0 : -EFAULT;
}

int kp_mem_write(pid_t tid, uint64_t addr, const void *buf, size_t len)
{
	struct iovec local = {(void *)(uintptr_t)buf, len}, remote = {(void *)(uintptr_t)addr, len};

	if (!len)
		return 0;
	return process_vm_writev(tid, &local, 1, &remote, 1, 0) == (ssize_t)len ? 0 : -EFAULT;
}

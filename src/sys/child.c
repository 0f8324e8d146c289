/* SPDX-License-Identifier: Apache-2.0 */
/* What a thread of the supervisor does with a root, a working directory or descriptors that are not the others'. */
#include <sched.h>
#include <sys/wait.h>

#include "base/base.h"
#include "sys/child.h"

#define STACK_SIZE (64U << 10)

void kp_in_child(int flags, int (*fn)(void *arg), void *arg)
{
	kp_autofree char *stack = kp_calloc(1, STACK_SIZE);
	pid_t pid = clone(fn, stack + STACK_SIZE, flags | CLONE_VM | CLONE_VFORK, arg);

	if (pid > 0)
		(void)waitpid(pid, NULL, __WALL);
}

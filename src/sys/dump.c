/* SPDX-License-Identifier: Apache-2.0 */
/* A seccomp program as text: one instruction a line, what is loaded and what it is compared with by name. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "base/base.h"
#include "kapsel/start.h"
#include "sys/filter.h"
#include "sys/table.h"

enum loaded { OTHER, ARCH, NUMBER };

static enum loaded put_load(struct kp_buf *b, uint32_t k)
{
	size_t args = offsetof(struct seccomp_data, args);

	if (k == offsetof(struct seccomp_data, nr)) {
		kp_buf_puts(b, "A = syscall number");
		return NUMBER;
	}
	if (k == offsetof(struct seccomp_data, arch)) {
		kp_buf_puts(b, "A = architecture");
		return ARCH;
	}
	if (k >= args)
		kp_buf_printf(b, "A = argument %zu, %s half", (k - args) / 8, (k - args) % 8 ? "high" : "low");
	else
		kp_buf_printf(b, "A = instruction pointer, %s half", k % 8 ? "high" : "low");
	return OTHER;
}

static void put_action(struct kp_buf *b, uint32_t k)
{
	uint32_t action = k & SECCOMP_RET_ACTION_FULL, data = k & SECCOMP_RET_DATA;

	if (action == SECCOMP_RET_ALLOW)
		kp_buf_puts(b, "allow");
	else if (action == SECCOMP_RET_USER_NOTIF)
		kp_buf_puts(b, "ask the supervisor");
	else if (action == SECCOMP_RET_KILL_PROCESS)
		kp_buf_puts(b, "kill the process");
	else if (action == SECCOMP_RET_ERRNO)
		kp_buf_printf(b, "answer %s", data ? strerrorname_np((int)data) : "0");
	else
		kp_buf_printf(b, "return %#x", k);
}

static void put_value(struct kp_buf *b, enum loaded what, uint32_t k)
{
	const struct kp_row *row = what == NUMBER ? kp_row_of((int)k) : NULL;

	kp_buf_printf(b, what == NUMBER ? "%u" : "%#x", k);
	if (row)
		kp_buf_printf(b, " (%s)", row->name);
	else if (what == NUMBER && k == KP_NR_START)
		kp_buf_puts(b, " (the exec loader's question)");
	else if (what == ARCH && k == AUDIT_ARCH_X86_64)
		kp_buf_puts(b, " (x86-64)");
}

static void put_jump(struct kp_buf *b, enum loaded what, const struct sock_filter *i, unsigned pc)
{
	static const struct {
		uint16_t op;
		const char *sign;
	} ops[] = {{BPF_JEQ, "=="}, {BPF_JGT, ">"}, {BPF_JGE, ">="}, {BPF_JSET, "&"}};

	if (BPF_OP(i->code) == BPF_JA) {
		kp_buf_printf(b, "goto %u", pc + 1 + i->k);
		return;
	}
	for (size_t k = 0; k < KP_ARRAY_LEN(ops); k++)
		if (ops[k].op == BPF_OP(i->code))
			kp_buf_printf(b, "if A %s ", ops[k].sign);
	put_value(b, what, i->k);
	kp_buf_printf(b, " goto %u else goto %u", pc + 1 + i->jt, pc + 1 + i->jf);
}

void kp_filter_text(const struct sock_filter *code, unsigned len, struct kp_buf *b)
{
	enum loaded what = OTHER; /* jumps only lead on, and past no load of what is compared there */

	for (unsigned pc = 0; pc < len; pc++) {
		const struct sock_filter *i = &code[pc];

		kp_buf_printf(b, "%5u: ", pc);
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
			what = put_load(b, i->k);
			break;
		case BPF_RET:
			put_action(b, i->k);
			break;
		case BPF_JMP:
			put_jump(b, what, i, pc);
			break;
		case BPF_ALU:
			kp_buf_printf(b, "A &= %#x", i->k);
			what = OTHER;
			break;
		default:
			kp_buf_printf(b, "code %#x, %u, %u, %#x", i->code, i->jt, i->jf, i->k);
			break;
		}
		kp_buf_puts(b, "\n");
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/unit/bpf_sim.h"

static uint32_t load(const struct seccomp_data *data, uint32_t offset)
{
	uint32_t value = 0;

	if (offset + sizeof(value) <= sizeof(*data))
		memcpy(&value, (const char *)data + offset, sizeof(value));
	return value;
}

uint32_t bpf_sim(const struct sock_filter *code, unsigned len, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (unsigned pc = 0; pc < len; pc++) {
		const struct sock_filter *i = &code[pc];
		int taken;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = load(data, i->k);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			taken = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			taken = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			taken = a >= i->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			taken = (a & i->k) != 0;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			return 0;
		}
		pc += taken ? i->jt : i->jf;
	}
	return 0;
}

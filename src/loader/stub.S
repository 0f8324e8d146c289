/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gate and entry of the fast path, at addresses that the filter and the supervisor know (include/kapsel/fast.h). A patched site's slot
 * has gone below the red zone and calls the entry with the call's registers; all of them but rax, rcx and r11 come back as they were.
 * Carry set: the call is still to be made.
 */
	.section .gate, "ax", @progbits
	.globl kp_gate_insn
kp_gate_insn: /* KP_GATE */
	syscall
	ret
	.balign 8
kp_ask_insn: /* KP_ASK */
	syscall
	ret
	.balign 16
	endbr64 /* KP_STUB_ENTRY */
	push %rdi
	push %rsi
	push %rdx
	push %r10
	push %r8
	push %r9
	push %rax
	mov %rsp, %rdi
	push %rbp
	mov %rsp, %rbp
	and $-16, %rsp
	cld
	call kp_stub
	mov %rbp, %rsp
	pop %rbp
	mov $1, %ecx
	shl $63, %rcx /* MISS */
	cmp %rcx, %rax
	je 1f
	lea 8(%rsp), %rsp
	clc
	jmp 2f
1:	pop %rax
	stc
2:	pop %r9
	pop %r8
	pop %r10
	pop %rdx
	pop %rsi
	pop %rdi
	ret

	.text
	.globl kp_gate, kp_ask
	.macro from_c insn
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	jmp \insn
	.endm
/* kp_gate(nr, a, b, c, d), kp_ask(nr, a, b, c, d) */
kp_gate:
	from_c kp_gate_insn
kp_ask:
	from_c kp_ask_insn
	.section .note.GNU-stack,"",@progbits

/* SPDX-License-Identifier: Apache-2.0 */
/* The loader's first and last instructions: a stack of its own, since the process's is rebuilt under it. */
	.section .bss.stack, "aw", @nobits
	.balign 4096
	.skip 4 * 4096 - 2048 /* the rest of the last page: loader.c */
stack_top:
	.text
	.globl _start, kp_jump
_start:
	mov %rsp, %rdi
	lea stack_top(%rip), %rsp
	xor %ebp, %ebp
	call kp_loader_main
	hlt

/* kp_jump(sp, entry): registers and flags as execve leaves them */
kp_jump:
	mov %rdi, %rsp
	push %rsi
	xor %eax, %eax
	xor %ebx, %ebx
	xor %ecx, %ecx
	xor %edx, %edx
	xor %esi, %esi
	xor %edi, %edi
	xor %ebp, %ebp
	xor %r8d, %r8d
	xor %r9d, %r9d
	xor %r10d, %r10d
	xor %r11d, %r11d
	xor %r12d, %r12d
	xor %r13d, %r13d
	xor %r14d, %r14d
	xor %r15d, %r15d
	push $0x202
	popfq
	ret
	.section .note.GNU-stack,"",@progbits

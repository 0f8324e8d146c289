/* SPDX-License-Identifier: Apache-2.0 */
/* ELF headers as the supervisor and the loader check them. */
#include <stdlib.h>

#include "loader/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_elf_info info;
	struct kp_elf_span span;

	if (kp_elf_check(data, size, size, &info) < 0)
		return 0;
	if (info.has_interp && info.interp_off + info.interp_len > size)
		abort();
	if (kp_elf_span(data + info.phoff, &info, &span) < 0)
		return 0;
	if (span.lo >= span.hi || span.hi > KP_ELF_TASK_SIZE || span.brk > span.hi || (span.align & (span.align - 1)))
		abort();
	return 0;
}

# SPDX-License-Identifier: Apache-2.0
# Everything is a target; `make help` lists them. Objects go under build/VARIANT/.

CC ?= gcc
PREFIX ?= /usr/local
SANITIZE ?=
DEVELOPER ?=
V ?=
VERSION := 0.1.0

comma := ,
VARIANT := $(if $(SANITIZE),san-$(subst $(comma),-,$(SANITIZE)),release)
BUILD ?= build
O := $(BUILD)/$(VARIANT)
Q := $(if $(V),,@)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2 \
	-Wvla -Wundef -Wimplicit-fallthrough -Wswitch-enum -Woverride-init -Wdate-time -Wno-format-nonliteral \
	$(if $(DEVELOPER),-Werror)
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DKP_VERSION='"$(VERSION)"' -Iinclude -Isrc -I. -I$(O)/gen
CFLAGS_ALL := -std=gnu11 $(WARN) -O2 -g -fno-common -fno-strict-aliasing -pthread -MMD -MP \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined,\
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong) $(CFLAGS)
# ASan cannot be linked statically; the sanitized launcher is dynamic and is for tests only.
LINK_LAUNCHER := $(if $(SANITIZE),,-static-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now)
PIC := $(if $(SANITIZE),,-fPIE)

LIB_DIRS := base image store manifest vfs sys trap instance launch confine
LIB_SRC := $(filter-out src/sys/mkfilter.c,$(sort $(foreach d,$(LIB_DIRS),$(wildcard src/$(d)/*.c))))
LIB_OBJ := $(LIB_SRC:%.c=$(O)/%.o) $(O)/gen/loader_blob.o  $(O)/gen/filter_code.o
LAUNCHER_SRC := src/main.c $(sort $(wildcard src/cmd/*.c))
LAUNCHER_OBJ := $(LAUNCHER_SRC:%.c=$(O)/%.o)
PACK_SRC := $(sort $(wildcard packager/*.c))
PACK_OBJ := $(PACK_SRC:%.c=$(O)/%.o)
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
UNIT_OBJ := $(UNIT_SRC:%.c=$(O)/%.o)

LAUNCHER_LIBS := -lseccomp -lsquashfs -llz4 -lz -llzma -lzstd -lyaml -lsodium -pthread
PACK_LIBS := $(LAUNCHER_LIBS) -larchive -lelf

all: $(O)/kapsel $(O)/kapsel-pack ## build the launcher and the packager

$(O)/libkapsel.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(O)/kapsel: $(LAUNCHER_OBJ) $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK_LAUNCHER) -o $@ $^ $(LAUNCHER_LIBS)

$(O)/kapsel-pack: $(PACK_OBJ) $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) -pie -o $@ $^ $(PACK_LIBS)

$(O)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(PIC) -c -o $@ $<

# --- the exec loader: freestanding, never sanitized, carried by the launcher as bytes ---
LOADER_CFLAGS := -std=gnu11 $(WARN) -Os -ffreestanding -fPIE -fvisibility=hidden -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns \
	-mgeneral-regs-only -U_FORTIFY_SOURCE
$(O)/loader: src/loader/loader.c src/loader/start.S src/loader/loader.lds src/loader/elf.h include/kapsel/start.h
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude -Isrc $(LOADER_CFLAGS) -nostdlib -static -no-pie -s -Wl,--build-id=none \
		-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,-T,src/loader/loader.lds -o $@ \
		src/loader/start.S src/loader/loader.c
	@chmod 0555 $@

$(O)/gen/loader_blob.o: $(O)/loader
	@mkdir -p $(@D)
	@printf '.section .rodata\n.balign 16\n.globl kp_loader_start, kp_loader_end\nkp_loader_start: .incbin "%s"\n%s\n%s\n' \
		$(O)/loader 'kp_loader_end: .byte 0' '.section .note.GNU-stack,"",@progbits' > $(@:.o=.S)
	$(Q)$(CC) -c -o $@ $(@:.o=.S)

# --- the seccomp filter: made at build time from the table ---
FILTER_TOOL_SRC := src/sys/mkfilter.c src/sys/filter.c src/sys/table.c $(wildcard src/base/*.c)
$(O)/mkfilter: $(FILTER_TOOL_SRC) src/sys/syscalls.def src/sys/table.h src/sys/filter.h include/kapsel/start.h
	@mkdir -p $(@D)
	@echo "  HOST $@"
	$(Q)$(CC) $(CPPFLAGS) -std=gnu11 -O1 -pthread -DKP_TABLE_ONLY -o $@ $(FILTER_TOOL_SRC) -lseccomp

$(O)/gen/filter_code.c: $(O)/mkfilter
	@mkdir -p $(@D)
	$(Q)$(O)/mkfilter >$@

# The names of the building host's kernel headers, for the test that each has a row.
$(O)/gen/unistd_names.inc:
	@mkdir -p $(@D)
	$(Q)echo '#include <asm/unistd.h>' | $(CC) -E -dM -x c - | \
		sed -n 's/^#define __NR_\([a-z0-9_]*\) \([0-9]*\)$$/KNOWN(\1, \2)/p' >$@

$(O)/tests/unit/test_table.o: $(O)/gen/unistd_names.inc

$(O)/gen/filter_code.o: $(O)/gen/filter_code.c
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(PIC) -c -o $@ $<

# --- unit tests: one Check runner over tests/unit/test_*.c ---
$(O)/unit: $(UNIT_OBJ) $(filter-out %/main.o,$(PACK_OBJ)) $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PACK_LIBS) -lcheck_pic -lsubunit -lrt -lm

check-unit: $(O)/unit ## unit tests
	$(Q)$(O)/unit

clean: ## remove everything built
	rm -rf $(BUILD)

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: all check-unit clean help
.DELETE_ON_ERROR:
-include $(shell find $(O) -name '*.d' 2>/dev/null)

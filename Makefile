# SPDX-License-Identifier: Apache-2.0
# Everything is a target; `make help` lists them. Objects go under build/VARIANT/.

CC ?= gcc
PREFIX ?= /usr/local
SANITIZE ?=
DEVELOPER ?=
COVERAGE ?=
FAULTS ?=
V ?=
VERSION := 0.1.0

comma := ,
VARIANT := $(if $(SANITIZE),san-$(subst $(comma),-,$(SANITIZE)),$(if $(COVERAGE),coverage,release))$(if $(FAULTS),-faults)
BUILD ?= build
O := $(BUILD)/$(VARIANT)
Q := $(if $(V),,@)

# No -Werror beside sanitizers: their code makes gcc warn of what is not there.
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2 \
	-Wvla -Wundef -Wimplicit-fallthrough -Wswitch-enum -Woverride-init -Wdate-time -Wno-format-nonliteral \
	$(if $(DEVELOPER),$(if $(SANITIZE),,-Werror))
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DKP_VERSION='"$(VERSION)"' -Iinclude -Isrc -I. -I$(O)/gen $(if $(FAULTS),-DKP_FAULTS)
CFLAGS_ALL := -std=gnu11 $(WARN) -O2 -g -fno-common -fno-strict-aliasing -pthread -MMD -MP \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined,\
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong) $(if $(COVERAGE),--coverage -O0) $(CFLAGS)
# ASan cannot be linked statically; the sanitized launcher is dynamic and is for tests only.
LINK_LAUNCHER := $(if $(SANITIZE),,-static-pie -Wl$(comma)-z$(comma)relro$(comma)-z$(comma)now -Wl$(comma)--wrap=dlopen)
PIC := $(if $(SANITIZE),,-fPIE)

LIB_DIRS := base image store registry projection manifest profile vfs sys trap instance changes snapshot launch confine
LIB_SRC := $(filter-out src/sys/mkfilter.c,$(sort $(foreach d,$(LIB_DIRS),$(wildcard src/$(d)/*.c))))
LIB_OBJ := $(LIB_SRC:%.c=$(O)/%.o) $(O)/gen/loader_blob.o $(O)/gen/filter_code.o $(O)/gen/profiles.o
LAUNCHER_SRC := src/main.c $(sort $(wildcard src/cmd/*.c))
LAUNCHER_OBJ := $(LAUNCHER_SRC:%.c=$(O)/%.o)
PACK_SRC := $(sort $(wildcard packager/*.c))
PACK_OBJ := $(PACK_SRC:%.c=$(O)/%.o)
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
UNIT_OBJ := $(UNIT_SRC:%.c=$(O)/%.o)

LAUNCHER_LIBS := -lsqlite3 -lm -lseccomp -lsquashfs -llz4 -lz -llzma -lzstd -lyaml -lsodium -pthread
PACK_LIBS := $(LAUNCHER_LIBS) -larchive -lelf

# Each image carries the launcher: what only debuggers read stands beside it, where they look.
SPLIT_DEBUG = $(if $(SANITIZE)$(COVERAGE),mv $@.full $@,objcopy --only-keep-debug $@.full $@.debug && \
	strip -o $@ $@.full && objcopy --add-gnu-debuglink=$@.debug $@ && rm $@.full)

all: $(O)/kapsel $(O)/kapsel-pack ## build the launcher and the packager

$(O)/libkapsel.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(O)/kapsel: $(LAUNCHER_OBJ) $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) $(LINK_LAUNCHER) -o $@.full $^ $(LAUNCHER_LIBS)
	$(Q)$(SPLIT_DEBUG)

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
LOADER_SRC := $(wildcard src/loader/*.S src/loader/*.c)
$(O)/loader: $(LOADER_SRC) src/loader/loader.lds $(wildcard src/loader/*.h) include/kapsel/start.h include/kapsel/fast.h
	@mkdir -p $(@D)
	@echo "  LINK $@"
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude -Isrc $(LOADER_CFLAGS) -nostdlib -static -no-pie -s -Wl,--build-id=none \
		-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,-T,src/loader/loader.lds -o $@ \
		$(LOADER_SRC)
	@chmod 0555 $@

$(O)/gen/loader_blob.o: $(O)/loader
	@mkdir -p $(@D)
	@printf '.section .rodata\n.balign 16\n.globl kp_loader_start, kp_loader_end\nkp_loader_start: .incbin "%s"\n%s\n%s\n' \
		$(O)/loader 'kp_loader_end: .byte 0' '.section .note.GNU-stack,"",@progbits' > $(@:.o=.S)
	$(Q)$(CC) -c -o $@ $(@:.o=.S)

# --- the shipped profiles: carried by the launcher, which needs nothing of the host ---
PROFILES := portable isolated untrusted server desktop
$(O)/gen/profiles.o: $(PROFILES:%=profiles/%.yaml) Makefile
	@mkdir -p $(@D)
	@{ for p in $(PROFILES); do printf '.section .rodata\nn_%s: .asciz "%s"\ns_%s: .incbin "profiles/%s.yaml"\ne_%s: .byte 0\n' $$p $$p $$p $$p $$p; done; \
		printf '.section .data.rel.ro,"aw"\n.balign 8\n.globl kp_shipped_profiles\nkp_shipped_profiles:\n'; \
		for p in $(PROFILES); do printf '.quad n_%s, s_%s, e_%s\n' $$p $$p $$p; done; \
		printf '.quad 0, 0, 0\n.section .note.GNU-stack,"",@progbits\n'; } > $(@:.o=.S)
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
$(O)/unit: $(UNIT_OBJ) $(filter-out %/main.o,$(PACK_OBJ) $(LAUNCHER_OBJ)) $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PACK_LIBS) -lcheck_pic -lsubunit -lrt -lm

check-unit: $(O)/unit ## unit tests
	$(Q)$(O)/unit

# --- what a build needs, by its Debian 12 names ---
DEPS := gcc make libc6-dev libseccomp-dev libsquashfs-dev liblz4-dev zlib1g-dev liblzma-dev libzstd-dev \
	libyaml-dev libsodium-dev libsqlite3-dev libarchive-dev libelf-dev uthash-dev check libsubunit-dev \
	squashfs-tools musl-tools util-linux busybox-static strace python3
# For fuzz, lint, format and bench only.
DEPS_SAMPLES := golang-go musl-tools rsync sqlite3 git postgresql-15 redis-server nginx-light curl strace gdb
DEPS_DEVELOP := clang clang-format cppcheck gcovr bubblewrap proot git python3 sqlite3 redis-server redis-tools nginx-light wrk

deps: ## install the Debian packages that the build and the tests need
	$(Q)sh tools/deps.sh $(DEPS)

deps-samples: ## what samples/ with a build.sh are built with
	$(Q)sh tools/deps.sh $(DEPS_SAMPLES)

deps-develop: ## the same, with what fuzz, lint, format, coverage and bench use
	$(Q)sh tools/deps.sh $(DEPS) $(DEPS_DEVELOP)

# --- programs that the tests run; never sanitized: they are the guests ---
CALLS_SRC := $(sort $(wildcard tests/calls/*.c))
CALLS_BIN := $(CALLS_SRC:%.c=$(O)/%) $(CALLS_SRC:%.c=$(O)/%-static)
HELPER_SRC := $(sort $(wildcard tests/e2e/*.c))
HELPER_BIN := $(HELPER_SRC:%.c=$(O)/%)
BENCH_SRC := $(sort $(wildcard tests/bench/*.c))
BENCH_BIN := $(BENCH_SRC:%.c=$(O)/%) $(BENCH_SRC:%.c=$(O)/%-static)
# They pass bad pointers on purpose.
TEST_CFLAGS := -std=gnu11 $(WARN) -Wno-nonnull -Wno-stringop-overread -Wno-format-truncation -O2 -g -pthread \
	-MMD -MP -D_GNU_SOURCE -Itests/calls -Iinclude

$(O)/tests/calls/%-static $(O)/tests/bench/%-static: TEST_LINK := -static
$(O)/tests/e2e/%: TEST_LINK := -static
define build-test-program
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(TEST_CFLAGS) $(TEST_LINK) -o $@ $< $(TEST_LIBS)
endef
$(O)/tests/calls/%-static: tests/calls/%.c
	$(build-test-program)
$(O)/tests/calls/%: tests/calls/%.c
	$(build-test-program)
$(O)/tests/bench/%-static: tests/bench/%.c
	$(build-test-program)
$(O)/tests/bench/%: tests/bench/%.c
	$(build-test-program)
$(O)/tests/e2e/% $(O)/tests/bench/least $(O)/tests/bench/least-static: TEST_LIBS := -lseccomp
$(O)/tests/e2e/%: tests/e2e/%.c
	$(build-test-program)

$(O)/tests/property/operations: tests/property/operations.c tests/property/tree.c tests/property/tree.h
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(filter-out -MMD -MP,$(TEST_CFLAGS)) -static -o $@ $(filter %.c,$^)

$(O)/tests/property/order: tests/property/order.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(filter-out -MMD -MP,$(TEST_CFLAGS)) -static -o $@ $<

# One address for ever: the victim's memory is named by it.
HOSTILE_SRC := $(sort $(wildcard tests/hostile/*.c))
$(O)/tests/hostile/hostile: $(HOSTILE_SRC) tests/hostile/hostile.h
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(filter-out -MMD -MP,$(TEST_CFLAGS)) -static -no-pie -o $@ $(HOSTILE_SRC)

test-programs: $(CALLS_BIN) $(HELPER_BIN) $(BENCH_BIN) $(O)/tests/hostile/hostile

# --- tests; KAPSEL_MUST_RUN=1 makes a skipped one a failure ---
check: deps deps-samples ## everything below, then that the build left the tree clean
	$(Q)MAKE="$(MAKE)" O=$(O) tools/check.sh

# Natively once; inside with the fast path as it is, from the first call on, and without it.
FAST ?= on eager off

check-guest: all ## programs whose output must be the same natively and inside (ONLY="stat exec" FAST="on eager off")
	$(Q)FAST="$(FAST)" tests/run-guest.sh $(O) $(ONLY)

check-calls: all $(CALLS_BIN) ## the same, a family of system calls each, dynamic and static (ONLY="stat open" FAST=eager)
	$(Q)FAST="$(FAST)" tests/run-calls.sh $(O) $(ONLY)

check-property: all $(O)/tests/property/operations $(O)/tests/property/order ## random operations, the same natively and inside (COUNT=100 STEPS=1000, or SEEDS="7 9")
	$(Q)tests/run-property.sh $(O)

check-docker: all $(CALLS_BIN) $(HELPER_BIN) ## the differential families and e2e under refusals like those of Docker's default filter
	$(Q)KAPSEL_TEST_DOCKER=1 $(O)/tests/e2e/docker-shim $(MAKE) --no-print-directory FAST=on check-calls check-guest check-e2e

check-modes: all $(CALLS_BIN) ## those of check-calls in a tree of the host, shown by each isolation mode
	$(Q)for mode in writecopy merged; do echo "# mode $$mode"; MODE=$$mode tests/run-calls.sh $(O) $(ONLY) || exit 1; done

check-native: $(CALLS_BIN) ## those programs say the same thing each time without Kapsel
	$(Q)tests/run-calls.sh --native $(O) $(ONLY)

check-e2e: all $(HELPER_BIN) ## shell tests of the whole program (ONLY="empty-root")
	$(Q)tests/run-e2e.sh $(O) $(ONLY)

check-hostile: all $(O)/tests/hostile/hostile ## programs that try to get out: natively, inside, and with each mechanism left out (ONLY="open chdir")
	$(Q)$(MAKE) --no-print-directory FAULTS=1 all
	$(Q)tests/run-hostile.sh $(O) $(O)-faults $(ONLY)

check-headers: ## each header compiles alone
	$(Q)for h in $(wildcard include/kapsel/*.h src/*/*.h packager/*.h tests/unit/*.h tests/calls/*.h tests/guest/*.h tests/hostile/*.h); do \
		$(CC) $(CPPFLAGS) -Itests/calls $(filter-out -MMD -MP,$(CFLAGS_ALL)) -Wno-unused-function -Werror \
			-fsyntax-only -x c -include $$h /dev/null || { echo "$$h: does not compile alone"; exit 1; }; \
	done

check-layers: ## no include goes up the layers of src/README.md
	$(Q)tools/check-layers.sh

check-docs: all ## paths named in the documentation exist; options in --help are in the man pages
	$(Q)tools/check-docs.sh $(O)/kapsel

asan: ## unit tests under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory SANITIZE=address,undefined check-unit

check-suites: all $(HELPER_BIN) ## programs' own test suites and many real programs, natively and in each mode (SUITES="python tools" MODES="full merged" UNITS="test_os"); takes hours
	$(Q)tests/run-suites.sh $(O) $(SUITES)

check-suites-fast: all $(HELPER_BIN) ## the part of check-suites that is quick
	$(Q)FAST=1 tests/run-suites.sh $(O) $(SUITES)

samples: all $(HELPER_BIN) ## pack, run and compare each of samples/ (SAMPLES="python git" HOSTS="plain strict docker foreign empty")
	$(Q)tests/run-samples.sh $(O) $(SAMPLES)

bench: all $(BENCH_BIN) ## costs: native, under Kapsel, and under peers where installed (CASES="calls git" ROUNDS=15 ENGINES="native strict" PAGE=1: docs/BENCH.md)
	$(Q)CASES="$(CASES)" ROUNDS="$(or $(ROUNDS),15)" ENGINES="$(ENGINES)" PAGE="$(PAGE)" tests/run-bench.sh $(O)

bench-image: all $(BENCH_BIN) ## a big image: packing beside mksquashfs, size, the first program on a cold store (SIZE=500 MiB)
	$(Q)tests/run-bench-image.sh $(O) $(SIZE)

demo: deps ## pack the host distribution's python and run it as an ordinary user
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tools/demo.sh $(O)

# --- fuzzing: `fuzz` needs clang; `replay` runs every kept input through gcc's sanitizers ---
FUZZ ?= image
TIME ?= 60
FUZZ_O := $(BUILD)/fuzz
FUZZ_FLAGS := -std=gnu11 -O1 -g -fno-omit-frame-pointer -MMD -MP -fno-sanitize-recover=undefined
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*.c))
FUZZ_NAMES := $(filter-out replay,$(FUZZ_SRC:tests/fuzz/%.c=%))
# Whatever the library holds besides compiled src/ files (the embedded loader) is used as it is.
FUZZ_LIB_OBJ = $(LIB_SRC:%.c=$(FUZZ_O)/%.o) $(filter-out $(LIB_SRC:%.c=$(O)/%.o),$(LIB_OBJ))

$(FUZZ_O)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  FUZZ $<"
	$(Q)clang $(CPPFLAGS) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined -c -o $@ $<

$(FUZZ_O)/run-%: $(FUZZ_O)/tests/fuzz/%.o $(FUZZ_LIB_OBJ)
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(PACK_LIBS)

fuzz: $(FUZZ_O)/run-$(FUZZ) ## look for new inputs with clang's libFuzzer (FUZZ=image TIME=60)
	@mkdir -p $(FUZZ_O)/found/$(FUZZ)
	$(Q)$< -max_total_time=$(TIME) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix=$(FUZZ_O)/crash-$(FUZZ)- $(FUZZ_O)/found/$(FUZZ) \
		$(wildcard tests/fuzz/corpus/$(FUZZ))

$(O)/replay-%: $(O)/tests/fuzz/%.o $(O)/tests/fuzz/replay.o $(O)/libkapsel.a
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $^ $(PACK_LIBS)

replay: ## every input of tests/fuzz/corpus/ once, under ASan and UBSan
	$(Q)$(MAKE) --no-print-directory SANITIZE=address,undefined replay-run

replay-run: $(FUZZ_NAMES:%=$(O)/replay-%)
	$(Q)export ASAN_OPTIONS=max_allocation_size_mb=512; for name in $(FUZZ_NAMES); do $(O)/replay-$$name tests/fuzz/corpus/$$name || exit 1; done

# --- looking at the source ---
lint: ## long files and functions, `//`, trailing blanks; CPPCHECK=1: cppcheck too
	$(Q)CPPCHECK="$(CPPCHECK)" tools/lint.sh

format: ## clang-format of the files changed since HEAD
	$(Q)git diff --name-only --diff-filter=d HEAD -- '*.c' '*.h' | xargs -r clang-format -i

coverage: ## which lines the unit tests reach
	$(Q)$(MAKE) --no-print-directory COVERAGE=1 check-unit
	$(Q)tools/coverage.sh $(BUILD)/coverage

compile_commands.json: ## for clangd and the like
	$(Q)set -- $(LIB_SRC) $(LAUNCHER_SRC) $(PACK_SRC) $(UNIT_SRC); sep='['; for f; do \
		printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' "$$sep" "$(CURDIR)" "$$f" \
		'$(subst ",\",$(CC) $(subst ',,$(CPPFLAGS)) $(filter-out -MMD -MP,$(CFLAGS_ALL)) -c) '"$$f"; \
		sep=,; done > $@; printf '\n]\n' >> $@

# --- installing ---
install: all ## DESTDIR= PREFIX=
	$(Q)DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install.sh $(O)

uninstall: ## what install put there
	$(Q)DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install.sh --uninstall

dist: ## build/kapsel-VERSION.tar.gz from the last commit
	@mkdir -p $(BUILD)
	git archive --format=tar --prefix=kapsel-$(VERSION)/ HEAD | gzip -9n > $(BUILD)/kapsel-$(VERSION).tar.gz

clean: ## remove everything built
	rm -rf $(BUILD)

help: ## this list
	@awk -F':.*## ' '/^[a-z_.-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: all check check-suites check-suites-fast check-docker check-hostile check-unit check-guest check-calls check-native check-e2e check-headers check-layers check-docs \
	asan check-modes check-property samples bench demo deps deps-samples deps-develop fuzz replay replay-run lint format coverage \
	compile_commands.json install uninstall dist test-programs clean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(O) $(FUZZ_O) -name '*.d' 2>/dev/null)

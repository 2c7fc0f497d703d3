# Makefile: builds build/loopmark, tests it and runs it. `make help` lists the targets.
#
# Nothing has to be prepared: every target first sees that the packages it needs are there.
#
#   SAN=address|thread   a variant with sanitizers, in build/address or build/thread
#   WERROR=1             warnings are errors
#   ONLY=PATTERN         of the tests, those whose name contains PATTERN (a shell pattern)
#   TEST_JOBS=N          how many test programs run at a time; without it, one for each CPU
#   DEPS=check|install   only list missing packages, or install them without asking
#   AWAKE=1              bench keeps the CPUs from sleeping: for virtual machines
#   FUZZ_SECONDS=20      how long each fuzzing program runs; or FUZZ_RUNS, how many inputs it gets
#   SOAK_SECONDS=60      how long `make soak` runs
#   SOAK_REQUESTS=1000000 how many `make soak-database` asks
#   PREFIX=/usr/local    where `make install` puts it; DESTDIR=FOLDER is put before, for packages
#   HDR_C_DIR=FOLDER     where HdrHistogram_c is installed, for bench-histogram to compare with

SAN          ?=
ONLY         ?=
FUZZ_SECONDS ?= 20
SOAK_SECONDS ?= 60
SOAK_REQUESTS ?= 1000000
CFLAGS       ?= -O2 -g
PREFIX       ?= /usr/local
export SAN ONLY

SANITIZE_        =
SANITIZE_address = -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZE_thread  = -fsanitize=thread
SANITIZE_fuzz    = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
ifeq ($(origin SANITIZE_$(SAN)),undefined)
$(error SAN=$(SAN) is not known; it is address or thread)
endif

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith
FLAGS    = -std=gnu11 -D_GNU_SOURCE -I. $(CFLAGS) -fno-omit-frame-pointer -pthread \
           $(SANITIZE_$(SAN)) $(WARNINGS) $(if $(WERROR),-Werror)

# Without an optional library, HAVE_<NAME> is not defined, and what needs it says so when asked for.
LIBRARIES = jansson inih zlib
OPTIONAL  = libuv liburing openssl libpq sqlite3
LEAST_openssl  = >= 3.0
LEAST_liburing = >= 2.3
FOUND     = $(foreach name,$(OPTIONAL),$(shell pkg-config --exists "$(name) $(LEAST_$(name))" && \
                                               echo $(name)))
HAVE      = $(shell echo $(FOUND:%=-DHAVE_%) | tr a-z A-Z) $(if $(LLHTTP),-DHAVE_LLHTTP)

# llhttp is a library on newer systems. Debian 12 has its sources only, in the package node-llhttp.
LLHTTP         = $(or $(shell pkg-config --exists libllhttp && echo libllhttp),$(LLHTTP_SOURCES))
LLHTTP_SOURCES = $(wildcard /usr/share/llhttp/*.c)
LLHTTP_LIBRARY = $(filter libllhttp,$(LLHTTP))
LLHTTP_FLAGS   = $(if $(LLHTTP_LIBRARY),,-isystem /usr/share/include/llhttp)

BUILD   := build$(SAN:%=/%)
PROGRAM := $(BUILD)/loopmark
ARCHIVE := $(BUILD)/libloopmark.a
SOURCES := $(wildcard loops/*.c workloads/*.c workloads/drivers/*.c workloads/techniques/*.c \
                      harness/*.c)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

# Each of these files is a program. In the same folder, files with other names are shared by them.
programs     = $(patsubst %.c,$(BUILD)/%,$(wildcard $1))
shared       = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $1,$(wildcard $(dir $1)*.c)))
UNIT        := $(call programs,tests/unit/test_*.c)
CONFORMANCE := $(call programs,tests/conformance/test_*.c)
ACCURACY    := $(call programs,tests/accuracy/*.c)
FUZZ        := $(call programs,tests/fuzz/fuzz_*.c)
NULL_ECHO   := $(BUILD)/tests/performance/null_echo
SOAK        := $(call programs,tests/soak/*.c)
STRUCTURE   := $(wildcard tests/structure/*.sh)
RAW_SERVERS := $(patsubst workloads/%.c,$(BUILD)/%,$(wildcard workloads/servers/raw_*.c))
MAN_PAGE    := $(BUILD)/loopmark.1
INTEROP     := build/interop/node_modules/.package-lock.json

# Sanitizers need address ranges that a kernel with much randomisation may give away.
UNRANDOMISED = $$(setarch -R true 2>/dev/null && echo setarch -R)

.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help setup test interop smoke bench bench-full bench-histogram bench-generators \
        bench-monitors bench-pgbench bench-stall accuracy fuzz fuzz-run soak soak-run soak-posts \
        soak-database plots report lint format-check install install-built uninstall clean

# ---- targets ------------------------------------------------------------------------------------

all: $(PROGRAM) $(RAW_SERVERS) $(MAN_PAGE) ## builds build/loopmark, its man page and build/servers/

help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
	@awk '/^#   [A-Z_]+=/ { sub(/^#  /, ""); print }' Makefile

setup: ## sees that all packages are there, and installs what is missing; it asks first
	@.ci/setup build $(sort $(foreach goal,$(MAKECMDGOALS),$(NEEDS_$(goal))))

# The groups of .ci/packages that a target needs beyond `build`.
NEEDS_setup      = test bench servers interop
NEEDS_test       = test bench servers
NEEDS_interop    = interop
NEEDS_accuracy   = test servers
NEEDS_lint       = test
NEEDS_smoke      = bench servers
NEEDS_bench      = bench servers
NEEDS_bench-full = bench servers
NEEDS_bench-generators = test servers
NEEDS_bench-monitors = test
NEEDS_bench-pgbench = bench servers
NEEDS_bench-stall = test servers generators
NEEDS_plots      = bench

test: all $(UNIT) $(CONFORMANCE) $(FUZZ) $(NULL_ECHO) $(SOAK) ## runs all tests; also with SAN=…
	@TEST_JOBS=$${TEST_JOBS:-$$(nproc)} \
	    tests/run $(STRUCTURE) $(UNIT) $(CONFORMANCE) $(FUZZ) $(SOAK) tests/soak/database.sh \
	    $(if $(SAN),,tests/performance/instructions.sh) \
	    $(wildcard tests/end_to_end/*.sh $(if $(filter thread,$(SAN)),,tests/interop/*.sh))

# Without it these tests say what they leave out.
interop: $(INTEROP) ## fetches what the interop tests compare with, for `make test`

accuracy: $(PROGRAM) $(ACCURACY) $(SOAK) ## checks what is measured against what is known
	@TEST_TIMEOUT_S=1500 tests/run $(ACCURACY) $(wildcard tests/accuracy/*.sh)

lint: $(PROGRAM) ## checks layers, style and shell scripts; `make test` does it too
	@tests/run $(STRUCTURE)

format-check: ## counts per file what clang-format would change: a hint, not a rule
	@clang-format --dry-run $$(git ls-files -co --exclude-standard '*.[ch]') 2>&1 | \
	    awk -F : '/warning:/ { changes[$$1]++ } \
	              END { for (file in changes) print changes[file], file }' | sort -rn

smoke: all ## runs every experiment for an instant, to see that it works
	$(PROGRAM) run --smoke all

bench: all ## measures the headline cells of all experiments; writes results/<run>/
	$(PROGRAM) run --headline $(if $(AWAKE),--keep-awake) all

bench-full: all ## measures all cells of all experiments
	$(PROGRAM) run $(if $(AWAKE),--keep-awake) all

bench-histogram: $(BUILD)/tests/performance/histogram ## times the histogram, beside HDR_C_DIR's
	@$<

bench-generators: $(PROGRAM) ## times `load` beside wrk and h2load, all against nginx
	@/usr/bin/python3 tests/performance/generators.py $(PROGRAM)

bench-monitors: $(PROGRAM) ## what each monitor of a loop costs, in CPU time per request
	@/usr/bin/python3 tests/performance/monitors.py $(PROGRAM)

bench-pgbench: $(PROGRAM) ## times `load` of a PostgreSQL beside pgbench
	@/usr/bin/python3 tests/performance/pgbench.py $(PROGRAM)

bench-stall: $(PROGRAM) ## what load generators say of an nginx that is stopped for a second
	@/usr/bin/python3 tests/accuracy/stall_tools.py $(PROGRAM)

plots: $(PROGRAM) ## draws the figures of the latest run again
	$(PROGRAM) plot results/latest

report: $(PROGRAM) ## writes the report of the latest run again
	$(PROGRAM) report results/latest

# libFuzzer comes with clang. Without it, `make test` still feeds each program its corpus.
fuzz: setup ## feeds damaged input to every parser, FUZZ_SECONDS or FUZZ_RUNS each
	@if echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' | \
	    clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null; \
	then $(MAKE) --no-print-directory SAN=fuzz CC=clang FUZZ_LINK=-fsanitize=fuzzer fuzz-run; \
	else echo "fuzzing needs clang and its libFuzzer (Debian: clang, libclang-rt-14-dev)"; exit 1; fi

fuzz-run: $(FUZZ)
	@for program in $(FUZZ); do \
	    name=$${program##*/fuzz_}; found=build/corpus/$$name; mkdir -p $$found; echo "$$name"; \
	    ASAN_OPTIONS=quarantine_size_mb=1 $$program -print_final_stats=1 \
	        $(if $(FUZZ_RUNS),-runs=$(FUZZ_RUNS),-max_total_time=$(FUZZ_SECONDS)) \
	        -artifact_prefix=$$found- $$found tests/fuzz/corpus/$$name || exit 1; \
	done

soak: ## echoes on 1,000 connections, short of buffers; SAN=address if none is given
	@$(MAKE) --no-print-directory SAN=$(or $(SAN),address) soak-run

soak-run: $(BUILD)/tests/soak/echo
	@$(UNRANDOMISED) $< --seconds $(SOAK_SECONDS)

soak-posts: $(BUILD)/tests/soak/posts ## posts by the million to every loop; also with SAN=…
	@$(UNRANDOMISED) $< --posts 1000000

soak-database: $(PROGRAM) ## asks a pooled PostgreSQL on every loop, and checks ids; also with SAN=…
	@SOAK_REQUESTS=$(SOAK_REQUESTS) TEST_TIMEOUT_S=3600 tests/run tests/soak/database.sh

# What the program reads is laid out in share/loopmark as it is here, so that it is found alike.
INSTALLED       = $(DESTDIR)$(PREFIX)
SHARE           = $(INSTALLED)/share
LIBEXEC         = $(INSTALLED)/libexec/loopmark
BASH_COMPLETION = $(SHARE)/bash-completion/completions/loopmark
ZSH_COMPLETION  = $(SHARE)/zsh/site-functions/_loopmark

install: all ## installs the program, its data, man page and completion; PREFIX, DESTDIR
	@$(MAKE) --no-print-directory install-built

install-built: uninstall
	install -D $(PROGRAM) "$(INSTALLED)/bin/loopmark"
	install -D -m 644 -t "$(SHARE)/loopmark/harness/experiments" harness/experiments/*.ini
	install -D -m 644 -t "$(SHARE)/loopmark/plots" plots/*.gp
	install -D -m 644 -t "$(SHARE)/loopmark/workloads/servers" workloads/servers/*.py
	install -D -m 644 -t "$(SHARE)/loopmark/results" results/README.md
	install -D -t "$(LIBEXEC)" $(wildcard $(RAW_SERVERS))
	install -d "$(SHARE)/loopmark/build"
	ln -s ../../../libexec/loopmark "$(SHARE)/loopmark/build/servers"
	install -D -m 644 $(MAN_PAGE) "$(SHARE)/man/man1/loopmark.1"
	install -D -m 644 harness/completion/loopmark.bash "$(BASH_COMPLETION)"
	install -D -m 644 harness/completion/_loopmark "$(ZSH_COMPLETION)"

uninstall: ## removes what `make install` with the same PREFIX and DESTDIR has put there
	rm -rf "$(SHARE)/loopmark" "$(LIBEXEC)"
	rm -f "$(INSTALLED)/bin/loopmark" "$(SHARE)/man/man1/loopmark.1" \
	    "$(BASH_COMPLETION)" "$(ZSH_COMPLETION)"

clean: ## removes everything that was built
	rm -rf build

# ---- building -----------------------------------------------------------------------------------

# Flags lie in files that the compiler reads (@file). They are written only when they change, and
# what is built with them depends on them. $(call when_changed,COMMAND) writes COMMAND's output so.
define when_changed
	@mkdir -p $(@D)
	@{ $1; } >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef

$(BUILD)/compiler: setup
	$(call when_changed,$(CC) --version)

$(BUILD)/flags: setup
	$(call when_changed,echo $(FLAGS) $(HAVE) $(LLHTTP_FLAGS) \
	    $$(pkg-config --cflags $(LIBRARIES) $(FOUND) $(LLHTTP_LIBRARY)))

$(BUILD)/libraries: setup
	$(call when_changed,echo $$(pkg-config --libs $(LIBRARIES) $(FOUND) $(LLHTTP_LIBRARY)) -lm)

# The revision goes only to what includes build_info.h, so that a commit compiles little again.
$(BUILD)/info: setup
	$(call when_changed,printf '%s\n' \
	    "'-DLOOPMARK_REVISION=\"$$(git describe --always --dirty --abbrev=12 --exclude '*')\"'" \
	    "'-DLOOPMARK_COMPILER=\"$$($(CC) --version | head -n 1)\"'" \
	    "'-DLOOPMARK_FLAGS=\"$(strip $(CFLAGS) $(SANITIZE_$(SAN)))\"'")

INFORMED := $(patsubst %.c,$(BUILD)/%.o,$(shell grep -l build_info.h $(SOURCES) \
                                              tests/performance/*.c))
$(INFORMED): $(BUILD)/info
$(INFORMED): INFO = @$(BUILD)/info

$(BUILD)/%.o: %.c $(BUILD)/flags $(BUILD)/compiler
	@mkdir -p $(@D)
	$(CC) @$(BUILD)/flags $(FLAGS_HERE) $(INFO) -MMD -MP -c $< -o $@

# All of llhttp's sources, or nothing. Strict, and not ours to have warnings about.
define compile_llhttp
	$(CC) @$(BUILD)/flags -w -DLLHTTP_STRICT_MODE=1 -x c -c $1 -o $(@D)/llhttp/$(notdir $1).o

endef

$(BUILD)/llhttp.o: $(BUILD)/flags $(BUILD)/compiler
	@rm -rf $(@D)/llhttp && mkdir -p $(@D)/llhttp
	$(foreach source,/dev/null $(if $(LLHTTP_LIBRARY),,$(LLHTTP_SOURCES)),\
	    $(call compile_llhttp,$(source)))
	$(LD) -r $(@D)/llhttp/*.o -o $@

$(ARCHIVE): $(filter-out $(BUILD)/harness/main.o,$(OBJECTS)) $(BUILD)/llhttp.o
	@rm -f $@
	$(AR) rcs $@ $^

LINK = $(CC) @$(BUILD)/flags $(filter %.o,$^) $(ARCHIVE) @$(BUILD)/libraries

$(PROGRAM): $(BUILD)/harness/main.o $(ARCHIVE) $(BUILD)/libraries
	$(LINK) -o $@

$(MAN_PAGE): $(PROGRAM)
	$(UNRANDOMISED) $< --man-page >$@

# Programs that an experiment starts as servers. One whose library is missing is left out.
LIBRARY_raw_io_uring = liburing
LIBRARY_raw_libuv    = libuv

$(RAW_SERVERS): $(BUILD)/servers/%: workloads/servers/%.c workloads/servers/raw.h \
                $(BUILD)/workloads/servers/raw.o $(BUILD)/flags $(BUILD)/compiler
	@mkdir -p $(@D)
	$(if $(filter-out $(FOUND),$(LIBRARY_$*)),@echo "$@ is left out: $(LIBRARY_$*) is missing", \
	    $(CC) @$(BUILD)/flags $< $(filter %.o,$^) -o $@ \
	        $(if $(LIBRARY_$*),$$(pkg-config --libs $(LIBRARY_$*))))

$(UNIT): $(call shared,tests/unit/test_%.c)
$(CONFORMANCE): $(call shared,tests/conformance/test_%.c)
$(UNIT) $(CONFORMANCE) $(ACCURACY): %: %.o $(ARCHIVE) $(BUILD)/libraries
	$(LINK) -lcmocka -o $@

# HdrHistogram_c as its own `cmake --install --prefix $(HDR_C_DIR)` leaves it.
HDR_C = $(if $(HDR_C_DIR),$(or $(wildcard $(HDR_C_DIR)/lib/libhdr_histogram_static.a \
                                          $(HDR_C_DIR)/lib/*/libhdr_histogram_static.a), \
    $(error HDR_C_DIR=$(HDR_C_DIR) has no lib/libhdr_histogram_static.a: install it there first)))

$(BUILD)/hdr_c/given: setup
	$(call when_changed,echo '$(HDR_C_DIR)')

$(BUILD)/tests/performance/histogram.o: \
    FLAGS_HERE = $(if $(HDR_C),-DHAVE_HDR_C -I$(HDR_C_DIR)/include)
$(BUILD)/tests/performance/histogram.o: $(BUILD)/hdr_c/given
$(BUILD)/tests/performance/histogram: %: %.o $(ARCHIVE) $(BUILD)/libraries
	$(LINK) $(HDR_C) @$(BUILD)/libraries -o $@

$(NULL_ECHO) $(SOAK): %: %.o $(ARCHIVE) $(BUILD)/libraries
	$(LINK) -o $@

$(FUZZ): $(if $(FUZZ_LINK),,$(BUILD)/tests/fuzz/replay.o)
$(FUZZ): %: %.o $(ARCHIVE) $(BUILD)/libraries
	$(LINK) $(FUZZ_LINK) -o $@

$(INTEROP): tests/interop/package.json tests/interop/package-lock.json | setup
	@mkdir -p build/interop && cp $^ build/interop/
	npm ci --prefix build/interop --ignore-scripts --no-audit --no-fund
	@touch $@

-include $(OBJECTS:.o=.d) $(NULL_ECHO).d \
    $(patsubst %,%.d,$(UNIT) $(CONFORMANCE) $(ACCURACY) $(SOAK) $(FUZZ)) \
    $(patsubst %.o,%.d,$(call shared,tests/unit/test_%.c) \
                       $(call shared,tests/conformance/test_%.c) $(BUILD)/workloads/servers/raw.o)

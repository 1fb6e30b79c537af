# core.mk
#	Unit tests, fuzz targets and lint of the core (included by the Makefile).
#
# The core links alone: no PostgreSQL is needed here. Objects go to build/, a
# folder for each way of compiling:
#
#	build/plain/	$(CC), as shipped
#	build/sanitized/	clang (or $(CC)), AddressSanitizer and UndefinedBehaviorSanitizer
#	build/fuzz/	clang with libFuzzer as well

CORE_SOURCES = $(sort $(wildcard src/core/*.c))
CORE_HEADERS = $(wildcard src/core/*.h test/*.h test/unit/*.h test/fuzz/*.h)
UNIT_TESTS = $(patsubst test/unit/%.c,%,$(sort $(wildcard test/unit/*_test.c)))
UNIT_SHARED = $(filter-out %_test.c,$(sort $(wildcard test/unit/*.c)))
FUZZ_TARGETS = $(patsubst test/fuzz/%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 20

CLANG ?= $(or $(shell command -v clang 2>/dev/null),$(CC))
STRICT = -Wdeclaration-after-statement -Wvla -Werror
CHECKED_CFLAGS = $(LAT_CFLAGS) $(STRICT) -g -Isrc -Itest
CORE_LIBS = -lutf8proc -lm -pthread
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

plain_CC = $(CC)
plain_FLAGS =
sanitized_CC = $(CLANG)
sanitized_FLAGS = -O1 $(SANITIZE)
fuzz_CC = clang
fuzz_FLAGS = -O1 $(SANITIZE) -fsanitize=fuzzer-no-link

# Rules of one way of compiling, $(1).
define COMPILED
$(1)_CORE = $$(patsubst src/core/%.c,build/$(1)/core/%.o,$$(CORE_SOURCES))
$(1)_SHARED = $$(patsubst test/unit/%.c,build/$(1)/unit/%.o,$$(UNIT_SHARED))

build/$(1)/core/%.o: src/core/%.c $$(CORE_HEADERS)
	@mkdir -p $$(@D)
	@echo "  compile $$@"
	@$$($(1)_CC) $$(CHECKED_CFLAGS) $$($(1)_FLAGS) -c -o $$@ $$<

build/$(1)/unit/%.o: test/unit/%.c $$(CORE_HEADERS)
	@mkdir -p $$(@D)
	@echo "  compile $$@"
	@$$($(1)_CC) $$(CHECKED_CFLAGS) $$($(1)_FLAGS) -c -o $$@ $$<

build/$(1)/%_test: build/$(1)/unit/%_test.o $$($(1)_SHARED) $$($(1)_CORE)
	@$$($(1)_CC) $$($(1)_FLAGS) -o $$@ $$^ $$(CORE_LIBS)
endef
$(foreach way,plain sanitized fuzz,$(eval $(call COMPILED,$(way))))

.SECONDARY:

# Every program runs, two at a time, even after one that failed; each gets the folder of golden
# values, prints when it has ended, and ends with "NAME: N passed, M failed".
RUN_ALL = printf '%s\n' $^ | xargs -P 2 -I{} sh -c \
	'printed=$$({} test/golden 2>&1); status=$$?; printf "%s\n" "$$printed"; exit $$status'

unit: unit-plain unit-sanitized

unit-plain: $(UNIT_TESTS:%=build/plain/%)
	@$(RUN_ALL)

unit-sanitized: $(UNIT_TESTS:%=build/sanitized/%)
	@$(RUN_ALL)

build/fuzz/fuzz_%: test/fuzz/fuzz_%.c $(fuzz_SHARED) $(fuzz_CORE) $(CORE_HEADERS)
	@echo "  compile $@"
	@$(fuzz_CC) $(CHECKED_CFLAGS) $(fuzz_FLAGS) -fsanitize=fuzzer -o $@ \
		$(filter %.c %.o,$^) $(CORE_LIBS)

fuzz-build: $(FUZZ_TARGETS:%=build/fuzz/%)

# Seeds, where there are some, lie in test/fuzz/NAME/ beside the target's source; what the run
# finds goes to build/.
fuzz: fuzz-build
	@failed=0; for target in $(FUZZ_TARGETS); do \
		mkdir -p build/fuzz/corpus/$$target; \
		seeds=; [ -d test/fuzz/$$target ] && seeds=test/fuzz/$$target; \
		if build/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
			-artifact_prefix=build/fuzz/$$target- -verbosity=1 -print_final_stats=1 \
			build/fuzz/corpus/$$target $$seeds >build/fuzz/$$target.log 2>&1; \
		then echo "$$target: 1 passed, 0 failed" \
			"($$(sed -n 's/^stat::number_of_executed_units: *//p' build/fuzz/$$target.log) runs)"; \
		else tail -n 40 build/fuzz/$$target.log; echo "$$target: 0 passed, 1 failed"; failed=1; \
		fi; done; exit $$failed

lint-layers: $(plain_CORE)
	@test/layers.sh $^

lint: $(plain_CORE) $(sanitized_CORE)
	@test/lint.sh

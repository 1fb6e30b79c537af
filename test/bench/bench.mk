# bench.mk
#	Benchmarks against other engines (included by the Makefile); see test/bench/README.md.
#
# They are no part of the tests. Peers are fetched by hand; the table names those that are missing.

BENCH_PROGRAMS = $(patsubst test/bench/%.c,build/bench/%,$(wildcard test/bench/bench_*.c))

# oneDNN, if there is one (Debian's libdnnl-dev).
ifneq ($(wildcard /usr/include/oneapi/dnnl/dnnl.h),)
BENCH_FLAGS = -DBENCH_ONEDNN
BENCH_LIBS = -ldnnl
endif

build/bench/%: test/bench/%.c $(plain_CORE) $(CORE_HEADERS)
	@mkdir -p $(@D)
	@echo "  compile $@"
	@$(CC) $(CHECKED_CFLAGS) $(BENCH_FLAGS) -o $@ $(filter %.c %.o,$^) $(CORE_LIBS) $(BENCH_LIBS)

bench-programs: $(BENCH_PROGRAMS)

bench: bench-programs
	@python3 test/bench/run.py $(BENCH)

bench-quick: bench-programs
	@python3 test/bench/run.py --quick $(BENCH)

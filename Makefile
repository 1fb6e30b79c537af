# lat: length-adaptive transformer inference inside PostgreSQL
#
#	make, make install, make installcheck	as of any extension built with PGXS
#	make demo	install everything, show real queries on a throw-away cluster
#	make check	install what the tests need, run every test on throw-away clusters
#	make check-versions	the regression tests on other PostgreSQL versions
#	make unit, fuzz, lint-layers, lint	the core alone, without PostgreSQL
#	make bench, bench-quick	speed beside other engines (BENCH="tokenizer sql": these alone)

EXTENSION = lat
MODULE_big = lat
DATA = $(wildcard sql/lat--*.sql)

CORE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/core/*.c)))
GLUE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
OBJS = $(GLUE_OBJS) $(CORE_OBJS)

# Contraction off: a fused multiply-add stands only where the code writes one,
# so that results do not depend on the compiler's mood.
LAT_CFLAGS = -std=gnu11 -O3 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-unused-parameter
PG_CPPFLAGS = -I$(srcdir)/src
# PostgreSQL's own macros compare signed with unsigned; the core is checked for it by test/core.mk.
PG_CFLAGS = $(LAT_CFLAGS) -Wno-sign-compare
SHLIB_LINK = -lutf8proc -lm

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
EXTRA_CLEAN = build

# The default models, for lat_install_default_models().
MODELS = $(wildcard models/*.latpack models/*.pareto)

# Bitcode lets the JIT inline an extension's functions into expressions. Ours
# run for milliseconds: there is nothing to gain, and a compiler to need.
override with_llvm = no

PG_CONFIG ?= pg_config

# These goals need no PGXS: the scripts install it first, and PGXS has a
# target `check` of its own, which only says that it cannot.
SCRIPTED = prepare demo check check-versions
CORE_ONLY = unit unit-plain unit-sanitized fuzz fuzz-build lint lint-layers bench bench-quick bench-programs

ifneq ($(filter $(SCRIPTED) $(CORE_ONLY),$(MAKECMDGOALS)),)

export PG_CONFIG

.PHONY: $(SCRIPTED) $(CORE_ONLY)

prepare:
	@test/prepare.sh build

demo:
	@test/demo/demo.sh

check:
	@test/check.sh

check-versions:
	@test/versions.sh

include test/core.mk
include test/bench/bench.mk

# Other goals on the same command line, as in `make clean check`.
PASSED_ON = $(filter-out $(SCRIPTED) $(CORE_ONLY),$(MAKECMDGOALS))
ifneq ($(PASSED_ON),)
.NOTPARALLEL:
.PHONY: $(PASSED_ON)
$(PASSED_ON):
	@$(MAKE) --no-print-directory $@
endif

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h src/core/*.h) Makefile

install: install-models
uninstall: uninstall-models

.PHONY: install-models uninstall-models
install-models:
	$(MKDIR_P) '$(DESTDIR)$(datadir)/lat'
ifneq ($(MODELS),)
	$(INSTALL_DATA) $(MODELS) '$(DESTDIR)$(datadir)/lat/'
endif

uninstall-models:
	rm -rf '$(DESTDIR)$(datadir)/lat'

endif

# lat: length-adaptive transformer inference inside PostgreSQL

EXTENSION = lat
MODULE_big = lat
DATA = $(wildcard sql/lat--*.sql)

CORE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/core/*.c)))
GLUE_OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
OBJS = $(GLUE_OBJS) $(CORE_OBJS)

# Contraction off: a fused multiply-add stands only where the code writes one,
# so that results do not depend on the compiler's mood.
PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -std=gnu11 -O3 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-unused-parameter
SHLIB_LINK = -lutf8proc -lm

# Bitcode lets the JIT inline an extension's functions into expressions. Ours
# run for milliseconds: there is nothing to gain, and a compiler to need.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

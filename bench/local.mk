# `make bench`: Lunette, its peers and our floor side by side on loopback.
# BENCH_ARGS=--quick for a short run; bench/run.py --help says the rest.
EXTRA_PROGRAMS += bench/load bench/sink bench/floor
EXTRA_DIST += bench/run.py
CLEANFILES += bench/load bench/sink bench/floor

bench_load_SOURCES = bench/load.c bench/common.c bench/common.h
bench_sink_SOURCES = bench/sink.c bench/common.c bench/common.h
bench_floor_SOURCES = bench/floor.c bench/common.c bench/common.h

.PHONY: bench
bench: lunette$(EXEEXT) bench/load$(EXEEXT) bench/sink$(EXEEXT) \
		bench/floor$(EXEEXT)
	$(PYTHON) $(srcdir)/bench/run.py --build . $(BENCH_ARGS)

# What one policy decision costs: bench/policy_bench SCRIPT LUA-FOLDER
EXTRA_PROGRAMS += bench/policy_bench
bench_policy_bench_SOURCES = bench/policy_bench.c
bench_policy_bench_LDADD = libpolicy.a libconfig.a libtls.a libsys.a libwire.a \
	libbase.a $(LAYER_EXTERN)
EXTRA_DIST += bench/policy_bench.lua

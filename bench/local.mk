# `make bench`: Lunette, its peers and our floors side by side on loopback.
# BENCH_ARGS=--quick for a short run; bench/run.py --help says the rest.
BENCH_TOOLS = bench/load bench/tlsload bench/sink bench/floor \
	bench/terminator bench/certificates
EXTRA_PROGRAMS += $(BENCH_TOOLS)
EXTRA_DIST += bench/run.py bench/contestants.py bench/processes.py \
	bench/terminators.py bench/tunnels.py bench/measure.py
CLEANFILES += $(BENCH_TOOLS)

BENCH_COMMON = bench/common.c bench/common.h
bench_load_SOURCES = bench/load.c $(BENCH_COMMON)
bench_tlsload_SOURCES = bench/tlsload.c $(BENCH_COMMON)
bench_tlsload_LDADD = $(OPENSSL_LIBS)
bench_sink_SOURCES = bench/sink.c $(BENCH_COMMON)
bench_floor_SOURCES = bench/floor.c bench/crew.c bench/crew.h $(BENCH_COMMON)
bench_terminator_SOURCES = bench/terminator.c bench/crew.c bench/crew.h \
	$(BENCH_COMMON)
bench_terminator_LDADD = $(OPENSSL_LIBS)
bench_certificates_SOURCES = bench/certificates.c $(BENCH_COMMON)
bench_certificates_LDADD = $(OPENSSL_LIBS)

.PHONY: bench bench-tools
bench-tools: $(BENCH_TOOLS)
bench: lunette$(EXEEXT) bench-tools
	$(PYTHON) $(srcdir)/bench/run.py --build . $(BENCH_ARGS)

# What one policy decision costs: bench/policy_bench SCRIPT LUA-FOLDER
EXTRA_PROGRAMS += bench/policy_bench
bench_policy_bench_SOURCES = bench/policy_bench.c
bench_policy_bench_LDADD = libpolicy.a libconfig.a libtls.a libsys.a libwire.a \
	libbase.a $(LAYER_EXTERN)
EXTRA_DIST += bench/policy_bench.lua

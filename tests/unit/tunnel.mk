# Unit tests of src/tunnel.
check_PROGRAMS += tests/unit/test_mux
tests_unit_test_mux_SOURCES = tests/unit/test_mux.c tests/unit/mux_bench.c \
	tests/unit/mux_bench.h
tests_unit_test_mux_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_LDADD = libtunnel.a libwire.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_mux_hostile
tests_unit_test_mux_hostile_SOURCES = tests/unit/test_mux_hostile.c \
	tests/unit/mux_bench.c tests/unit/mux_bench.h
tests_unit_test_mux_hostile_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc
tests_unit_test_mux_hostile_LDADD = libtunnel.a libwire.a libbase.a \
	$(UNIT_LIBS)

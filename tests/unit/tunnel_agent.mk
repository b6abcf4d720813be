# Unit tests of the agent's end of the tunnel.
check_PROGRAMS += tests/unit/test_outbound
tests_unit_test_outbound_SOURCES = tests/unit/test_outbound.c $(ENGINE_BENCH)
tests_unit_test_outbound_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_outbound_LDADD = $(ENGINE_LIBS)

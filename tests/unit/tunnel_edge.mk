# Unit tests of the edge's end of the tunnel: an edge with all its threads, and
# agents that the test plays.
AGENTS_BENCH = tests/unit/agents_bench.c tests/unit/agents_bench.h \
	$(TLS_SUPPORT) $(ENGINE_BENCH)
AGENTS_CPPFLAGS = $(ENGINE_CPPFLAGS) $(OPENSSL_CFLAGS)

check_PROGRAMS += tests/unit/test_edge_auth
tests_unit_test_edge_auth_SOURCES = tests/unit/test_edge_auth.c $(AGENTS_BENCH)
tests_unit_test_edge_auth_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_auth_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_edge_bind
tests_unit_test_edge_bind_SOURCES = tests/unit/test_edge_bind.c $(AGENTS_BENCH)
tests_unit_test_edge_bind_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_bind_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_edge_calls
tests_unit_test_edge_calls_SOURCES = tests/unit/test_edge_calls.c \
	$(AGENTS_BENCH)
tests_unit_test_edge_calls_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_calls_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_edge_data
tests_unit_test_edge_data_SOURCES = tests/unit/test_edge_data.c \
	$(AGENTS_BENCH)
tests_unit_test_edge_data_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_data_LDADD = $(ENGINE_LIBS)

# Whose time leaps.
check_PROGRAMS += tests/unit/test_edge_deadlines
tests_unit_test_edge_deadlines_SOURCES = tests/unit/test_edge_deadlines.c \
	tests/unit/still_time.h $(AGENTS_BENCH)
tests_unit_test_edge_deadlines_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_deadlines_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=clock_ms -Wl,--wrap=clock_us
tests_unit_test_edge_deadlines_LDADD = $(ENGINE_LIBS)

# The n-th call of the edge's threads fails.
check_PROGRAMS += tests/unit/test_edge_tunnel_faults
tests_unit_test_edge_tunnel_faults_SOURCES = \
	tests/unit/test_edge_tunnel_faults.c $(AGENTS_BENCH)
tests_unit_test_edge_tunnel_faults_CPPFLAGS = $(AGENTS_CPPFLAGS)
tests_unit_test_edge_tunnel_faults_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=epoll_ctl -Wl,--wrap=socketpair
tests_unit_test_edge_tunnel_faults_LDADD = $(ENGINE_LIBS)

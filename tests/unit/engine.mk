# Unit tests of src/engine.
check_PROGRAMS += tests/unit/test_upstream tests/unit/test_balance \
	tests/unit/test_journal

tests_unit_test_upstream_SOURCES = tests/unit/test_upstream.c
tests_unit_test_upstream_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_upstream_LDADD = libengine.a libbase.a $(UNIT_LIBS)

tests_unit_test_balance_SOURCES = tests/unit/test_balance.c
tests_unit_test_balance_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_balance_LDADD = libengine.a libbase.a $(UNIT_LIBS)

tests_unit_test_journal_SOURCES = tests/unit/test_journal.c
tests_unit_test_journal_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_journal_LDADD = libengine.a libbase.a $(UNIT_LIBS)

# --wrap=calloc lets the n-th allocation fail.
check_PROGRAMS += tests/unit/test_health
tests_unit_test_health_SOURCES = tests/unit/test_health.c \
	tests/unit/dns_server.c tests/unit/dns_server.h
tests_unit_test_health_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_health_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_health_LDADD = libengine.a libsys.a libwire.a libbase.a \
	$(CARES_LIBS) $(GEO_LIBS) $(UNIT_LIBS)

# The core: real sockets, and where there is an edge all layers below it.
ENGINE_BENCH = tests/unit/engine_bench.c tests/unit/engine_bench.h
ENGINE_CPPFLAGS = $(UNIT_CPPFLAGS) -DTOP_SRCDIR='"$(abs_top_srcdir)"'
ENGINE_LIBS = $(LAYER_LIBS) $(LAYER_EXTERN) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_leg
tests_unit_test_leg_SOURCES = tests/unit/test_leg.c $(ENGINE_BENCH)
tests_unit_test_leg_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_leg_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_leg_tls
tests_unit_test_leg_tls_SOURCES = tests/unit/test_leg_tls.c $(STREAM_TEST)
tests_unit_test_leg_tls_CPPFLAGS = $(ENGINE_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_leg_tls_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_relay
tests_unit_test_relay_SOURCES = tests/unit/test_relay.c $(ENGINE_BENCH)
tests_unit_test_relay_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_relay_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_stages
tests_unit_test_stages_SOURCES = tests/unit/test_stages.c \
	tests/unit/stages_bench.h tests/unit/still_time.h $(ENGINE_BENCH)
tests_unit_test_stages_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_stages_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_stages_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_stages_upstream
tests_unit_test_stages_upstream_SOURCES = tests/unit/test_stages_upstream.c \
	tests/unit/stages_bench.h tests/unit/still_time.h $(ENGINE_BENCH)
tests_unit_test_stages_upstream_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_stages_upstream_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_stages_upstream_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_edge
tests_unit_test_edge_SOURCES = tests/unit/test_edge.c $(ENGINE_BENCH)
tests_unit_test_edge_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_edge_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_edge_policy
tests_unit_test_edge_policy_SOURCES = tests/unit/test_edge_policy.c \
	tests/unit/still_time.h $(ENGINE_BENCH)
tests_unit_test_edge_policy_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_edge_policy_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_edge_policy_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_acceptor
tests_unit_test_acceptor_SOURCES = tests/unit/test_acceptor.c $(ENGINE_BENCH)
tests_unit_test_acceptor_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_acceptor_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=bind \
	-Wl,--wrap=accept4 -Wl,--wrap=open -Wl,--wrap=poll
tests_unit_test_acceptor_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_pool
tests_unit_test_pool_SOURCES = tests/unit/test_pool.c
tests_unit_test_pool_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_pool_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_event
tests_unit_test_event_SOURCES = tests/unit/test_event.c $(ENGINE_BENCH)
tests_unit_test_event_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_event_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_engine_faults
tests_unit_test_engine_faults_SOURCES = tests/unit/test_engine_faults.c \
	$(ENGINE_BENCH)
tests_unit_test_engine_faults_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_engine_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=socket \
	-Wl,--wrap=accept4 -Wl,--wrap=connect -Wl,--wrap=epoll_ctl \
	-Wl,--wrap=eventfd -Wl,--wrap=pipe2 -Wl,--wrap=splice \
	-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_engine_faults_LDADD = $(ENGINE_LIBS)

TERMINATE_BENCH = tests/unit/terminate_bench.h tests/unit/stages_bench.h \
	tests/unit/still_time.h tests/unit/tls_client.c \
	tests/unit/tls_client.h $(TLS_SUPPORT) $(ENGINE_BENCH)

check_PROGRAMS += tests/unit/test_terminate tests/unit/test_reencrypt
tests_unit_test_terminate_SOURCES = tests/unit/test_terminate.c \
	$(TERMINATE_BENCH)
tests_unit_test_terminate_CPPFLAGS = $(ENGINE_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_terminate_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=authority_issue -Wl,--wrap=clock_ms
tests_unit_test_terminate_LDADD = $(ENGINE_LIBS)

tests_unit_test_reencrypt_SOURCES = tests/unit/test_reencrypt.c \
	$(TERMINATE_BENCH)
tests_unit_test_reencrypt_CPPFLAGS = $(ENGINE_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_reencrypt_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_reencrypt_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_terminate_faults
tests_unit_test_terminate_faults_SOURCES = \
	tests/unit/test_terminate_faults.c tests/unit/tls_client.c \
	tests/unit/tls_client.h $(TLS_SUPPORT) $(ENGINE_BENCH)
tests_unit_test_terminate_faults_CPPFLAGS = $(ENGINE_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_terminate_faults_LDADD = $(ENGINE_LIBS)

check_PROGRAMS += tests/unit/test_registry
tests_unit_test_registry_SOURCES = tests/unit/test_registry.c
tests_unit_test_registry_CPPFLAGS = $(ENGINE_CPPFLAGS)
tests_unit_test_registry_LDADD = $(ENGINE_LIBS)

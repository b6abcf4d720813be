# Unit tests of src/policy.
check_PROGRAMS += tests/unit/test_policy_shared
tests_unit_test_policy_shared_SOURCES = tests/unit/test_policy_shared.c \
	src/policy/dictionary.c src/policy/rates.c src/policy/shared.c
tests_unit_test_policy_shared_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_shared_LDADD = libbase.a $(UNIT_LIBS)

POLICY_TEST_LIBS = libpolicy.a libconfig.a libtls.a libsys.a libwire.a \
	libbase.a $(LAYER_EXTERN) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_policy_run
tests_unit_test_policy_run_SOURCES = tests/unit/test_policy_run.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_run_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_run_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_lint
tests_unit_test_policy_lint_SOURCES = tests/unit/test_policy_lint.c \
	src/policy/lexer.c src/policy/lint.c src/policy/lint_roles.c \
	src/policy/symbols.c
tests_unit_test_policy_lint_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_lint_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_policy_tester
tests_unit_test_policy_tester_SOURCES = tests/unit/test_policy_tester.c
tests_unit_test_policy_tester_CPPFLAGS = $(UNIT_CPPFLAGS) \
	-DSOURCE_FOLDER='"$(abs_top_srcdir)"'
tests_unit_test_policy_tester_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_lib
tests_unit_test_policy_lib_SOURCES = tests/unit/test_policy_lib.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_lib_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_lib_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=netset_new -Wl,--wrap=netset_add \
	-Wl,--wrap=routes_new -Wl,--wrap=routes_add
tests_unit_test_policy_lib_LDADD = $(POLICY_TEST_LIBS)
check_PROGRAMS += tests/unit/test_policy_sandbox
tests_unit_test_policy_sandbox_SOURCES = tests/unit/test_policy_sandbox.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_sandbox_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_sandbox_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_limits
tests_unit_test_policy_limits_SOURCES = tests/unit/test_policy_limits.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_limits_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_limits_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mprotect
tests_unit_test_policy_limits_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_decision
tests_unit_test_policy_decision_SOURCES = tests/unit/test_policy_decision.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_decision_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_decision_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_tls
tests_unit_test_policy_tls_SOURCES = tests/unit/test_policy_tls.c \
	tests/unit/policy_support.c tests/unit/policy_support.h $(TLS_SUPPORT)
tests_unit_test_policy_tls_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_policy_tls_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_client
tests_unit_test_policy_client_SOURCES = tests/unit/test_policy_client.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_client_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_client_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_conn
tests_unit_test_policy_conn_SOURCES = tests/unit/test_policy_conn.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_conn_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_conn_LDADD = $(POLICY_TEST_LIBS)

check_PROGRAMS += tests/unit/test_policy_random
tests_unit_test_policy_random_SOURCES = tests/unit/test_policy_random.c \
	tests/unit/policy_support.c tests/unit/policy_support.h
tests_unit_test_policy_random_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_random_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup
tests_unit_test_policy_random_LDADD = $(POLICY_TEST_LIBS)

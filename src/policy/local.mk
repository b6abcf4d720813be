noinst_LIBRARIES += libpolicy.a
libpolicy_a_CPPFLAGS = $(AM_CPPFLAGS) $(LUAJIT_CFLAGS)
libpolicy_a_SOURCES = \
	src/policy/arguments.c \
	src/policy/conn.c src/policy/conn.h \
	src/policy/conn_methods.c \
	src/policy/conn_peer.c \
	src/policy/conn_tls.c src/policy/conn_view.h \
	src/policy/decision.c src/policy/decision.h \
	src/policy/decision_read.c src/policy/decision_read.h \
	src/policy/decision_reader.c src/policy/decision_reader.h \
	src/policy/decision_tls.c src/policy/decision_tls.h \
	src/policy/fault.c src/policy/fault.h \
	src/policy/functions.h \
	src/policy/lib_string.c \
	src/policy/lib_table.c \
	src/policy/library.c src/policy/library.h \
	src/policy/loader.c \
	src/policy/memory.c \
	src/policy/pattern.c src/policy/pattern.h \
	src/policy/policy.c src/policy/policy.h \
	src/policy/run.c \
	src/policy/sandbox.c \
	src/policy/state.c src/policy/state.h \
	src/policy/tester.h

libpolicy_a_SOURCES += \
	src/policy/dictionary.c src/policy/dictionary.h \
	src/policy/rates.c src/policy/rates.h \
	src/policy/shared.c src/policy/shared.h

libpolicy_a_SOURCES += src/policy/version.c src/policy/version.h

# The library that scripts call, and what tests scripts.
libpolicy_a_SOURCES += \
	src/policy/lib_cas.c \
	src/policy/lib_domains.c \
	src/policy/lib_log.c \
	src/policy/lib_networks.c \
	src/policy/lib_pool.c \
	src/policy/lib_shared.c \
	src/policy/lib_wait.c \
	src/policy/checker.c \
	src/policy/lexer.c src/policy/lexer.h \
	src/policy/lint.c src/policy/lint.h \
	src/policy/lint_roles.c src/policy/lint_roles.h \
	src/policy/symbols.c src/policy/symbols.h \
	src/policy/simulation.c src/policy/simulation.h \
	src/policy/simulation_read.c \
	src/policy/simulation_tls.c \
	src/policy/tester.c

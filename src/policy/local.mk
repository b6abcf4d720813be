noinst_LIBRARIES += libpolicy.a
libpolicy_a_CPPFLAGS = $(AM_CPPFLAGS) $(LUAJIT_CFLAGS)
libpolicy_a_SOURCES = \
	src/policy/policy.c src/policy/policy.h \
	src/policy/decision.c src/policy/decision.h \
	src/policy/tester.c src/policy/tester.h

libpolicy_a_SOURCES += \
	src/policy/dictionary.c src/policy/dictionary.h \
	src/policy/rates.c src/policy/rates.h \
	src/policy/shared.c src/policy/shared.h

libpolicy_a_SOURCES += src/policy/version.c src/policy/version.h
libpolicy_a_SOURCES += \
	src/policy/lexer.c src/policy/lexer.h \
	src/policy/lint.c src/policy/lint.h

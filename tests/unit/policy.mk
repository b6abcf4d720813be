# Unit tests of src/policy.
check_PROGRAMS += tests/unit/test_policy_shared
tests_unit_test_policy_shared_SOURCES = tests/unit/test_policy_shared.c \
	src/policy/dictionary.c src/policy/rates.c src/policy/shared.c
tests_unit_test_policy_shared_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_shared_LDADD = libbase.a $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_policy_lint
tests_unit_test_policy_lint_SOURCES = tests/unit/test_policy_lint.c \
	src/policy/lexer.c src/policy/lint.c
tests_unit_test_policy_lint_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_lint_LDADD = libbase.a $(UNIT_LIBS)

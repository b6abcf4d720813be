# Unit tests of src/policy.
check_PROGRAMS += tests/unit/test_policy_shared
tests_unit_test_policy_shared_SOURCES = tests/unit/test_policy_shared.c \
	src/policy/dictionary.c src/policy/rates.c src/policy/shared.c
tests_unit_test_policy_shared_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_policy_shared_LDADD = libbase.a $(UNIT_LIBS)

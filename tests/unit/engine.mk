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

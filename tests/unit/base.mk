# Unit tests of src/base. The pattern for every layer: name, sources, LDADD.
check_PROGRAMS += tests/unit/test_text
tests_unit_test_text_SOURCES = tests/unit/test_text.c
tests_unit_test_text_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_text_LDADD = libbase.a $(UNIT_LIBS)

# Unit tests of src/sys.
check_PROGRAMS += tests/unit/test_geo
tests_unit_test_geo_SOURCES = tests/unit/test_geo.c src/sys/geo.c
tests_unit_test_geo_CPPFLAGS = $(UNIT_CPPFLAGS) $(GEO_CFLAGS)
tests_unit_test_geo_LDADD = libbase.a $(GEO_LIBS) $(UNIT_LIBS)

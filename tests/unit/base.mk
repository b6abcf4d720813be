# Unit tests of src/base. The pattern for every layer: name, sources, LDADD.
check_PROGRAMS += tests/unit/test_addr
tests_unit_test_addr_SOURCES = tests/unit/test_addr.c tests/unit/unit.h
tests_unit_test_addr_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_addr_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_clock
tests_unit_test_clock_SOURCES = tests/unit/test_clock.c
tests_unit_test_clock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_clock_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_hash
tests_unit_test_hash_SOURCES = tests/unit/test_hash.c tests/unit/faults.h
tests_unit_test_hash_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_hash_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getrandom
tests_unit_test_hash_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_json
tests_unit_test_json_SOURCES = tests/unit/test_json.c
tests_unit_test_json_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_json_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_log
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_log_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_nearest
tests_unit_test_nearest_SOURCES = tests/unit/test_nearest.c
tests_unit_test_nearest_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_nearest_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_netset
tests_unit_test_netset_SOURCES = tests/unit/test_netset.c tests/unit/faults.h
tests_unit_test_netset_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_netset_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc
tests_unit_test_netset_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_slab
tests_unit_test_slab_SOURCES = tests/unit/test_slab.c tests/unit/faults.h
tests_unit_test_slab_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_slab_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=free
tests_unit_test_slab_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_tally
tests_unit_test_tally_SOURCES = tests/unit/test_tally.c tests/unit/faults.h
tests_unit_test_tally_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_tally_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc
tests_unit_test_tally_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_text
tests_unit_test_text_SOURCES = tests/unit/test_text.c
tests_unit_test_text_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_text_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_utf8
tests_unit_test_utf8_SOURCES = tests/unit/test_utf8.c
tests_unit_test_utf8_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_utf8_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_units
tests_unit_test_units_SOURCES = tests/unit/test_units.c
tests_unit_test_units_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_units_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_base64
tests_unit_test_base64_SOURCES = tests/unit/test_base64.c tests/unit/bytes.h
tests_unit_test_base64_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_base64_LDADD = libbase.a $(UNIT_LIBS)

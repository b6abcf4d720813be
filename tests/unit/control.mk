# Unit tests of src/control.
check_PROGRAMS += tests/unit/test_meter
tests_unit_test_meter_SOURCES = tests/unit/test_meter.c \
	src/control/meter.c tests/unit/faults.h
tests_unit_test_meter_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_meter_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=realloc
tests_unit_test_meter_LDADD = libbase.a $(UNIT_LIBS) -lm

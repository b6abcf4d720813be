# Unit tests of src/wire.
check_PROGRAMS += \
	tests/unit/test_alert \
	tests/unit/test_data_record \
	tests/unit/test_frame \
	tests/unit/test_hello \
	tests/unit/test_host \
	tests/unit/test_json_scan \
	tests/unit/test_proxy \
	tests/unit/test_proxy_url \
	tests/unit/test_routes \
	tests/unit/test_upstream_address
EXTRA_DIST += tests/unit/bytes.h tests/unit/hello_bytes.h

WIRE_TEST_LIBS = libwire.a libbase.a $(UNIT_LIBS)

tests_unit_test_alert_SOURCES = tests/unit/test_alert.c
tests_unit_test_alert_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_alert_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_data_record_SOURCES = tests/unit/test_data_record.c
tests_unit_test_data_record_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_data_record_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_frame_SOURCES = tests/unit/test_frame.c
tests_unit_test_frame_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_frame_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_hello_SOURCES = tests/unit/test_hello.c
tests_unit_test_hello_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_hello_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_host_SOURCES = tests/unit/test_host.c
tests_unit_test_host_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_host_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_json_scan_SOURCES = tests/unit/test_json_scan.c
tests_unit_test_json_scan_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_json_scan_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_proxy_SOURCES = tests/unit/test_proxy.c
tests_unit_test_proxy_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proxy_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_proxy_url_SOURCES = tests/unit/test_proxy_url.c
tests_unit_test_proxy_url_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_proxy_url_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_routes_SOURCES = tests/unit/test_routes.c
tests_unit_test_routes_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_routes_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc -Wl,--wrap=calloc
tests_unit_test_routes_LDADD = $(WIRE_TEST_LIBS)

tests_unit_test_upstream_address_SOURCES = tests/unit/test_upstream_address.c
tests_unit_test_upstream_address_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_upstream_address_LDADD = $(WIRE_TEST_LIBS)

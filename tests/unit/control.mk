# Unit tests of src/control.
check_PROGRAMS += tests/unit/test_meter
tests_unit_test_meter_SOURCES = tests/unit/test_meter.c \
	src/control/meter.c tests/unit/faults.h
tests_unit_test_meter_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_meter_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=realloc
tests_unit_test_meter_LDADD = libbase.a $(UNIT_LIBS) -lm

check_PROGRAMS += tests/unit/test_host_guard
tests_unit_test_host_guard_SOURCES = tests/unit/test_host_guard.c \
	tests/unit/faults.h
tests_unit_test_host_guard_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_host_guard_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_host_guard_LDADD = libcontrol.a libwire.a libbase.a \
	$(UNIT_LIBS)

# The documents, without a server.
check_PROGRAMS += tests/unit/test_agent_documents
tests_unit_test_agent_documents_SOURCES = tests/unit/test_agent_documents.c
tests_unit_test_agent_documents_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_agent_documents_LDADD = libcontrol.a libbase.a $(UNIT_LIBS) \
	-lm

CONTROL_LIBS = libcontrol.a libsys.a libwire.a libbase.a $(MICROHTTPD_LIBS) \
	$(UNIT_LIBS) -lm
WEB_BENCH = tests/unit/web_bench.h tests/unit/http_client.c \
	tests/unit/http_client.h tests/unit/faults.h

check_PROGRAMS += tests/unit/test_web_server
tests_unit_test_web_server_SOURCES = tests/unit/test_web_server.c $(WEB_BENCH)
tests_unit_test_web_server_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_web_server_LDADD = $(CONTROL_LIBS)

# --wrap=clock_ms lets a client be slow without waiting for it.
check_PROGRAMS += tests/unit/test_web_bounds
tests_unit_test_web_bounds_SOURCES = tests/unit/test_web_bounds.c $(WEB_BENCH)
tests_unit_test_web_bounds_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_web_bounds_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=accept4 -Wl,--wrap=bind -Wl,--wrap=eventfd \
	-Wl,--wrap=calloc -Wl,--wrap=malloc -Wl,--wrap=pthread_create
tests_unit_test_web_bounds_LDADD = $(CONTROL_LIBS)

check_PROGRAMS += tests/unit/test_agent_web
tests_unit_test_agent_web_SOURCES = tests/unit/test_agent_web.c \
	tests/unit/http_client.c tests/unit/http_client.h tests/unit/faults.h
tests_unit_test_agent_web_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_agent_web_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=malloc -Wl,--wrap=realloc
tests_unit_test_agent_web_LDADD = $(CONTROL_LIBS)

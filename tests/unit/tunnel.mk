# Unit tests of src/tunnel.
check_PROGRAMS += tests/unit/test_mux
tests_unit_test_mux_SOURCES = tests/unit/test_mux.c tests/unit/mux_bench.c \
	tests/unit/mux_bench.h
tests_unit_test_mux_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_LDADD = libtunnel.a libwire.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_mux_hostile
tests_unit_test_mux_hostile_SOURCES = tests/unit/test_mux_hostile.c \
	tests/unit/mux_bench.c tests/unit/mux_bench.h
tests_unit_test_mux_hostile_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mux_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc
tests_unit_test_mux_hostile_LDADD = libtunnel.a libwire.a libbase.a \
	$(UNIT_LIBS)

# Sessions, two in one loop. --wrap=clock_ms lets minutes pass at will.
SESSION_TEST = tests/unit/session_bench.c tests/unit/session_bench.h \
	$(STREAM_TEST)
SESSION_WRAPS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms -Wl,--wrap=clock_us
SESSION_TEST_LIBS = libtunnel.a libtls.a libsys.a libwire.a libbase.a \
	$(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_session
tests_unit_test_session_SOURCES = tests/unit/test_session.c $(SESSION_TEST)
tests_unit_test_session_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_session_LDFLAGS = $(SESSION_WRAPS)
tests_unit_test_session_LDADD = $(SESSION_TEST_LIBS)

check_PROGRAMS += tests/unit/test_session_raw
tests_unit_test_session_raw_SOURCES = tests/unit/test_session_raw.c \
	$(SESSION_TEST)
tests_unit_test_session_raw_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_session_raw_LDFLAGS = $(SESSION_WRAPS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=epoll_ctl
tests_unit_test_session_raw_LDADD = $(SESSION_TEST_LIBS)

check_PROGRAMS += tests/unit/test_pump
tests_unit_test_pump_SOURCES = tests/unit/test_pump.c $(SESSION_TEST)
tests_unit_test_pump_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_pump_LDFLAGS = $(SESSION_WRAPS) -Wl,--wrap=calloc \
	-Wl,--wrap=epoll_ctl
tests_unit_test_pump_LDADD = $(SESSION_TEST_LIBS)

check_PROGRAMS += tests/unit/test_introduction
tests_unit_test_introduction_SOURCES = tests/unit/test_introduction.c \
	$(STREAM_TEST)
tests_unit_test_introduction_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_introduction_LDADD = libtunnel.a libtls.a libwire.a libbase.a \
	$(JANSSON_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

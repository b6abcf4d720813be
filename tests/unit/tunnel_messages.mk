# Unit tests of what is said in a session, and of who may say it.
ALLOCATION_WRAPS = -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=reallocarray -Wl,--wrap=strdup -Wl,--wrap=strndup \
	-Wl,--wrap=asprintf
MESSAGE_TEST_LIBS = libtunnel.a libconfig.a libtls.a libwire.a libbase.a \
	$(JANSSON_LIBS) $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)
MESSAGE_BENCH = tests/unit/message_bench.h tests/unit/message_kinds.h

check_PROGRAMS += tests/unit/test_message
tests_unit_test_message_SOURCES = tests/unit/test_message.c $(MESSAGE_BENCH)
tests_unit_test_message_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_message_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_message_refused
tests_unit_test_message_refused_SOURCES = tests/unit/test_message_refused.c \
	$(MESSAGE_BENCH)
tests_unit_test_message_refused_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_message_refused_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_message_memory
tests_unit_test_message_memory_SOURCES = tests/unit/test_message_memory.c \
	tests/unit/allocations.h $(MESSAGE_BENCH)
tests_unit_test_message_memory_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_message_memory_LDFLAGS = $(AM_LDFLAGS) $(ALLOCATION_WRAPS)
tests_unit_test_message_memory_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_stream_header
tests_unit_test_stream_header_SOURCES = tests/unit/test_stream_header.c
tests_unit_test_stream_header_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_stream_header_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_ngrok_error
tests_unit_test_ngrok_error_SOURCES = tests/unit/test_ngrok_error.c
tests_unit_test_ngrok_error_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ngrok_error_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_acl
tests_unit_test_acl_SOURCES = tests/unit/test_acl.c
tests_unit_test_acl_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_acl_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_tokens
tests_unit_test_tokens_SOURCES = tests/unit/test_tokens.c \
	tests/unit/allocations.h tests/unit/openssl_faults.h
tests_unit_test_tokens_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_tokens_LDFLAGS = $(AM_LDFLAGS) $(ALLOCATION_WRAPS)
tests_unit_test_tokens_LDADD = $(MESSAGE_TEST_LIBS)

check_PROGRAMS += tests/unit/test_names
tests_unit_test_names_SOURCES = tests/unit/test_names.c \
	tests/unit/openssl_faults.h
tests_unit_test_names_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_names_LDADD = $(MESSAGE_TEST_LIBS)

# Unit tests of src/tls.
check_PROGRAMS += tests/unit/test_digest

tests_unit_test_digest_SOURCES = tests/unit/test_digest.c
tests_unit_test_digest_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_digest_LDADD = libtls.a libwire.a libbase.a $(OPENSSL_LIBS) \
	$(UNIT_LIBS)

# Certificates that tests make for themselves.
TLS_SUPPORT = tests/unit/tls_support.c tests/unit/tls_support.h

check_PROGRAMS += tests/unit/test_trust
tests_unit_test_trust_SOURCES = tests/unit/test_trust.c $(TLS_SUPPORT)
tests_unit_test_trust_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_trust_LDADD = libtls.a libwire.a libbase.a $(OPENSSL_LIBS) \
	$(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_tickets
tests_unit_test_tickets_SOURCES = tests/unit/test_tickets.c $(TLS_SUPPORT)
tests_unit_test_tickets_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_tickets_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mmap \
	-Wl,--wrap=mlock
tests_unit_test_tickets_LDADD = libtls.a libwire.a libbase.a $(OPENSSL_LIBS) \
	$(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_trust_check
tests_unit_test_trust_check_SOURCES = tests/unit/test_trust_check.c \
	$(TLS_SUPPORT)
tests_unit_test_trust_check_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_trust_check_LDADD = libtls.a libsys.a libwire.a libbase.a \
	$(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_peer
tests_unit_test_peer_SOURCES = tests/unit/test_peer.c $(TLS_SUPPORT)
tests_unit_test_peer_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_peer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_peer_LDADD = libtls.a libwire.a libbase.a $(OPENSSL_LIBS) \
	$(UNIT_LIBS)

TLS_TEST_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
TLS_TEST_LIBS = libtls.a libwire.a libbase.a $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_certificate
tests_unit_test_certificate_SOURCES = tests/unit/test_certificate.c \
	tests/unit/certificate_bench.h $(TLS_SUPPORT)
tests_unit_test_certificate_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_certificate_LDADD = $(TLS_TEST_LIBS)

# Streams, at both ends of a socket pair.
STREAM_TEST = tests/unit/tls_scene.c tests/unit/tls_scene.h $(TLS_SUPPORT)

check_PROGRAMS += tests/unit/test_stream
tests_unit_test_stream_SOURCES = tests/unit/test_stream.c $(STREAM_TEST)
tests_unit_test_stream_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=certificate_staple_copy
tests_unit_test_stream_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_stream_faults
tests_unit_test_stream_faults_SOURCES = tests/unit/test_stream_faults.c \
	$(STREAM_TEST)
tests_unit_test_stream_faults_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_stream_faults_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_stream_failures
tests_unit_test_stream_failures_SOURCES = tests/unit/test_stream_failures.c \
	$(STREAM_TEST)
tests_unit_test_stream_failures_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_failures_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_stream_sessions
tests_unit_test_stream_sessions_SOURCES = tests/unit/test_stream_sessions.c \
	$(STREAM_TEST)
tests_unit_test_stream_sessions_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_sessions_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=time
tests_unit_test_stream_sessions_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_keyring
tests_unit_test_keyring_SOURCES = tests/unit/test_keyring.c $(TLS_SUPPORT)
tests_unit_test_keyring_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_keyring_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_keyring_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_authority
tests_unit_test_authority_SOURCES = tests/unit/test_authority.c $(TLS_SUPPORT)
tests_unit_test_authority_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_authority_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=renameat
tests_unit_test_authority_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_ocsp
tests_unit_test_ocsp_SOURCES = tests/unit/test_ocsp.c $(TLS_SUPPORT)
tests_unit_test_ocsp_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_ocsp_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_certificate_memory
tests_unit_test_certificate_memory_SOURCES = \
	tests/unit/test_certificate_memory.c $(TLS_SUPPORT)
tests_unit_test_certificate_memory_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_certificate_memory_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_certificate_memory_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_certificate_pem
tests_unit_test_certificate_pem_SOURCES = tests/unit/test_certificate_pem.c \
	tests/unit/certificate_bench.h $(TLS_SUPPORT)
tests_unit_test_certificate_pem_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_certificate_pem_LDADD = $(TLS_TEST_LIBS)
check_PROGRAMS += tests/unit/test_stream_hostile
tests_unit_test_stream_hostile_SOURCES = tests/unit/test_stream_hostile.c \
	$(STREAM_TEST)
tests_unit_test_stream_hostile_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_hostile_LDADD = $(TLS_TEST_LIBS)

# Between agent and edge.
EXTRA_DIST += tests/unit/hex.h tests/unit/openssl_faults.h

check_PROGRAMS += tests/unit/test_secret
tests_unit_test_secret_SOURCES = tests/unit/test_secret.c
tests_unit_test_secret_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_secret_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_data_keys
tests_unit_test_data_keys_SOURCES = tests/unit/test_data_keys.c
tests_unit_test_data_keys_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_data_keys_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=random_bytes
tests_unit_test_data_keys_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_token
tests_unit_test_token_SOURCES = tests/unit/test_token.c
tests_unit_test_token_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_token_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_session_context
tests_unit_test_session_context_SOURCES = \
	tests/unit/test_session_context.c $(STREAM_TEST)
tests_unit_test_session_context_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_session_context_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_data_stream
tests_unit_test_data_stream_SOURCES = tests/unit/test_data_stream.c \
	$(STREAM_TEST)
tests_unit_test_data_stream_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_data_stream_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_stream_move
tests_unit_test_stream_move_SOURCES = tests/unit/test_stream_move.c \
	$(STREAM_TEST)
tests_unit_test_stream_move_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_stream_move_LDADD = $(TLS_TEST_LIBS)

check_PROGRAMS += tests/unit/test_session_faults
tests_unit_test_session_faults_SOURCES = tests/unit/test_session_faults.c \
	$(STREAM_TEST)
tests_unit_test_session_faults_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_session_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc -Wl,--wrap=realloc
tests_unit_test_session_faults_LDADD = $(TLS_TEST_LIBS)

# Its servers are threads.
check_PROGRAMS += tests/unit/test_probe
tests_unit_test_probe_SOURCES = tests/unit/test_probe.c $(TLS_SUPPORT)
tests_unit_test_probe_CPPFLAGS = $(TLS_TEST_CPPFLAGS)
tests_unit_test_probe_LDADD = libtls.a libsys.a libwire.a libbase.a \
	$(OPENSSL_LIBS) $(UNIT_LIBS)

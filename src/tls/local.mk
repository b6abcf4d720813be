noinst_LIBRARIES += libtls.a
libtls_a_CPPFLAGS = $(AM_CPPFLAGS) $(OPENSSL_CFLAGS)
libtls_a_SOURCES = \
	src/tls/digest.c src/tls/digest.h

libtls_a_SOURCES += \
	src/tls/client.c \
	src/tls/context.c src/tls/context.h \
	src/tls/facts.c \
	src/tls/failure.c \
	src/tls/server.c \
	src/tls/sessions.c \
	src/tls/stream.c src/tls/stream.h src/tls/stream_private.h \
	src/tls/transport.c \
	src/tls/verify.c

# Between agent and edge.
libtls_a_SOURCES += \
	src/tls/data_keys.c src/tls/data_keys.h \
	src/tls/data_stream.c src/tls/data_stream.h \
	src/tls/secret.c src/tls/secret.h \
	src/tls/session_context.c src/tls/session_context.h \
	src/tls/token.c src/tls/token.h

libtls_a_SOURCES += src/tls/version.c src/tls/version.h

libtls_a_SOURCES += src/tls/private.h

libtls_a_SOURCES += src/tls/file.c src/tls/file.h \
	src/tls/trust.c src/tls/trust.h src/tls/trust_read.c
libtls_a_SOURCES += src/tls/tickets.c src/tls/tickets.h
libtls_a_SOURCES += src/tls/peer.c src/tls/peer.h

libtls_a_SOURCES += src/tls/trust_check.c

libtls_a_SOURCES += src/tls/certificate.c src/tls/certificate.h \
	src/tls/certificate_parse.c src/tls/key.c src/tls/pem.c src/tls/pem.h \
	src/tls/ocsp.c src/tls/ocsp.h

# Certificates by name.
libtls_a_SOURCES += src/tls/keyring.c src/tls/keyring.h

libtls_a_SOURCES += src/tls/authority.c src/tls/authority.h src/tls/signing.c

# What a server shows, for commands.
libtls_a_SOURCES += src/tls/probe.c src/tls/probe.h

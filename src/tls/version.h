/* The library behind this layer as such. */
#ifndef TLS_VERSION_H
#define TLS_VERSION_H

const char *tls_library_version(void); /* "OpenSSL 3.0.15 ..." */

/*
 * Keeps the library from tidying up when the process exits. A thread that waits
 * for an OCSP responder is not waited for then, and must not find its locks and
 * tables gone. Main thread, before any other call of this layer.
 */
void tls_library_keep(void);

#endif

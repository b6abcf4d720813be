/* The version of the library behind this layer, as it says itself. */
#ifndef TLS_VERSION_H
#define TLS_VERSION_H

const char *tls_library_version(void); /* "OpenSSL 3.0.15 ..." */

#endif

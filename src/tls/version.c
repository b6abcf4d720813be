#include "tls/version.h"

#include <openssl/crypto.h>

void
tls_library_keep(void)
{
	/* It can only fail without memory, at the very start. */
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

const char *
tls_library_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}

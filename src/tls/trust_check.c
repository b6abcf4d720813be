#include <openssl/err.h>
#include <openssl/pem.h>

#include "tls/private.h"

/* The certificates of a file in their order; NULL: none, or no memory. */
static STACK_OF(X509) * read_certificates(const char *path)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	char passphrase[] = ""; /* else a terminal is asked for one */
	BIO *file = BIO_new_file(path, "r");
	X509 *x;

	while (all && file &&
	       (x = PEM_read_bio_X509(file, NULL, NULL, passphrase)))
		if (!sk_X509_push(all, x))
			X509_free(x);
	BIO_free(file);
	ERR_clear_error(); /* the end of the file is an error too */
	if (all && sk_X509_num(all) > 0)
		return all;
	sk_X509_free(all);
	return NULL;
}

/* As a handshake does it for a client's certificate. */
static int
verify(X509_STORE *store, STACK_OF(X509) * sent, struct text *error)
{
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	int result = -1;

	if (!c ||
	    X509_STORE_CTX_init(c, store, sk_X509_value(sent, 0), sent) != 1 ||
	    X509_STORE_CTX_set_default(c, "ssl_client") != 1)
		text_add(error, "no memory");
	else if (X509_verify_cert(c) == 1)
		result = 0;
	else
		text_add(error,
		    X509_verify_cert_error_string(X509_STORE_CTX_get_error(c)));
	X509_STORE_CTX_free(c);
	ERR_clear_error();
	return result;
}

int
trust_check_client(struct trust *t, const char *path, struct text *error)
{
	STACK_OF(X509) *sent = read_certificates(path);
	struct trust_content content;
	int result = -1;

	if (!sent) {
		text_addf(error, "%s: no certificate in it", path);
		return -1;
	}
	if (trust_take(t, false, &content)) {
		result = verify(content.store, sent, error);
		X509_STORE_free(content.store);
	} else {
		text_add(error, "no memory");
	}
	sk_X509_pop_free(sent, X509_free);
	return result;
}

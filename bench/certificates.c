/*
 * Makes the certificates of the benchmarks, anew for each run.
 *
 *	certificates FOLDER [COUNT]
 *
 * Writes ecdsa.pem (P-256) and rsa.pem (2048 bits) for *.bench, each a
 * certificate with its key; and COUNT of them, P-256, each with a key of its
 * own, for 0.many.bench, 1.many.bench ... to FOLDER/many.
 */
#include "common.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DAY_S (24 * 60 * 60)

static void
add_extension(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	if (!e || X509_add_ext(x, e, -1) != 1)
		die(value);
	X509_EXTENSION_free(e);
}

static X509 *
make_certificate(EVP_PKEY *key, const char *host, long serial)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	char value[300];

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
	X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(x), 365L * DAY_S);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)host, -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	snprintf(value, sizeof(value), "DNS:%s", host);
	add_extension(x, NID_subject_alt_name, value);
	add_extension(x, NID_basic_constraints, "critical,CA:FALSE");
	if (X509_sign(x, key, EVP_sha256()) == 0)
		die("X509_sign");
	return x;
}

static void
write_pair(const char *path, const char *host, EVP_PKEY *key, long serial)
{
	X509 *x = make_certificate(key, host, serial);
	FILE *f = fopen(path, "w");

	if (!f || PEM_write_X509(f, x) != 1 ||
	    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    fclose(f) != 0)
		die(path);
	X509_free(x);
}

static void
make(const char *path, const char *host, EVP_PKEY *key, long serial)
{
	if (!key)
		die("no key");
	write_pair(path, host, key, serial);
	EVP_PKEY_free(key);
}

int
main(int argc, char **argv)
{
	char path[4096], host[64];
	long count = argc > 2 ? strtol(argv[2], NULL, 10) : 0;

	if (argc < 2) {
		fprintf(stderr, "usage: certificates FOLDER [COUNT]\n");
		return 2;
	}
	umask(077);
	snprintf(path, sizeof(path), "%s/ecdsa.pem", argv[1]);
	make(path, "*.bench", EVP_EC_gen("P-256"), 1);
	snprintf(path, sizeof(path), "%s/rsa.pem", argv[1]);
	make(path, "*.bench", EVP_RSA_gen(2048), 2);
	snprintf(path, sizeof(path), "%s/many", argv[1]);
	if (count > 0 && mkdir(path, 0755) < 0)
		die(path);
	for (long i = 0; i < count; i++) {
		snprintf(host, sizeof(host), "%ld.many.bench", i);
		snprintf(path, sizeof(path), "%s/many/%s.pem", argv[1], host);
		make(path, host, EVP_EC_gen("P-256"), 3 + i);
	}
	return 0;
}

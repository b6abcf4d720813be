/*
 * A peer's certificate in DER: what is told of it stays inside its own memory,
 * is UTF-8 where it is text, and its DER is what came.
 *
 * Sources: base wire tls/peer.c tls/digest.c tls/file.c
 * Packages: libcrypto
 * Options: -max_len=16384
 */
#include "fuzz.h"
#include "tls/private.h"

static void
check_utf8(struct span s)
{
	size_t i = 0;

	while (i < s.len) {
		uint8_t first = s.data[i++];
		size_t more = first < 0x80   ? 0
			      : first < 0xe0 ? 1
			      : first < 0xf0 ? 2
					     : 3;

		ASSERT(first < 0x80 || (first >= 0xc2 && first <= 0xf4));
		ASSERT(more <= s.len - i);
		for (; more > 0; more--)
			ASSERT((s.data[i++] & 0xc0) == 0x80);
	}
}

static void
check_list(const struct peer_list *l)
{
	ASSERT(l->items || l->count == 0);
	for (size_t i = 0; i < l->count; i++)
		check_utf8(l->items[i]);
}

static void
check_name(const struct peer_name *n)
{
	check_utf8(n->common_name);
	check_list(&n->country);
	check_list(&n->locality);
	check_list(&n->organization);
	check_list(&n->organizational_unit);
	check_list(&n->province);
	check_list(&n->postal_code);
	check_list(&n->street_address);
}

static void
check_is_hex(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		ASSERT(
		    strchr("0123456789abcdef", s.data[i]) && s.data[i] != '\0');
}

static void
check_peer(const struct peer *p, struct span der)
{
	struct span serial = p->serial_number;

	check_name(&p->subject);
	check_name(&p->issuer);
	check_list(&p->dns_names);
	check_list(&p->email_addresses);
	check_list(&p->ip_addresses);
	check_list(&p->uris);
	if (serial.len > 0 && serial.data[0] == '-')
		serial = span_of(serial.data + 1, serial.len - 1);
	check_is_hex(serial);
	ASSERT(serial.len >= 2);
	ASSERT(p->fingerprint_sha256.len == 64);
	check_is_hex(p->fingerprint_sha256);
	check_utf8(p->signature_algorithm);
	check_utf8(p->key_algorithm);
	ASSERT(p->pem.len > der.len);
	ASSERT(p->pem.data[p->pem.len - 1] == '\n');
	ASSERT(p->der.len > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned char *at = data;
	X509 *x = d2i_X509(NULL, &at, (long)size);
	struct peer *p = x ? peer_from_x509(x) : NULL;

	if (p)
		check_peer(p, span_of(data, (size_t)(at - data)));
	peer_free(p);
	X509_free(x);
	return 0;
}

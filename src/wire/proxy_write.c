#include "wire/proxy.h"

#include <stdio.h>

#define LENGTH_AT 14
#define V2_HEADER_BYTES 16
#define TLV_HEADER_BYTES 3

static bool
is_ip(const struct addr *a)
{
	return a->family == ADDR_IP4 || a->family == ADDR_IP6;
}

/* An address as it may stand in a header: a scope means nothing elsewhere. */
static void
format_ip(const struct addr *a, char out[ADDR_TEXT_SIZE])
{
	struct addr plain = *a;

	plain.scope = 0;
	addr_format_ip(&plain, out);
}

size_t
proxy_write_v1(
    uint8_t *out, const struct addr *source, const struct addr *destination)
{
	char line[PROXY_V1_MAX_BYTES + 1];
	char from[ADDR_TEXT_SIZE], to[ADDR_TEXT_SIZE];
	int len;

	if (!is_ip(source) || source->family != destination->family) {
		len = snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
	} else {
		format_ip(source, from);
		format_ip(destination, to);
		len = snprintf(line, sizeof(line), "PROXY %s %s %s %u %u\r\n",
		    source->family == ADDR_IP4 ? "TCP4" : "TCP6", from, to,
		    source->port, destination->port);
	}
	ASSERT(len > 0 && (size_t)len < sizeof(line));
	memcpy(out, line, (size_t)len + 1);
	return (size_t)len;
}

static void
put(struct proxy_writer *w, const void *data, size_t len)
{
	if (w->overflow || len > w->size - w->len) {
		w->overflow = true;
		return;
	}
	if (len > 0)
		memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void
put_u16(struct proxy_writer *w, size_t value)
{
	uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };

	put(w, bytes, sizeof(bytes));
}

/* An IPv4 address in an IPv6 frame is written v4-mapped; an unknown one as
 * zeros. */
static void
put_address(struct proxy_writer *w, const struct addr *a, bool as_ip6)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t zeros[16];

	if (!is_ip(a)) {
		put(w, zeros, as_ip6 ? 16 : 4);
	} else if (a->family == ADDR_IP6) {
		put(w, a->bytes, 16);
	} else {
		if (as_ip6)
			put(w, mapped, sizeof(mapped));
		put(w, a->bytes, 4);
	}
}

void
proxy_begin_v2(struct proxy_writer *w, uint8_t *out, size_t size,
    const struct addr *source, const struct addr *destination)
{
	static const uint8_t head[] = { 13, 10, 13, 10, 0, 13, 10, 'Q', 'U',
		'I', 'T', 10 };
	bool is_local = !is_ip(source);
	bool as_ip6 =
	    source->family == ADDR_IP6 || destination->family == ADDR_IP6;
	uint8_t family = as_ip6 ? 0x21 : 0x11;
	uint8_t command_and_family[] = { is_local ? 0x20 : 0x21,
		is_local ? 0 : family };

	*w = (struct proxy_writer){ .data = out,
		.size = size < PROXY_MAX_BYTES ? size : PROXY_MAX_BYTES };
	put(w, head, sizeof(head));
	put(w, command_and_family, sizeof(command_and_family));
	put_u16(w, 0); /* the length, when it is known */
	if (is_local)
		return;
	put_address(w, source, as_ip6);
	put_address(w, destination, as_ip6);
	put_u16(w, source->port);
	put_u16(w, is_ip(destination) ? destination->port : 0);
}

void
proxy_add_tlv(struct proxy_writer *w, uint8_t type, struct span value)
{
	if (value.len > PROXY_MAX_BYTES) {
		w->overflow = true;
		return;
	}
	put(w, &type, 1);
	put_u16(w, value.len);
	put(w, value.data, value.len);
}

/* Bits of the first byte of an SSL TLV. */
#define CLIENT_SSL 0x01
#define CLIENT_CERT_CONN 0x02
#define CLIENT_CERT_SESS 0x04

static void
put_client(struct proxy_writer *w, const struct proxy_ssl *ssl)
{
	bool is_verified = ssl->client_certificate && ssl->verified;
	uint8_t client = CLIENT_SSL;

	if (ssl->client_certificate)
		client |= CLIENT_CERT_SESS;
	if (ssl->client_certificate && !ssl->resumed)
		client |= CLIENT_CERT_CONN;
	put(w, &client, 1);
	/* Zero only after a verification: HAProxy says zero without any
	 * certificate too, the specification does not. */
	put_u16(w, 0);
	put_u16(w, is_verified ? 0 : 1);
}

static void
add_part(struct proxy_writer *w, enum proxy_ssl_tlv type, struct span value)
{
	if (value.len > 0)
		proxy_add_tlv(w, (uint8_t)type, value);
}

void
proxy_add_ssl(struct proxy_writer *w, const struct proxy_ssl *ssl)
{
	size_t start = w->len, len;

	proxy_add_tlv(w, PROXY_TLV_SSL, span_of(NULL, 0));
	put_client(w, ssl);
	add_part(w, PROXY_SSL_VERSION, ssl->version);
	if (ssl->client_certificate && ssl->verified)
		add_part(w, PROXY_SSL_COMMON_NAME, ssl->common_name);
	add_part(w, PROXY_SSL_CIPHER, ssl->cipher);
	add_part(w, PROXY_SSL_SIGNATURE_ALGORITHM, ssl->signature_algorithm);
	add_part(w, PROXY_SSL_KEY_ALGORITHM, ssl->key_algorithm);
	add_part(w, PROXY_SSL_GROUP, ssl->group);
	add_part(w, PROXY_SSL_SIGNATURE_SCHEME, ssl->signature_scheme);
	if (ssl->client_certificate && ssl->verified)
		add_part(w, PROXY_SSL_CERTIFICATE, ssl->certificate);
	if (w->overflow)
		return;
	len = w->len - start - TLV_HEADER_BYTES;
	w->data[start + 1] = (uint8_t)(len >> 8);
	w->data[start + 2] = (uint8_t)len;
}

size_t
proxy_finish_v2(struct proxy_writer *w, bool with_crc32c)
{
	static const uint8_t zeros[4];
	size_t len;
	uint32_t crc;

	if (with_crc32c)
		proxy_add_tlv(
		    w, PROXY_TLV_CRC32C, span_of(zeros, sizeof(zeros)));
	if (w->overflow)
		return 0;
	len = w->len - V2_HEADER_BYTES;
	w->data[LENGTH_AT] = (uint8_t)(len >> 8);
	w->data[LENGTH_AT + 1] = (uint8_t)len;
	if (!with_crc32c)
		return w->len;
	crc = crc32c(0, span_of(w->data, w->len));
	for (size_t i = 0; i < sizeof(zeros); i++)
		w->data[w->len - 1 - i] = (uint8_t)(crc >> 8 * i);
	return w->len;
}

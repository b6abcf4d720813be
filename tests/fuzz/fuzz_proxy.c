/*
 * The PROXY protocol: what is read, and that what is written is read back.
 *
 * Sources: base wire
 * Options: -max_len=4200
 */
#include "fuzz.h"
#include "wire/proxy.h"
#include "wire/reader.h"

#define BOTH (1u << 1 | 1u << 2)

static enum parse
parse_prefix(struct span wire, size_t len, size_t *needed)
{
	uint8_t *copy = exact_copy(span_of(wire.data, len));
	struct proxy_header unused;
	const char *why;
	enum parse parse =
	    proxy_parse(span_of(copy, len), BOTH, &unused, needed, &why);

	free(copy);
	return parse;
}

static void
check_prefixes(struct span wire, enum parse whole, size_t good_bytes)
{
	enum parse before = PARSE_MORE;

	for (size_t len = 0; len < wire.len; len = next_prefix(len, wire.len)) {
		size_t needed = 0;
		enum parse parse = parse_prefix(wire, len, &needed);

		if (good_bytes > 0 && len >= good_bytes)
			break;
		ASSERT(parse != PARSE_OK);
		ASSERT(before != PARSE_BAD || parse == PARSE_BAD);
		ASSERT(whole == PARSE_BAD || parse == PARSE_MORE);
		ASSERT(parse == PARSE_BAD || needed > len);
		ASSERT(good_bytes == 0 || needed <= good_bytes);
		before = parse;
	}
}

static bool
same_addr(const struct addr *a, const struct addr *b)
{
	return addr_same_ip(a, b) && a->port == b->port;
}

static void
check_header(const struct proxy_header *h, struct span wire)
{
	struct span rest = h->tlvs, value;
	uint8_t type;

	ASSERT(h->header_bytes <= wire.len);
	ASSERT(h->header_bytes <=
	       (h->version == 1 ? PROXY_V1_MAX_BYTES : PROXY_MAX_BYTES));
	ASSERT(is_inside(h->tlvs, span_of(wire.data, h->header_bytes)));
	ASSERT(!h->local || h->source.family == ADDR_NONE);
	while (proxy_next_tlv(&rest, &type, &value))
		ASSERT(is_inside(value, h->tlvs));
	ASSERT(rest.len == 0);
}

/* Written anew with the same TLVs, it is read as the same. */
static void
check_rewritten(const struct proxy_header *h, bool crc)
{
	static uint8_t out[PROXY_MAX_BYTES];
	struct span rest = h->tlvs, value;
	struct proxy_header again;
	struct proxy_writer w;
	const char *why;
	uint8_t type;
	size_t len, needed;

	proxy_begin_v2(&w, out, sizeof(out), &h->source, &h->destination);
	while (proxy_next_tlv(&rest, &type, &value)) {
		if (type != PROXY_TLV_CRC32C)
			proxy_add_tlv(&w, type, value);
	}
	len = proxy_finish_v2(&w, crc);
	if (len == 0)
		return;
	ASSERT(proxy_parse(span_of(out, len), BOTH, &again, &needed, &why) ==
	       PARSE_OK);
	ASSERT(again.header_bytes == len);
	if (h->source.family != ADDR_IP4 && h->source.family != ADDR_IP6) {
		ASSERT(again.local);
		return;
	}
	ASSERT(same_addr(&again.source, &h->source));
	ASSERT(same_addr(&again.destination, &h->destination));
	len = proxy_write_v1(out, &h->source, &h->destination);
	ASSERT(proxy_parse(span_of(out, len), BOTH, &again, &needed, &why) ==
	       PARSE_OK);
	ASSERT(again.local || same_addr(&again.source, &h->source));
	ASSERT(again.local == (h->source.family != h->destination.family));
}

static void
add_ssl(struct proxy_writer *w, struct reader *r)
{
	uint8_t bits = read_u8(r);
	struct proxy_ssl ssl = { .client_certificate = bits & 1,
		.resumed = bits & 2,
		.verified = bits & 4 };

	ssl.version = read_vector16(r);
	ssl.common_name = read_vector16(r);
	ssl.certificate = read_vector16(r);
	proxy_add_ssl(w, &ssl);
}

/* Addresses and TLVs taken from the input: the writer on its own. */
static void
check_written(struct span s)
{
	static uint8_t out[PROXY_MAX_BYTES];
	struct reader r = reader_of(s);
	struct addr from = { .family = ADDR_IP6 }, to = { .family = ADDR_IP4 };
	struct proxy_writer w;
	size_t room = read_u16(&r) % (sizeof(out) + 1);
	size_t len;

	if (read_u8(&r) & 1)
		from.family = ADDR_IP4;
	from.port = read_u16(&r);
	to.port = read_u16(&r);
	proxy_begin_v2(&w, out, room, &from, &to);
	while (r.rest.len > 0) {
		uint8_t type = read_u8(&r);

		if (type == PROXY_TLV_SSL)
			add_ssl(&w, &r);
		else
			proxy_add_tlv(&w, type, read_vector16(&r));
	}
	len = proxy_finish_v2(&w, true);
	ASSERT(len <= room);
	ASSERT(len == 0 || len >= 16);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span wire = span_of(data, size);
	struct proxy_header header, again;
	const char *why = NULL;
	size_t needed = 0;
	enum parse parse = proxy_parse(wire, BOTH, &header, &needed, &why);

	ASSERT(parse != PARSE_MORE || needed > size);
	ASSERT(parse != PARSE_BAD || why != NULL);
	check_prefixes(
	    wire, parse, parse == PARSE_OK ? header.header_bytes : 0);
	check_written(wire);
	if (parse != PARSE_OK)
		return 0;
	check_header(&header, wire);
	check_rewritten(&header, false);
	check_rewritten(&header, true);
	ASSERT(proxy_parse(span_of(data, header.header_bytes), BOTH, &again,
		   &needed, &why) == PARSE_OK);
	ASSERT(again.header_bytes == header.header_bytes);
	ASSERT(proxy_parse(wire, 1u << header.version, &again, &needed, &why) ==
	       PARSE_OK);
	ASSERT(proxy_parse(wire, BOTH & ~(1u << header.version), &again,
		   &needed, &why) == PARSE_BAD);
	return 0;
}

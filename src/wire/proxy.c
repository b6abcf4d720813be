#include "wire/proxy.h"

#include "wire/reader.h"

#define V2_HEADER_BYTES 16
#define V1_MIN_BYTES 15 /* "PROXY UNKNOWN" CR LF */
#define UNIQUE_ID_MAX_BYTES 128
#define CRC_BYTES 4
#define TLV_HEADER_BYTES 3
#define SSL_FIXED_BYTES 5 /* client flags and verify result */

enum v2_family { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX };
enum v2_command { V2_LOCAL, V2_PROXY };
enum v2_protocol { V2_STREAM = 1, V2_DGRAM };

static const char v1_signature[] = "PROXY ";
static const char v2_signature[] = "\r\n\r\n\0\r\nQUIT\n";

#define V1_SIGNATURE_BYTES (sizeof(v1_signature) - 1)
#define V2_SIGNATURE_BYTES (sizeof(v2_signature) - 1)

static enum parse
bad(const char **why, const char *message)
{
	*why = message;
	return PARSE_BAD;
}

static enum parse
more(size_t *needed, size_t count)
{
	*needed = count;
	return PARSE_MORE;
}

/* Whether as much of the signature as there is is right. */
static bool
may_begin_with(struct span wire, const char *signature, size_t len)
{
	return memcmp(wire.data, signature, wire.len < len ? wire.len : len) ==
	       0;
}

/*
 * Version 1.
 *
 * The line's length up to and with CR LF through `len`. A CR or LF by itself
 * is wrong at once, as is a line that cannot end in time.
 */
static enum parse
find_line_end(struct span wire, size_t *len, size_t *needed, const char **why)
{
	size_t i = 0;

	while (i < wire.len && i < PROXY_V1_MAX_BYTES && wire.data[i] != '\r' &&
	       wire.data[i] != '\n')
		i++;
	if (i + 2 > PROXY_V1_MAX_BYTES)
		return bad(why, "PROXY v1: no line end within 107 bytes");
	if (i == wire.len)
		return more(
		    needed, i + 2 < V1_MIN_BYTES ? V1_MIN_BYTES : i + 2);
	if (wire.data[i] == '\n')
		return bad(why, "PROXY v1: LF without CR");
	if (i + 1 == wire.len)
		return more(needed, i + 2);
	if (wire.data[i + 1] != '\n')
		return bad(why, "PROXY v1: CR without LF");
	*len = i + 2;
	return PARSE_OK;
}

/* The next word; words are set apart by exactly one space. */
static struct span
next_word(struct span *line)
{
	const uint8_t *space =
	    line->len > 0 ? memchr(line->data, ' ', line->len) : NULL;
	struct span word = *line;

	if (!space) {
		*line = span_of(line->data, 0);
		return word;
	}
	word.len = (size_t)(space - line->data);
	line->data = space + 1;
	line->len -= word.len + 1;
	return word;
}

/* In decimal without leading zeros, from 0 to 65535. */
static bool
parse_port(struct span word, uint16_t *port)
{
	uint32_t value = 0;

	if (word.len == 0 || word.len > 5 ||
	    (word.len > 1 && word.data[0] == '0'))
		return false;
	for (size_t i = 0; i < word.len; i++) {
		if (word.data[i] < '0' || word.data[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(word.data[i] - '0');
	}
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

/*
 * An address of the announced family. Its spelling tells the family, since a
 * v4-mapped IPv6 address has become an IPv4 one after parsing. A scope is no
 * part of an address on the wire.
 */
static bool
parse_v1_address(struct span word, bool is_ip6, struct addr *out)
{
	bool has_colon = word.len > 0 && memchr(word.data, ':', word.len);
	bool has_scope = word.len > 0 && memchr(word.data, '%', word.len);

	return has_colon == is_ip6 && !has_scope &&
	       addr_parse(word, out) == 0 &&
	       (out->family == ADDR_IP4 || out->family == ADDR_IP6);
}

/* "SOURCE DESTINATION PORT PORT" and nothing more. */
static bool
parse_v1_addresses(struct span line, bool is_ip6, struct proxy_header *out)
{
	bool good =
	    parse_v1_address(next_word(&line), is_ip6, &out->source) &&
	    parse_v1_address(next_word(&line), is_ip6, &out->destination) &&
	    parse_port(next_word(&line), &out->source.port);

	/* The last word is the rest of the line, spaces and all. */
	return good && parse_port(line, &out->destination.port);
}

static enum parse
parse_v1(struct span wire, struct proxy_header *out, size_t *needed,
    const char **why)
{
	struct span line, family;
	enum parse parse = find_line_end(wire, &out->header_bytes, needed, why);

	if (parse != PARSE_OK)
		return parse;
	line = span_of(wire.data + V1_SIGNATURE_BYTES,
	    out->header_bytes - V1_SIGNATURE_BYTES - 2);
	family = next_word(&line);
	out->version = 1;
	if (span_is(family, "UNKNOWN")) {
		/* The rest of the line is to be ignored, whatever it is. */
		out->local = true;
		return PARSE_OK;
	}
	if (!span_is(family, "TCP4") && !span_is(family, "TCP6"))
		return bad(why, "PROXY v1: the protocol is not TCP4, TCP6 or "
				"UNKNOWN");
	if (!parse_v1_addresses(line, span_is(family, "TCP6"), out))
		return bad(why, "PROXY v1: an address or port is wrong");
	return PARSE_OK;
}

/* Version 2. */
static size_t
addresses_bytes(uint8_t family)
{
	static const size_t bytes[] = {
		[V2_UNSPEC] = 0,
		[V2_INET] = 2 * 4 + 2 * 2,
		[V2_INET6] = 2 * 16 + 2 * 2,
		[V2_UNIX] = 2 * 108,
	};

	return bytes[family];
}

/* Judges as much of the fixed part as there is. NULL: nothing is wrong. */
static const char *
v2_head_fault(struct span wire)
{
	const uint8_t *head = wire.data;
	size_t len;

	if (wire.len < 13)
		return NULL;
	if (head[12] >> 4 != 2)
		return "PROXY v2: the version is not 2";
	if ((head[12] & 15) > V2_PROXY)
		return "PROXY v2: unknown command";
	if (wire.len >= 14 && (head[12] & 15) == V2_PROXY &&
	    (head[13] >> 4 > V2_UNIX || (head[13] & 15) > V2_DGRAM))
		return "PROXY v2: unknown address family or protocol";
	if (wire.len < V2_HEADER_BYTES)
		return NULL;
	len = (size_t)(head[14] << 8 | head[15]);
	if (V2_HEADER_BYTES + len > PROXY_MAX_BYTES)
		return "PROXY v2: the header is over 4096 bytes";
	if ((head[12] & 15) == V2_PROXY && len < addresses_bytes(head[13] >> 4))
		return "PROXY v2: too short for its addresses";
	return NULL;
}

/* Makes a v4-mapped address the IPv4 one, as every addr must be. */
static struct addr
addr_from_wire(struct span bytes, uint16_t port)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct addr a = { .port = port, .family = ADDR_IP4 };

	if (bytes.len == 16 && !memcmp(bytes.data, mapped, sizeof(mapped)))
		bytes = span_of(bytes.data + 12, 4);
	if (bytes.len == 16)
		a.family = ADDR_IP6;
	memcpy(a.bytes, bytes.data, bytes.len);
	return a;
}

static void
read_v2_addresses(struct reader *r, uint8_t family, struct proxy_header *out)
{
	size_t len = family == V2_INET ? 4 : 16;
	struct span source, destination;
	uint16_t source_port;

	if (family == V2_UNIX) {
		/* Paths need not end in a NUL and mean nothing to us. */
		read_bytes(r, addresses_bytes(V2_UNIX));
		out->source.family = out->destination.family = ADDR_UNIX;
		return;
	}
	source = read_bytes(r, len);
	destination = read_bytes(r, len);
	source_port = read_u16(r);
	out->source = addr_from_wire(source, source_port);
	out->destination = addr_from_wire(destination, read_u16(r));
}

/* The sub-TLVs of an SSL TLV have to end with it, too. */
static bool
is_ssl_tlv_whole(struct span value)
{
	struct reader r = reader_of(value);

	read_bytes(&r, SSL_FIXED_BYTES);
	while (r.rest.len > 0) {
		read_u8(&r);
		read_vector16(&r);
	}
	return reader_done(&r);
}

/* The checksum is made with zeros in its own place. */
static bool
is_crc_right(struct span header, struct span value)
{
	static const uint8_t zeros[CRC_BYTES];
	size_t before = (size_t)(value.data - header.data);
	uint32_t stated = (uint32_t)value.data[0] << 24 |
			  (uint32_t)value.data[1] << 16 |
			  (uint32_t)value.data[2] << 8 | value.data[3];
	uint32_t crc = crc32c(0, span_of(header.data, before));

	crc = crc32c(crc, span_of(zeros, sizeof(zeros)));
	crc = crc32c(crc,
	    span_of(value.data + CRC_BYTES, header.len - before - CRC_BYTES));
	return crc == stated;
}

static const char *
tlv_fault(uint8_t type, struct span value, struct span header)
{
	switch (type) {
	case PROXY_TLV_CRC32C:
		if (value.len != CRC_BYTES)
			return "PROXY v2: the CRC32C is not of four bytes";
		return is_crc_right(header, value)
			   ? NULL
			   : "PROXY v2: the CRC32C is wrong";
	case PROXY_TLV_UNIQUE_ID:
		return value.len <= UNIQUE_ID_MAX_BYTES
			   ? NULL
			   : "PROXY v2: the unique id is over 128 bytes";
	case PROXY_TLV_SSL:
		return is_ssl_tlv_whole(value)
			   ? NULL
			   : "PROXY v2: the parts of the SSL TLV do not add up";
	default:
		return NULL;
	}
}

/* NULL if all TLVs are good and the last one ends with the header. */
static const char *
tlvs_fault(struct span tlvs, struct span header)
{
	struct reader r = reader_of(tlvs);
	const char *fault = NULL;

	while (r.rest.len > 0 && !fault) {
		uint8_t type = read_u8(&r);
		struct span value = read_vector16(&r);

		if (r.failed)
			return "PROXY v2: the TLVs do not add up";
		fault = tlv_fault(type, value, header);
	}
	return fault;
}

static enum parse
parse_v2(struct span wire, struct proxy_header *out, size_t *needed,
    const char **why)
{
	const char *fault = v2_head_fault(wire);
	struct span header;
	struct reader r;
	uint8_t family, protocol;

	if (fault)
		return bad(why, fault);
	if (wire.len < V2_HEADER_BYTES)
		return more(needed, V2_HEADER_BYTES);
	header = span_of(wire.data,
	    V2_HEADER_BYTES + (size_t)(wire.data[14] << 8 | wire.data[15]));
	if (wire.len < header.len)
		return more(needed, header.len);
	family = wire.data[13] >> 4;
	protocol = wire.data[13] & 15;
	out->version = 2;
	out->header_bytes = header.len;
	out->local = true;
	/* LOCAL: all of the block is to be ignored. UNSPEC: nobody can say
	 * where the addresses end and TLVs begin. */
	if ((wire.data[12] & 15) == V2_LOCAL || family == V2_UNSPEC)
		return PARSE_OK;
	r = reader_of(span_of(
	    header.data + V2_HEADER_BYTES, header.len - V2_HEADER_BYTES));
	if (protocol == V2_STREAM) {
		read_v2_addresses(&r, family, out);
		out->local = false;
	} else {
		/* Not what arrives here: as UNSPEC, says the specification. */
		read_bytes(&r, addresses_bytes(family));
	}
	fault = tlvs_fault(r.rest, header);
	if (fault)
		return bad(why, fault);
	out->tlvs = r.rest;
	return PARSE_OK;
}

enum parse
proxy_parse(struct span wire, unsigned accept, struct proxy_header *out,
    size_t *needed, const char **why)
{
	struct proxy_header header = { 0 };
	enum parse parse;

	if (wire.len == 0)
		return more(needed, 1);
	if ((accept & 1u << 1) &&
	    may_begin_with(wire, v1_signature, V1_SIGNATURE_BYTES))
		parse = parse_v1(wire, &header, needed, why);
	else if ((accept & 1u << 2) &&
		 may_begin_with(wire, v2_signature, V2_SIGNATURE_BYTES))
		parse = parse_v2(wire, &header, needed, why);
	else
		return bad(why, "no PROXY header of an accepted version");
	if (parse == PARSE_OK)
		*out = header;
	return parse;
}

bool
proxy_next_tlv(struct span *rest, uint8_t *type, struct span *value)
{
	struct reader r = reader_of(*rest);

	*type = read_u8(&r);
	*value = read_vector16(&r);
	*rest = r.rest;
	return !r.failed;
}

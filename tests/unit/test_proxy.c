#include "unit.h"

#include "bytes.h"
#include "wire/proxy.h"

#define V1 (1u << 1)
#define V2 (1u << 2)
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define IP4_BLOCK "\xc0\0\2\1\xc6\x33\x64\2\x30\x39\1\xbb"

static struct proxy_header header;
static size_t needed;
static const char *why;

static enum parse
parse(struct span s, unsigned accept)
{
	uint8_t *copy = exact_copy(s);
	enum parse result;

	memset(&header, 0xee, sizeof(header));
	needed = 0;
	why = NULL;
	result =
	    proxy_parse(span_of(copy, s.len), accept, &header, &needed, &why);
	free(copy);
	return result;
}

static struct addr
addr_of(const char *text, uint16_t port)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	a.port = port;
	return a;
}

static void
check_addr(const struct addr *a, const char *expected)
{
	char text[ADDR_TEXT_SIZE];

	addr_format(a, text);
	ck_assert_str_eq(text, expected);
}

/* Whole: taken, whatever follows. Each prefix: asks for more, never too much.
 */
static void
check_good(struct span s)
{
	static struct bytes longer;

	for (size_t len = 0; len < s.len; len++) {
		ck_assert_int_eq(
		    parse(span_of(s.data, len), V1 | V2), PARSE_MORE);
		ck_assert_uint_gt(needed, len);
		ck_assert_uint_le(needed, s.len);
	}
	longer.len = 0;
	add_span(&longer, s);
	add_span(&longer, BYTES("\x16\3\1PROXY TCP4 \r\n"));
	ck_assert_int_eq(parse(bytes_span(&longer), V1 | V2), PARSE_OK);
	ck_assert_uint_eq(header.header_bytes, s.len);
	ck_assert_int_eq(parse(s, V1 | V2), PARSE_OK);
	ck_assert_uint_eq(header.header_bytes, s.len);
}

/* Refused, and no prefix is taken, and what begins with a refused one is. */
static void
check_bad(struct span s)
{
	bool refused = false;

	for (size_t len = 0; len <= s.len; len++) {
		enum parse result = parse(span_of(s.data, len), V1 | V2);

		ck_assert_int_ne(result, PARSE_OK);
		ck_assert(!refused || result == PARSE_BAD);
		ck_assert(result != PARSE_MORE || needed > len);
		refused = result == PARSE_BAD;
	}
	ck_assert(refused);
	ck_assert_ptr_nonnull(why);
}

START_TEST(a_v1_line_of_each_family)
{
	check_good(BYTES("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n"));
	ck_assert_uint_eq(header.version, 1);
	ck_assert(!header.local);
	check_addr(&header.source, "192.0.2.1:12345");
	check_addr(&header.destination, "198.51.100.2:443");
	check_good(BYTES("PROXY TCP6 2001:DB8::1 ::1 0 65535\r\n"));
	check_addr(&header.source, "[2001:db8::1]:0");
	check_addr(&header.destination, "[::1]:65535");
	check_good(BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 "
			 "65535\r\n"));
	check_good(BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
			 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
			 "65535\r\n"));
	/* A mapped address is the IPv4 address, for every rule. */
	check_good(BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"));
	check_addr(&header.source, "192.0.2.1:1");
}
END_TEST

START_TEST(a_v1_line_of_an_unknown_protocol)
{
	static const char *const lines[] = { "PROXY UNKNOWN\r\n",
		"PROXY UNKNOWN \r\n", "PROXY UNKNOWN x y z  1\r\n",
		"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n" };

	for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
		check_good(span_text(lines[i]));
		ck_assert(header.local);
		ck_assert_uint_eq(header.source.family, ADDR_NONE);
	}
}
END_TEST

static const char *const bad_lines[] = {
	"GET / HTTP/1.1\r\n",
	"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4  1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1  2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
	"PROXY TCP4 1.2.3.4\r\n",
	"PROXY TCP4 \r\n\r\n",
	"PROXY TCP4\r\n....",
	"PROXY \r\n.......",
	"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY UNKNOWNX 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY unknown\r\n",
	"PROXY TCP4 256.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n",
	"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
	"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
	"PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4 16909060 1.2.3.4 1 2\r\n",
	"PROXY TCP4 -1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP4 ::1 ::1 1 2\r\n",
	"PROXY TCP4 ::ffff:1.2.3.4 ::ffff:1.2.3.4 1 2\r\n",
	"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
	"PROXY TCP6 ::1 1.2.3.4 1 2\r\n",
	"PROXY TCP6 ::1%lo ::1 1 2\r\n",
	"PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
	"PROXY TCP6 [::1] [::1] 1 2\r\n",
	"PROXY TCP6 1::2::3 ::1 1 2\r\n",
	"PROXY TCP6 12345::1 ::1 1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 655350\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 00\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1a 2\r\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
	"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
	"PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n",
	"PROXY UNKNOWN a\nb\r\n",
	"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n",
	"QUIT",
};

START_TEST(lines_that_are_not_exact)
{
	check_bad(span_text(bad_lines[_i]));
}
END_TEST

START_TEST(a_nul_in_a_line)
{
	check_bad(BYTES("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"));
	check_bad(BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0\r\n"));
}
END_TEST

START_TEST(only_accepted_versions)
{
	struct span v1 = BYTES("PROXY UNKNOWN\r\n");
	struct span v2 = BYTES(SIGNATURE "\x20\0\0\0");

	ck_assert_int_eq(parse(v1, V1), PARSE_OK);
	ck_assert_int_eq(parse(v1, V2), PARSE_BAD);
	ck_assert_int_eq(parse(v2, V2), PARSE_OK);
	ck_assert_int_eq(parse(v2, V1), PARSE_BAD);
	ck_assert_int_eq(parse(v2, 0), PARSE_BAD);
	ck_assert_int_eq(parse(span_of(v2.data, 1), V1), PARSE_BAD);
	ck_assert_int_eq(parse(BYTES("\x16\3\1"), V1 | V2), PARSE_BAD);
}
END_TEST

START_TEST(a_v2_header_of_each_family)
{
	static struct bytes b;

	check_good(BYTES(SIGNATURE "\x21\x11\0\x0c" IP4_BLOCK));
	ck_assert_uint_eq(header.version, 2);
	ck_assert(!header.local);
	ck_assert_uint_eq(header.tlvs.len, 0);
	check_addr(&header.source, "192.0.2.1:12345");
	check_addr(&header.destination, "198.51.100.2:443");
	check_good(BYTES(SIGNATURE "\x21\x21\0\x24"
				   "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
				   "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4"
				   "\0\1\0\2"));
	check_addr(&header.source, "[2001:db8::1]:1");
	check_addr(&header.destination, "1.2.3.4:2");
	b.len = 0;
	add_span(&b, BYTES(SIGNATURE "\x21\x31\0\xd8"));
	for (int i = 0; i < 216; i++)
		add_u8(&b, '/');
	check_good(bytes_span(&b));
	ck_assert(!header.local);
	ck_assert_uint_eq(header.source.family, ADDR_UNIX);
	ck_assert_uint_eq(header.destination.family, ADDR_UNIX);
}
END_TEST

START_TEST(headers_without_an_address_to_use)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
#define CASE(literal) { SIGNATURE literal, sizeof(SIGNATURE literal) - 1 }
		/* LOCAL: nothing after it counts, be it what it may. */
		CASE("\x20\0\0\0"),
		CASE("\x20\x11\0\x0c" IP4_BLOCK),
		CASE("\x20\x11\0\2xx"),
		CASE("\x20\xff\0\3xxx"),
		/* UNSPEC, and what a TCP listener cannot mean. */
		CASE("\x21\0\0\0"),
		CASE("\x21\0\0\3xxx"),
		CASE("\x21\1\0\3xxx"),
		CASE("\x21\x10\0\x0c" IP4_BLOCK),
		CASE("\x21\x12\0\x0c" IP4_BLOCK),
#undef CASE
	};

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		check_good(span_of(cases[i].bytes, cases[i].len));
		ck_assert(header.local);
		ck_assert_uint_eq(header.source.family, ADDR_NONE);
		ck_assert_uint_eq(header.tlvs.len, 0);
	}
}
END_TEST

static const struct {
	const char *bytes;
	size_t len;
} bad_headers[] = {
#define CASE(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
	CASE("\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" IP4_BLOCK),
	CASE("\r\n\r\n\r\n\0QUIT\n\x21\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x11\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x31\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x01\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x22\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x2f\x11\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\x41\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\xf1\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\x13\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\x03\0\x0c" IP4_BLOCK),
	/* Too short for the addresses of the family. */
	CASE(SIGNATURE "\x21\x11\0\0"),
	CASE(SIGNATURE "\x21\x11\0\x0bxxxxxxxxxxx"),
	CASE(SIGNATURE "\x21\x12\0\x0bxxxxxxxxxxx"),
	CASE(SIGNATURE "\x21\x21\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\x21\0\x23xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
	CASE(SIGNATURE "\x21\x31\0\x0c" IP4_BLOCK),
	CASE(SIGNATURE "\x21\x31\0\xd7"),
	/* Over 4096 bytes: from the length alone. */
	CASE(SIGNATURE "\x21\x11\x0f\xf1"),
	CASE(SIGNATURE "\x20\0\xff\xff"),
	/* TLVs that do not end with the header. */
	CASE(SIGNATURE "\x21\x11\0\x0d" IP4_BLOCK "\4"),
	CASE(SIGNATURE "\x21\x11\0\x0e" IP4_BLOCK "\4\0"),
	CASE(SIGNATURE "\x21\x11\0\x0f" IP4_BLOCK "\4\0\1"),
	CASE(SIGNATURE "\x21\x11\0\x10" IP4_BLOCK "\4\0\2x"),
	CASE(SIGNATURE "\x21\x11\0\x10" IP4_BLOCK "\4\0\0x"),
	CASE(SIGNATURE "\x21\x11\0\x10" IP4_BLOCK "\4\xff\xffx"),
	CASE(SIGNATURE "\x21\x12\0\x0d" IP4_BLOCK "\4"),
	/* CRC32C: wrong, or not of four bytes. */
	CASE(SIGNATURE "\x21\x11\0\x13" IP4_BLOCK "\3\0\4\0\0\0\0"),
	CASE(SIGNATURE "\x21\x11\0\x0f" IP4_BLOCK "\3\0\0"),
	CASE(SIGNATURE "\x21\x11\0\x14" IP4_BLOCK "\3\0\5\0\0\0\0\0"),
	/* The SSL TLV's own parts. */
	CASE(SIGNATURE "\x21\x11\0\x0f" IP4_BLOCK "\x20\0\0"),
	CASE(SIGNATURE "\x21\x11\0\x13" IP4_BLOCK "\x20\0\4\1\0\0\0"),
	CASE(SIGNATURE "\x21\x11\0\x15" IP4_BLOCK "\x20\0\6\1\0\0\0\0\x21"),
	CASE(SIGNATURE "\x21\x11\0\x18" IP4_BLOCK
		       "\x20\0\x09\1\0\0\0\0\x21\0\2T"),
#undef CASE
};

START_TEST(headers_that_are_not_exact)
{
	check_bad(span_of(bad_headers[_i].bytes, bad_headers[_i].len));
}
END_TEST

START_TEST(a_unique_id_has_at_most_128_bytes)
{
	static struct bytes b;

	for (size_t len = 128; len <= 129; len++) {
		b.len = 0;
		add_span(&b, BYTES(SIGNATURE "\x21\x11"));
		add_u16(&b, 12 + 3 + len);
		add_span(&b, BYTES(IP4_BLOCK "\5"));
		add_u16(&b, len);
		add_zeros(&b, len);
		if (len == 128)
			check_good(bytes_span(&b));
		else
			check_bad(bytes_span(&b));
	}
}
END_TEST

START_TEST(tlvs_are_walked_in_order)
{
	struct span s = BYTES(
			SIGNATURE "\x21\x11\0\x24" IP4_BLOCK "\2\0\6a.test"
				  "\4\0\0"
				  "\x20\0\x09\1\0\0\0\1\x21\0\1T"
				  ""),
		    value;
	uint8_t type;

	check_good(s);
	ck_assert_int_eq(proxy_parse(s, V2, &header, &needed, &why), PARSE_OK);
	ck_assert(proxy_next_tlv(&header.tlvs, &type, &value));
	ck_assert(type == PROXY_TLV_AUTHORITY && span_is(value, "a.test"));
	ck_assert(proxy_next_tlv(&header.tlvs, &type, &value));
	ck_assert(type == PROXY_TLV_NOOP && value.len == 0);
	ck_assert(proxy_next_tlv(&header.tlvs, &type, &value));
	ck_assert(type == PROXY_TLV_SSL && value.len == 9);
	ck_assert(!proxy_next_tlv(&header.tlvs, &type, &value));
}
END_TEST

START_TEST(v1_is_written_canonically)
{
	uint8_t out[PROXY_V1_MAX_BYTES + 1];
	struct addr none = { 0 }, unix_peer = { .family = ADDR_UNIX };
	struct addr a = addr_of("192.0.2.1", 1), b = addr_of("192.0.2.2", 443);
	struct addr six = addr_of("2001:db8::1", 65535);
	size_t len = proxy_write_v1(out, &a, &b);

	ck_assert(span_is(
	    span_of(out, len), "PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"));
	len = proxy_write_v1(out, &six, &six);
	ck_assert(span_is(span_of(out, len),
	    "PROXY TCP6 2001:db8::1 2001:db8::1 65535 65535\r\n"));
	six.scope = 1;
	len = proxy_write_v1(out, &six, &six);
	check_good(span_of(out, len));
	len = proxy_write_v1(out, &a, &six);
	ck_assert(span_is(span_of(out, len), "PROXY UNKNOWN\r\n"));
	len = proxy_write_v1(out, &none, &b);
	ck_assert(span_is(span_of(out, len), "PROXY UNKNOWN\r\n"));
	len = proxy_write_v1(out, &unix_peer, &unix_peer);
	ck_assert(span_is(span_of(out, len), "PROXY UNKNOWN\r\n"));
}
END_TEST

static void
check_round_trip(const char *source, const char *destination, bool crc)
{
	uint8_t out[512];
	struct addr from = addr_of(source, 4711), to = addr_of(destination, 9);
	struct proxy_writer w;
	size_t len;

	proxy_begin_v2(&w, out, sizeof(out), &from, &to);
	proxy_add_tlv(&w, PROXY_TLV_AUTHORITY, BYTES("a.test"));
	proxy_add_tlv(&w, 0xE0, BYTES(""));
	len = proxy_finish_v2(&w, crc);
	check_good(span_of(out, len));
	ck_assert(addr_same_ip(&header.source, &from));
	ck_assert(addr_same_ip(&header.destination, &to));
	ck_assert_uint_eq(header.source.port, 4711);
	ck_assert_uint_eq(header.destination.port, 9);
	ck_assert_uint_eq(header.tlvs.len, 9 + 3 + (crc ? 7 : 0));
	/* A flipped bit of a header with a checksum is seen, unless it makes
	 * the checksum something else. */
	for (size_t i = 0; crc && i < len * 8; i++) {
		if (i / 8 == len - 7)
			continue;
		out[i / 8] ^= (uint8_t)(1 << i % 8);
		enum parse result = parse(span_of(out, len), V2);

		ck_assert(result != PARSE_OK || header.local);
		out[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

START_TEST(v2_is_read_as_written)
{
	for (int crc = 0; crc < 2; crc++) {
		check_round_trip("192.0.2.1", "192.0.2.2", crc);
		check_round_trip("2001:db8::1", "2001:db8::2", crc);
		check_round_trip("192.0.2.1", "2001:db8::2", crc);
		check_round_trip("2001:db8::1", "192.0.2.2", crc);
	}
}
END_TEST

START_TEST(v2_without_a_source_is_local)
{
	uint8_t out[64];
	struct addr none = { 0 }, unix_peer = { .family = ADDR_UNIX };
	struct addr to = addr_of("192.0.2.2", 443);
	struct proxy_writer w;
	size_t len;

	proxy_begin_v2(&w, out, sizeof(out), &none, &to);
	len = proxy_finish_v2(&w, false);
	ck_assert(span_equal(span_of(out, len), BYTES(SIGNATURE "\x20\0\0\0")));
	proxy_begin_v2(&w, out, sizeof(out), &unix_peer, &to);
	len = proxy_finish_v2(&w, true);
	check_good(span_of(out, len));
	ck_assert(header.local);
	proxy_begin_v2(&w, out, sizeof(out), &to, &none);
	len = proxy_finish_v2(&w, true);
	check_good(span_of(out, len));
	check_addr(&header.source, "192.0.2.2:443");
	check_addr(&header.destination, "0.0.0.0:0");
}
END_TEST

START_TEST(v2_never_writes_past_its_room)
{
	static uint8_t out[2 * PROXY_MAX_BYTES];
	struct addr a = addr_of("192.0.2.1", 1);
	struct proxy_writer w;

	for (size_t size = 0; size < 45; size++) {
		memset(out, 0xee, sizeof(out));
		proxy_begin_v2(&w, out, size, &a, &a);
		proxy_add_tlv(&w, 0xE0, BYTES("seven b"));
		ck_assert_uint_eq(
		    proxy_finish_v2(&w, true), size < 45 ? 0 : 45);
		ck_assert_uint_eq(out[size], 0xee);
	}
	proxy_begin_v2(&w, out, 45, &a, &a);
	proxy_add_tlv(&w, 0xE0, BYTES("seven b"));
	ck_assert_uint_eq(proxy_finish_v2(&w, true), 45);
	for (size_t len = PROXY_MAX_BYTES - 31; len < 70000; len += 7000) {
		static uint8_t value[70000];

		proxy_begin_v2(&w, out, sizeof(out), &a, &a);
		proxy_add_tlv(&w, 0xE0, span_of(value, len));
		ck_assert_uint_eq(proxy_finish_v2(&w, false),
		    len == PROXY_MAX_BYTES - 31 ? PROXY_MAX_BYTES : 0);
	}
}
END_TEST

/* The SSL TLV of a header that is written with it, as it is read back. */
static struct span
written_ssl(const struct proxy_ssl *ssl)
{
	static uint8_t out[PROXY_MAX_BYTES];
	struct addr a = addr_of("192.0.2.1", 1);
	struct proxy_writer w;
	struct span value;
	uint8_t type;
	size_t len;

	proxy_begin_v2(&w, out, sizeof(out), &a, &a);
	proxy_add_tlv(&w, PROXY_TLV_AUTHORITY, BYTES("a.test"));
	proxy_add_ssl(&w, ssl);
	proxy_add_tlv(&w, 0xE0, BYTES("after"));
	len = proxy_finish_v2(&w, true);
	check_good(span_of(out, len));
	ck_assert_int_eq(
	    proxy_parse(span_of(out, len), V2, &header, &needed, &why),
	    PARSE_OK);
	ck_assert(proxy_next_tlv(&header.tlvs, &type, &value));
	ck_assert(proxy_next_tlv(&header.tlvs, &type, &value));
	ck_assert_uint_eq(type, PROXY_TLV_SSL);
	return value;
}

#define ALL_BUT_THE_CLIENT                                         \
	.version = BYTES("TLSv1.3"), .cipher = BYTES("C"),         \
	.signature_algorithm = BYTES("ecdsa-with-SHA256"),         \
	.key_algorithm = BYTES("EC256"), .group = BYTES("X25519"), \
	.signature_scheme = BYTES("ecdsa_secp256r1_sha256")
#define ITS_ALGORITHMS                  \
	"\x23\0\1C\x24\0\x11"           \
	"ecdsa-with-SHA256"             \
	"\x25\0\5"                      \
	"EC256\x26\0\6X25519\x27\0\x16" \
	"ecdsa_secp256r1_sha256"

START_TEST(the_ssl_tlv_byte_by_byte)
{
	struct proxy_ssl nobody = { ALL_BUT_THE_CLIENT };
	struct proxy_ssl somebody = { .client_certificate = true,
		.verified = true,
		.common_name = BYTES("x\0y"),
		.certificate = BYTES("\x30\0"),
		ALL_BUT_THE_CLIENT };
	struct proxy_ssl nothing = { 0 };

	ck_assert(span_equal(written_ssl(&nobody),
	    BYTES("\1\0\0\0\1\x21\0\7TLSv1.3" ITS_ALGORITHMS)));
	ck_assert(span_equal(written_ssl(&somebody),
	    BYTES("\7\0\0\0\0\x21\0\7TLSv1.3\x22\0\3x\0y" ITS_ALGORITHMS
		  "\x28\0\2\x30\0")));
	somebody.resumed = true;
	ck_assert_uint_eq(written_ssl(&somebody).data[0], 5);
	ck_assert(span_equal(written_ssl(&nothing), BYTES("\1\0\0\0\1")));
}
END_TEST

/* Whoever reads the common name alone must not be led astray. */
START_TEST(an_unverified_client_is_not_named)
{
	struct proxy_ssl ssl = { .client_certificate = true,
		.common_name = BYTES("root"),
		.certificate = BYTES("der") };

	ck_assert(span_equal(written_ssl(&ssl), BYTES("\7\0\0\0\1")));
	ssl.client_certificate = false;
	ssl.verified = true;
	ssl.resumed = true;
	ck_assert(span_equal(written_ssl(&ssl), BYTES("\1\0\0\0\1")));
}
END_TEST

START_TEST(an_ssl_tlv_that_does_not_fit)
{
	static uint8_t out[2 * PROXY_MAX_BYTES], der[70000];
	struct addr a = addr_of("192.0.2.1", 1);
	struct proxy_ssl ssl = { .client_certificate = true,
		.verified = true,
		.version = BYTES("TLSv1.3") };
	struct proxy_writer w;
	size_t whole = 28 + 3 + 5 + 3 + 7 + 3;

	for (size_t size = 0; size < whole + 10; size++) {
		memset(out, 0xee, sizeof(out));
		ssl.certificate = span_of(der, 10);
		proxy_begin_v2(&w, out, size, &a, &a);
		proxy_add_ssl(&w, &ssl);
		ck_assert_uint_eq(proxy_finish_v2(&w, false), 0);
		ck_assert_uint_eq(out[size], 0xee);
	}
	for (size_t len = PROXY_MAX_BYTES - whole; len < 70000; len += 7000) {
		ssl.certificate = span_of(der, len);
		proxy_begin_v2(&w, out, sizeof(out), &a, &a);
		proxy_add_ssl(&w, &ssl);
		ck_assert_uint_eq(proxy_finish_v2(&w, false),
		    len == PROXY_MAX_BYTES - whole ? PROXY_MAX_BYTES : 0);
	}
}
END_TEST

START_TEST(crc32c_vectors)
{
	uint8_t b[32];

	/* RFC 3720 appendix B.4. */
	memset(b, 0, sizeof(b));
	ck_assert_uint_eq(crc32c(0, span_of(b, 32)), 0x8a9136aa);
	memset(b, 0xff, sizeof(b));
	ck_assert_uint_eq(crc32c(0, span_of(b, 32)), 0x62a8ab43);
	for (uint8_t i = 0; i < 32; i++)
		b[i] = i;
	ck_assert_uint_eq(crc32c(0, span_of(b, 32)), 0x46dd794e);
	for (uint8_t i = 0; i < 32; i++)
		b[i] = (uint8_t)(31 - i);
	ck_assert_uint_eq(crc32c(0, span_of(b, 32)), 0x113fdb5c);
	ck_assert_uint_eq(crc32c(0, BYTES("123456789")), 0xe3069283);
	ck_assert_uint_eq(crc32c(0, BYTES("")), 0);
	for (size_t cut = 0; cut <= 32; cut++)
		ck_assert_uint_eq(crc32c(crc32c(0, span_of(b, cut)),
				      span_of(b + cut, 32 - cut)),
		    0x113fdb5c);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_v1_line_of_each_family);
	tcase_add_test(tcase, a_v1_line_of_an_unknown_protocol);
	tcase_add_loop_test(
	    tcase, lines_that_are_not_exact, 0, ARRAY_COUNT(bad_lines));
	tcase_add_test(tcase, a_nul_in_a_line);
	tcase_add_test(tcase, only_accepted_versions);
	tcase_add_test(tcase, a_v2_header_of_each_family);
	tcase_add_test(tcase, headers_without_an_address_to_use);
	tcase_add_loop_test(
	    tcase, headers_that_are_not_exact, 0, ARRAY_COUNT(bad_headers));
	tcase_add_test(tcase, a_unique_id_has_at_most_128_bytes);
	tcase_add_test(tcase, tlvs_are_walked_in_order);
	tcase_add_test(tcase, v1_is_written_canonically);
	tcase_add_test(tcase, v2_is_read_as_written);
	tcase_add_test(tcase, v2_without_a_source_is_local);
	tcase_add_test(tcase, v2_never_writes_past_its_room);
	tcase_add_test(tcase, the_ssl_tlv_byte_by_byte);
	tcase_add_test(tcase, an_unverified_client_is_not_named);
	tcase_add_test(tcase, an_ssl_tlv_that_does_not_fit);
	tcase_add_test(tcase, crc32c_vectors);
}

UNIT_MAIN_TOGETHER("proxy", add_tests)

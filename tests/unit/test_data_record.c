#include "unit.h"

#include <errno.h>

#include "bytes.h"
#include "wire/data_record.h"
#include "wire/hello.h"

#define IP4_HEAD "\r\n\r\n\0\r\nQUIT\n\x21\x11"
#define IP4_BLOCK "\xc0\0\2\1\xc6\x33\x64\2\x30\x39\1\xbb"
#define SESSION "0123456789abcdef"
#define HASH "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
#define NO_HASH                                                      \
	"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" \
	"\0\0\0"

static struct addr
addr_of(const char *text, uint16_t port)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_text(text), &a), 0);
	a.port = port;
	return a;
}

/* --- the preface --- */

static const struct data_preface preface = {
	.mode = DATA_TLS,
	.session = SESSION,
	.counter = UINT64_C(0x0001020304050607),
	.mac = "MMMMMMMMmmmmmmmmMMMMMMMMmmmmmmmm",
};
#define PREFACE                                      \
	BYTES("\xc5\x4c\x55\x4e\x45\x54\1\1" SESSION \
	      "\0\1\2\3\4\5\6\7MMMMMMMMmmmmmmmmMMMMMMMMmmmmmmmm")

static enum parse
parse_preface(struct span s, struct data_preface *out)
{
	uint8_t *copy = exact_copy(s);
	enum parse result = data_preface_parse(span_of(copy, s.len), out);

	free(copy);
	return result;
}

START_TEST(a_preface_has_this_form)
{
	uint8_t out[DATA_PREFACE_BYTES];

	data_preface_write(&preface, out);
	ck_assert(span_equal(span_of(out, sizeof(out)), PREFACE));
}
END_TEST

START_TEST(a_preface_is_read_back)
{
	struct data_preface p;
	struct span s = PREFACE;

	for (size_t len = 0; len < s.len; len++)
		ck_assert_int_eq(
		    parse_preface(span_of(s.data, len), &p), PARSE_MORE);
	ck_assert_int_eq(parse_preface(s, &p), PARSE_OK);
	ck_assert_int_eq(p.mode, DATA_TLS);
	ck_assert_mem_eq(p.session, preface.session, sizeof(p.session));
	ck_assert_uint_eq(p.counter, preface.counter);
	ck_assert_mem_eq(p.mac, preface.mac, sizeof(p.mac));
	/* What follows is not its own. */
	ck_assert_int_eq(
	    parse_preface(BYTES("\xc5\x4c\x55\x4e\x45\x54\1\0" SESSION
				"\xff\xff\xff\xff\xff\xff\xff\xff" HASH "more"),
		&p),
	    PARSE_OK);
	ck_assert_int_eq(p.mode, DATA_RAW);
	ck_assert_uint_eq(p.counter, UINT64_MAX);
}
END_TEST

/* Each wrong byte is known when it comes, not 63 bytes later. */
START_TEST(a_preface_is_judged_byte_by_byte)
{
	uint8_t bytes[DATA_PREFACE_BYTES];
	struct data_preface p;

	for (size_t at = 0; at < 8; at++)
		for (unsigned value = 0; value < 256; value++) {
			memcpy(bytes, PREFACE.data, sizeof(bytes));
			bytes[at] = (uint8_t)value;
			if (value == PREFACE.data[at] ||
			    (at == 7 && value == 0))
				continue;
			QUICK_ASSERT(parse_preface(span_of(bytes, at + 1),
					 &p) == PARSE_BAD);
			QUICK_ASSERT(
			    parse_preface(span_of(bytes, 64), &p) == PARSE_BAD);
		}
}
END_TEST

/* --- records --- */

/* Asks for more at each shorter length, and never for too much. */
static void
check_prefixes(struct span s,
    enum parse (*parse)(struct span, struct data_record *, size_t *))
{
	struct data_record r;

	for (size_t len = 0; len < s.len; len++) {
		uint8_t *copy = exact_copy(span_of(s.data, len));
		size_t needed = 0;

		QUICK_ASSERT(
		    parse(span_of(copy, len), &r, &needed) == PARSE_MORE);
		QUICK_ASSERT(needed > len && needed <= s.len);
		free(copy);
	}
}

static struct span
make_open(struct bytes *b, size_t sealed)
{
	b->len = 0;
	add_span(b, BYTES("\1\1"));
	add_u16(b, sealed);
	add_span(b, BYTES("salt-salt-salt-s"));
	for (size_t i = 0; i < sealed; i++)
		add_u8(b, i);
	return bytes_span(b);
}

START_TEST(an_open_is_taken_apart)
{
	static const size_t sizes[] = { DATA_OPEN_SEALED_MIN_BYTES, 33, 255,
		256, 1000, DATA_OPEN_SEALED_MAX_BYTES };
	static struct bytes b;
	uint8_t head[DATA_OPEN_HEAD_BYTES];
	struct data_record r;
	size_t needed;

	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		struct span s = make_open(&b, sizes[i]);

		check_prefixes(s, data_open_record);
		add_span(&b, BYTES("more"));
		ck_assert_int_eq(
		    data_open_record(bytes_span(&b), &r, &needed), PARSE_OK);
		ck_assert_uint_eq(r.bytes, 20 + sizes[i]);
		ck_assert(span_equal(r.head, span_of(b.data, 20)));
		ck_assert(span_equal(r.salt, BYTES("salt-salt-salt-s")));
		ck_assert_ptr_eq(r.sealed.data, b.data + 20);
		ck_assert_uint_eq(r.sealed.len, sizes[i]);
		data_open_head(head, sizes[i], r.salt.data);
		ck_assert(span_equal(span_of(head, sizeof(head)), r.head));
	}
}
END_TEST

START_TEST(an_open_that_is_none)
{
	const struct {
		struct span wire;
		enum parse expected;
	} cases[] = {
		{ BYTES("\1"), PARSE_MORE },
		{ BYTES("\0"), PARSE_BAD },
		{ BYTES("\2"), PARSE_BAD },
		{ BYTES("\1\0"), PARSE_BAD },
		{ BYTES("\1\2"), PARSE_BAD },
		{ BYTES("\1\1\0"), PARSE_MORE },
		{ BYTES("\1\1\0\x1f"), PARSE_BAD },
		{ BYTES("\1\1\0\x20"), PARSE_MORE },
		{ BYTES("\1\1\x10\x00"), PARSE_MORE },
		{ BYTES("\1\1\x10\x01"), PARSE_BAD },
		{ BYTES("\1\1\xff\xff"), PARSE_BAD },
	};
	struct data_record r;
	size_t needed;

	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		ck_assert_int_eq(data_open_record(cases[i].wire, &r, &needed),
		    cases[i].expected);
}
END_TEST

START_TEST(an_answer_is_taken_apart)
{
	static const uint8_t good[40] = { 2, 1, 0, 0x20, 'x' };
	uint8_t changed[40], head[DATA_ANSWER_HEAD_BYTES];
	struct data_record r;
	size_t needed;

	check_prefixes(span_of(good, DATA_ANSWER_BYTES), data_answer_record);
	ck_assert_int_eq(
	    data_answer_record(span_of(good, 40), &r, &needed), PARSE_OK);
	ck_assert_uint_eq(r.bytes, 36);
	ck_assert(span_equal(r.head, span_of(good, 4)));
	ck_assert(span_equal(r.sealed, span_of(good + 4, 32)));
	ck_assert_uint_eq(r.salt.len, 0);
	data_answer_head(head);
	ck_assert_mem_eq(head, good, sizeof(head));
	for (size_t at = 0; at < 4; at++) {
		memcpy(changed, good, sizeof(changed));
		changed[at] ^= 1;
		ck_assert_int_eq(
		    data_answer_record(span_of(changed, at + 1), &r, &needed),
		    PARSE_BAD);
	}
}
END_TEST

/* --- what is sealed in OPEN --- */

static struct data_open
usual(void)
{
	struct data_open o = {
		.client = addr_of("192.0.2.1", 12345),
		.server = addr_of("198.51.100.2", 443),
		.termination = DATA_ENDS_AT_UPSTREAM,
		.proxy_version = 2,
		.hello_bytes = 0x0102,
		.hello_sha256 = HASH,
		.endpoint_id = span_text("ep_1"),
		.authority = span_text("a.test"),
		.alpn = span_text("h2"),
		.unique_id = span_text("id"),
	};

	return o;
}

static uint8_t plain[PROXY_MAX_BYTES + 1];

static struct span
write_open(const struct data_open *o)
{
	struct proxy_writer w;

	data_open_begin(&w, plain, sizeof(plain), o);
	return span_of(plain, data_open_finish(&w));
}

/* Of a copy that ends where it ends; spans of `out` point nowhere. */
static const char *
fault_of(struct span s)
{
	uint8_t *copy = exact_copy(s);
	struct data_open out;
	const char *why = NULL;
	int result = data_open_read(span_of(copy, s.len), &out, &why);

	free(copy);
	ck_assert_int_eq(result, why ? -EBADMSG : 0);
	return why;
}

START_TEST(an_open_has_this_form)
{
	struct data_open o = usual();

	ck_assert(span_equal(write_open(&o),
	    BYTES(IP4_HEAD "\0\x4e" IP4_BLOCK "\xf0\0\x2c\1\2\2\0\0\0\1\2" HASH
			   "ep_1"
			   "\2\0\6"
			   "a.test"
			   "\1\0\2h2"
			   "\5\0\2id")));
}
END_TEST

static void
check_same(const struct data_open *a, const struct data_open *b)
{
	ck_assert(addr_same_ip(&a->client, &b->client));
	ck_assert(addr_same_ip(&a->server, &b->server));
	ck_assert_uint_eq(a->client.port, b->client.port);
	ck_assert_uint_eq(a->server.port, b->server.port);
	ck_assert_int_eq(a->termination, b->termination);
	ck_assert_uint_eq(a->proxy_version, b->proxy_version);
	ck_assert_uint_eq(a->hello_bytes, b->hello_bytes);
	ck_assert_mem_eq(a->hello_sha256, b->hello_sha256, 32);
	ck_assert(span_equal(a->endpoint_id, b->endpoint_id));
	ck_assert(span_equal(a->authority, b->authority));
	ck_assert(span_equal(a->alpn, b->alpn));
	ck_assert(span_equal(a->unique_id, b->unique_id));
}

static void
check_round(const struct data_open *o)
{
	struct span s = write_open(o);
	struct data_open again;
	const char *why;

	ck_assert_int_eq(data_open_read(s, &again, &why), 0);
	check_same(o, &again);
	for (size_t len = 0; len < s.len; len++)
		ck_assert_ptr_nonnull(fault_of(span_of(s.data, len)));
}

START_TEST(an_open_is_read_back)
{
	struct data_open o = usual();
	char longest[DATA_ENDPOINT_MAX_BYTES];

	check_round(&o);
	o.client = addr_of("2001:db8::1", 0);
	check_round(&o);
	o.server = addr_of("2001:db8::2", 65535);
	o.termination = DATA_ENDS_AT_AGENT;
	o.hello_bytes = HELLO_MAX_BYTES;
	check_round(&o);
	o.authority = o.alpn = o.unique_id = span_of(NULL, 0);
	o.proxy_version = 0;
	memset(longest, 'e', sizeof(longest));
	o.endpoint_id = span_of(longest, sizeof(longest));
	check_round(&o);
	o.endpoint_id.len = 1;
	o.termination = DATA_ENDS_AT_EDGE;
	o.hello_bytes = 0;
	memset(o.hello_sha256, 0, sizeof(o.hello_sha256));
	check_round(&o);
}
END_TEST

START_TEST(further_tlvs_are_walked)
{
	struct data_open o = usual(), again;
	struct proxy_writer w;
	const char *why;
	struct span value;
	uint8_t type;

	data_open_begin(&w, plain, sizeof(plain), &o);
	proxy_add_tlv(&w, PROXY_TLV_NOOP, span_of(NULL, 0));
	proxy_add_tlv(&w, 0xE3, span_text("of the policy"));
	proxy_add_tlv(&w, 0xE4, span_of(NULL, 0));
	ck_assert_int_eq(
	    data_open_read(span_of(plain, data_open_finish(&w)), &again, &why),
	    0);
	check_same(&o, &again);
	ck_assert(data_open_next_tlv(&again.tlvs, &type, &value));
	ck_assert_uint_eq(type, 0xE3);
	ck_assert(span_is(value, "of the policy"));
	ck_assert(data_open_next_tlv(&again.tlvs, &type, &value));
	ck_assert_uint_eq(type, 0xE4);
	ck_assert_uint_eq(value.len, 0);
	ck_assert(!data_open_next_tlv(&again.tlvs, &type, &value));
}
END_TEST

START_TEST(an_open_that_is_too_large)
{
	struct data_open o = usual();
	size_t used = write_open(&o).len;
	static char filling[DATA_OPEN_PLAIN_MAX_BYTES];
	struct proxy_writer w;

	data_open_begin(&w, plain, sizeof(plain), &o);
	proxy_add_tlv(
	    &w, 0xE3, span_of(filling, DATA_OPEN_PLAIN_MAX_BYTES - used - 3));
	ck_assert_uint_eq(data_open_finish(&w), DATA_OPEN_PLAIN_MAX_BYTES);
	data_open_begin(&w, plain, sizeof(plain), &o);
	proxy_add_tlv(
	    &w, 0xE3, span_of(filling, DATA_OPEN_PLAIN_MAX_BYTES - used - 2));
	ck_assert_uint_eq(data_open_finish(&w), 0);
	data_open_begin(&w, plain, used - 1, &o);
	ck_assert_uint_eq(data_open_finish(&w), 0);
	o.client.family = ADDR_UNIX;
	ck_assert_uint_eq(write_open(&o).len, 0);
}
END_TEST

#define PRIVATE "\xf0\0\x2c\1\2\2\0\0\0\1\2" HASH "ep_1"
#define PRIVATE_BUT(version, termination, proxy, zero, length, hash) \
	"\xf0\0\x2c" version termination proxy zero length hash "ep_1"

#define REST(literal) literal, sizeof(literal) - 1

static const struct {
	const char *why;
	uint16_t kind; /* version, command, family and protocol */
	const char *rest;
	size_t len;
} bad_opens[] = {
	{ "OPEN: the TLV 0xF0 is missing", 0x2111, REST(IP4_BLOCK) },
	{ "OPEN: a TLV comes twice", 0x2111, REST(IP4_BLOCK PRIVATE PRIVATE) },
	{ "OPEN: a TLV comes twice", 0x2111,
	    REST(IP4_BLOCK PRIVATE "\2\0\1a\2\0\1a") },
	{ "OPEN: a TLV comes twice", 0x2111,
	    REST(IP4_BLOCK PRIVATE "\1\0\1a\1\0\1a") },
	{ "OPEN: a TLV comes twice", 0x2111,
	    REST(IP4_BLOCK PRIVATE "\5\0\1a\5\0\1a") },
	{ "OPEN: a TLV is empty", 0x2111, REST(IP4_BLOCK PRIVATE "\2\0\0") },
	{ "OPEN: the TLV 0xF0 has another length", 0x2111,
	    REST(IP4_BLOCK "\xf0\0\0") },
	{ "OPEN: the TLV 0xF0 has another length", 0x2111,
	    REST(IP4_BLOCK "\xf0\0\x28\1\2\2\0\0\0\1\2" HASH) },
	{ "OPEN: the TLV 0xF0 has another length", 0x2111,
	    REST(IP4_BLOCK "\xf0\0\x69\1\2\2\0\0\0\1\2" HASH HASH HASH "e") },
	{ "OPEN: the TLV 0xF0 is of another version", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\0", "\2", "\2", "\0", "\0\0\1\2", HASH)) },
	{ "OPEN: the TLV 0xF0 is of another version", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\2", "\2", "\2", "\0", "\0\0\1\2", HASH)) },
	{ "OPEN: the TLV 0xF0 is of another version", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\2", "\2", "\1", "\0\0\1\2", HASH)) },
	{ "OPEN: unknown termination", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\3", "\2", "\0", "\0\0\1\2", HASH)) },
	{ "OPEN: unknown PROXY version", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\2", "\3", "\0", "\0\0\1\2", HASH)) },
	{ "OPEN: the hello's length cannot be", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\2", "\2", "\0", "\0\0\0\0", HASH)) },
	{ "OPEN: the hello's length cannot be", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\1", "\2", "\0", "\0\1\0\1", HASH)) },
	{ "OPEN: the hello's length cannot be", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\1", "\2", "\0", "\xff\xff\xff\xff", HASH)) },
	{ "OPEN: a hello where the edge has terminated", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\0", "\2", "\0", "\0\0\1\2", NO_HASH)) },
	{ "OPEN: a hello where the edge has terminated", 0x2111,
	    REST(IP4_BLOCK PRIVATE_BUT(
		"\1", "\0", "\2", "\0", "\0\0\0\0", HASH)) },
	{ "OPEN: no addresses of TCP", 0x2011, REST(IP4_BLOCK PRIVATE) },
	{ "OPEN: no addresses of TCP", 0x2100, REST(IP4_BLOCK PRIVATE) },
	{ "OPEN: no addresses of TCP", 0x2101, REST(PRIVATE) },
	{ "OPEN: no addresses of TCP", 0x2112, REST(IP4_BLOCK PRIVATE) },
	{ "OPEN: no addresses of TCP", 0x2131,
	    REST(HASH HASH HASH HASH HASH HASH
		"unix-paths-------------/" PRIVATE) },
	{ "PROXY v2: the TLVs do not add up", 0x2111,
	    REST(IP4_BLOCK PRIVATE "\2\0") },
	{ "PROXY v2: the CRC32C is wrong", 0x2111,
	    REST(IP4_BLOCK PRIVATE "\3\0\4\0\0\0\0") },
};

START_TEST(an_open_that_is_refused)
{
	static struct bytes b;
	b.len = 0;
	add_span(&b, BYTES("\r\n\r\n\0\r\nQUIT\n"));
	add_u16(&b, bad_opens[_i].kind);
	add_u16(&b, bad_opens[_i].len);
	add_span(&b, span_of(bad_opens[_i].rest, bad_opens[_i].len));
	ck_assert_pstr_eq(fault_of(bytes_span(&b)), bad_opens[_i].why);
}
END_TEST

START_TEST(nothing_may_be_left_over)
{
	struct data_open o = usual();
	struct span s = write_open(&o);

	ck_assert_ptr_null(fault_of(s));
	plain[s.len] = 0;
	ck_assert_str_eq(fault_of(span_of(plain, s.len + 1)),
	    "OPEN: bytes behind the header");
	ck_assert_str_eq(
	    fault_of(span_of(plain, s.len - 1)), "OPEN: the header is cut off");
	ck_assert_str_eq(
	    fault_of(BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")),
	    "no PROXY header of an accepted version");
}
END_TEST

/* --- ANSWER --- */

START_TEST(an_answer_is_written_and_read)
{
	uint8_t out[DATA_ANSWER_PLAIN_BYTES];
	static const uint8_t zeros[14];
	enum data_reason reason;

	for (unsigned i = 0; i < DATA_REASON_COUNT; i++) {
		data_answer_write(i, out);
		ck_assert_uint_eq(out[0], i > 0);
		ck_assert_uint_eq(out[1], i);
		ck_assert_mem_eq(out + 2, zeros, 14);
		ck_assert_int_eq(data_answer_read(out, &reason), 0);
		ck_assert_int_eq(reason, i);
	}
	for (unsigned status = 0; status < 256; status++)
		for (unsigned i = 0; i < 256; i++) {
			bool good = (status == 0 && i == 0) ||
				    (status == 1 && i >= 1 && i <= 9);

			out[0] = (uint8_t)status;
			out[1] = (uint8_t)i;
			QUICK_ASSERT(data_answer_read(out, &reason) ==
				     (good ? 0 : -EBADMSG));
		}
	for (size_t at = 2; at < sizeof(out); at++) {
		data_answer_write(DATA_DENIED, out);
		out[at] = 1;
		ck_assert_int_eq(data_answer_read(out, &reason), -EBADMSG);
	}
}
END_TEST

/* Both ends may be of different builds: numbers and words stay. */
START_TEST(reasons_have_these_numbers)
{
	static const char *const words[] = { "accepted", "unknown_endpoint",
		"termination_differs", "other_hello", "denied",
		"upstream_refused", "upstream_timeout", "upstream_dns", "limit",
		"drain" };

	ck_assert_uint_eq(ARRAY_COUNT(words), DATA_REASON_COUNT);
	for (unsigned i = 0; i < ARRAY_COUNT(words); i++) {
		ck_assert_str_eq(data_reason_word(i), words[i]);
		ck_assert_int_eq(data_reason_find(span_text(words[i])), i);
	}
	ck_assert_ptr_null(data_reason_word(DATA_REASON_COUNT));
	ck_assert_int_eq(
	    data_reason_find(span_text("deni")), DATA_REASON_COUNT);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_preface_has_this_form);
	tcase_add_test(tcase, a_preface_is_read_back);
	tcase_add_test(tcase, a_preface_is_judged_byte_by_byte);
	tcase_add_test(tcase, an_open_is_taken_apart);
	tcase_add_test(tcase, an_open_that_is_none);
	tcase_add_test(tcase, an_answer_is_taken_apart);
	tcase_add_test(tcase, an_open_has_this_form);
	tcase_add_test(tcase, an_open_is_read_back);
	tcase_add_test(tcase, further_tlvs_are_walked);
	tcase_add_test(tcase, an_open_that_is_too_large);
	tcase_add_loop_test(
	    tcase, an_open_that_is_refused, 0, (int)ARRAY_COUNT(bad_opens));
	tcase_add_test(tcase, nothing_may_be_left_over);
	tcase_add_test(tcase, an_answer_is_written_and_read);
	tcase_add_test(tcase, reasons_have_these_numbers);
}

UNIT_MAIN_TOGETHER("data record", add_tests)

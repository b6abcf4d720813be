#include "unit.h"

#include "hello_bytes.h"
#include "wire/alert.h"
#include "wire/hello.h"

#define RECORD 16384

static struct bytes wire;
static struct bytes block;
static uint8_t scratch[HELLO_MAX_BYTES];
static struct hello hello;

static struct hello_result
parse(struct span s)
{
	memset(&hello, 0xee, sizeof(hello));
	return hello_parse(s, scratch, &hello);
}

/* Parses a copy that ends where the input ends. Spans are dead afterwards. */
static struct hello_result
parse_exactly(struct span s)
{
	uint8_t *copy = exact_copy(s);
	struct hello_result result = parse(span_of(copy, s.len));

	free(copy);
	return result;
}

static void
reset(void)
{
	wire.len = 0;
	block.len = 0;
}

static struct span
hello_of(struct span extensions)
{
	struct hello_spec spec = hello_spec_of(extensions);

	wire.len = 0;
	add_hello(&wire, &spec, RECORD);
	return bytes_span(&wire);
}

static struct span
hello_named(struct span name)
{
	block.len = 0;
	add_name(&block, name);
	return hello_of(bytes_span(&block));
}

/* Every prefix asks for more: for more than it has, for no more than all. */
static void
check_prefixes_ask(struct span s)
{
	size_t before = 0;

	for (size_t len = 0; len < s.len; len++) {
		struct hello_result r = parse_exactly(span_of(s.data, len));

		ck_assert_int_eq(r.parse, PARSE_MORE);
		ck_assert_uint_gt(r.needed_bytes, len);
		ck_assert_uint_le(r.needed_bytes, s.len);
		ck_assert_uint_ge(r.needed_bytes, before);
		before = r.needed_bytes;
	}
}

static void
check_ok(struct span s, const char *name)
{
	struct hello_result r = parse_exactly(s);

	ck_assert_int_eq(r.parse, PARSE_OK);
	ck_assert_int_eq(r.fault, HELLO_FAULT_NONE);
	ck_assert_int_eq(hello.has_server_name, name != NULL);
	ck_assert_str_eq(hello.server_name.text, name ? name : "");
	ck_assert_uint_eq(hello.wire_bytes, s.len);
}

/* Refused so; and once a prefix is refused, so is all that begins with it. */
static void
check_bad(struct span s, enum hello_fault fault, unsigned alert)
{
	size_t step = s.len > 4096 ? 509 : 1;
	bool refused = false;
	struct hello_result r;

	for (size_t len = 0; len < s.len; len += step) {
		r = parse_exactly(span_of(s.data, len));
		ck_assert_int_ne(r.parse, PARSE_OK);
		ck_assert(!refused || r.parse == PARSE_BAD);
		ck_assert(r.parse == PARSE_BAD || r.needed_bytes > len);
		refused = r.parse == PARSE_BAD;
	}
	r = parse_exactly(s);
	ck_assert_int_eq(r.parse, PARSE_BAD);
	ck_assert_int_eq(r.fault, fault);
	ck_assert_uint_eq(r.alert, alert);
	ck_assert_ptr_nonnull(r.why);
}

static void
check_malformed(struct span s, unsigned alert)
{
	check_bad(s, HELLO_FAULT_MALFORMED, alert);
}

/* Refused by these bytes already, and not by one less. */
static void
check_refused_early(struct span s, unsigned alert)
{
	check_malformed(s, alert);
	ck_assert_int_eq(
	    parse_exactly(span_of(s.data, s.len - 1)).parse, PARSE_MORE);
}

static bool
is_inside(struct span part, struct span whole)
{
	return part.len == 0 ||
	       (part.data >= whole.data &&
		   part.data + part.len <= whole.data + whole.len);
}

START_TEST(a_hello_in_one_record_is_read_in_place)
{
	const char *const alpn[] = { "h2", "http/1.1" };
	uint8_t bytes[512];
	size_t len = hello_build(
	    bytes, sizeof(bytes), BYTES("A.Example.TEST."), alpn, 2);
	struct span s = span_of(bytes, len), name;

	ck_assert_uint_gt(len, 0);
	check_prefixes_ask(s);
	ck_assert_int_eq(parse(s).parse, PARSE_OK);
	ck_assert_str_eq(hello.server_name.text, "a.example.test");
	ck_assert_uint_eq(hello.record_version, 0x0301);
	ck_assert_uint_eq(hello.legacy_version, 0x0303);
	ck_assert_uint_eq(hello.random.len, 32);
	ck_assert_uint_eq(hello.session_id.len, 32);
	ck_assert_uint_eq(hello.cipher_suites.len, 14);
	ck_assert_uint_eq(hello.compression.len, 1);
	ck_assert_uint_eq(hello.supported_versions.len, 4);
	ck_assert_uint_eq(hello.groups.len, 4);
	ck_assert_uint_eq(hello.signature_algorithms.len, 12);
	ck_assert_uint_eq(hello.extension_count, 9);
	ck_assert_uint_eq(hello.wire_bytes, len);
	ck_assert(hello.has_alpn && !hello.has_ech && !hello.has_early_data);
	ck_assert(is_inside(hello.extensions, s));
	ck_assert(is_inside(hello.random, s));
	ck_assert(hello_next_alpn(&hello.alpn, &name) && span_is(name, "h2"));
	ck_assert(
	    hello_next_alpn(&hello.alpn, &name) && span_is(name, "http/1.1"));
	ck_assert(!hello_next_alpn(&hello.alpn, &name));
}
END_TEST

START_TEST(build_fits_exactly_or_says_so)
{
	const char *const alpn[] = { "h2" };
	uint8_t bytes[512];
	size_t len =
	    hello_build(bytes, sizeof(bytes), BYTES("a.test"), alpn, 1);

	ck_assert_uint_eq(
	    hello_build(bytes, len, BYTES("a.test"), alpn, 1), len);
	for (size_t size = 0; size < len; size++)
		ck_assert_uint_eq(
		    hello_build(bytes, size, BYTES("a.test"), alpn, 1), 0);
	len = hello_build(bytes, sizeof(bytes), BYTES(""), NULL, 0);
	check_ok(span_of(bytes, len), NULL);
	ck_assert(!hello.has_alpn);
}
END_TEST

START_TEST(build_refuses_what_no_hello_can_hold)
{
	static uint8_t bytes[100000];
	static char name[70000];
	const char *const empty[] = { "" }, *const full[] = { name };

	memset(name, 'a', sizeof(name) - 1);
	for (size_t len = 16000; len < sizeof(name); len += 18000) {
		size_t built = hello_build(
		    bytes, sizeof(bytes), span_of(name, len), NULL, 0);

		ck_assert_int_eq(built > 0, len == 16000);
	}
	ck_assert_uint_eq(
	    hello_build(bytes, sizeof(bytes), BYTES("a"), empty, 1), 0);
	name[256] = '\0';
	ck_assert_uint_eq(
	    hello_build(bytes, sizeof(bytes), BYTES("a"), full, 1), 0);
	name[255] = '\0';
	ck_assert_uint_gt(
	    hello_build(bytes, sizeof(bytes), BYTES("a"), full, 1), 0);
}
END_TEST

START_TEST(two_records_cut_anywhere)
{
	static struct bytes message;
	struct hello_spec spec;

	reset();
	add_name(&block, BYTES("a.test"));
	spec = hello_spec_of(bytes_span(&block));
	add_message(&message, &spec);
	for (size_t cut = 1; cut < message.len; cut++) {
		wire.len = 0;
		add_record(&wire, 22, span_of(message.data, cut));
		add_record(
		    &wire, 22, span_of(message.data + cut, message.len - cut));
		check_prefixes_ask(bytes_span(&wire));
		check_ok(bytes_span(&wire), "a.test");
	}
}
END_TEST

START_TEST(a_hello_over_records_is_copied_once)
{
	struct hello_spec spec;

	reset();
	add_name(&block, BYTES("a.test"));
	spec = hello_spec_of(bytes_span(&block));
	add_hello(&wire, &spec, 7);
	check_prefixes_ask(bytes_span(&wire));
	ck_assert_int_eq(parse(bytes_span(&wire)).parse, PARSE_OK);
	ck_assert(
	    is_inside(hello.extensions, span_of(scratch, sizeof(scratch))));
	ck_assert(span_equal(hello.extensions, bytes_span(&block)));
}
END_TEST

/* How often somebody who waits for `needed_bytes` wakes up. */
static unsigned
count_wakes(struct span s)
{
	unsigned wakes = 0;
	size_t len = 0;

	for (;;) {
		struct hello_result r = parse(span_of(s.data, len));

		if (r.parse != PARSE_MORE)
			return wakes;
		ck_assert_uint_le(r.needed_bytes, s.len);
		len = r.needed_bytes;
		wakes++;
	}
}

START_TEST(a_drip_costs_few_wakes)
{
	struct hello_spec spec;

	reset();
	add_name(&block, BYTES("a.test"));
	add_extension(&block, 21, span_of(scratch, 9000));
	spec = hello_spec_of(bytes_span(&block));
	add_hello(&wire, &spec, RECORD);
	ck_assert_uint_le(count_wakes(bytes_span(&wire)), 4);
	wire.len = 0;
	add_hello(&wire, &spec, 1);
	ck_assert_uint_gt(wire.len, 54000);
	ck_assert_uint_le(count_wakes(bytes_span(&wire)), 60);
	check_ok(bytes_span(&wire), "a.test");
}
END_TEST

START_TEST(what_is_needed_is_the_header_then_the_rest)
{
	struct span s = hello_named(BYTES("a.test"));

	ck_assert_uint_eq(parse(span_of(s.data, 0)).needed_bytes, 1);
	ck_assert_uint_eq(parse(span_of(s.data, 1)).needed_bytes, 5);
	ck_assert_uint_eq(parse(span_of(s.data, 5)).needed_bytes, 9);
	ck_assert_uint_eq(parse(span_of(s.data, 8)).needed_bytes, 9);
	ck_assert_uint_eq(parse(span_of(s.data, 9)).needed_bytes, s.len);
	/* 100 bytes more than the first record has, and another header. */
	ck_assert_uint_eq(parse(BYTES("\x16\3\1\1\0\1\0\1\x60")).needed_bytes,
	    5 + 256 + 5 + 100);
	/* One byte a record: three more of the header, at best in one. */
	ck_assert_uint_eq(
	    parse(BYTES("\x16\3\1\0\1\1")).needed_bytes, 6 + 5 + 3);
}
END_TEST

START_TEST(later_records_are_not_ours)
{
	size_t len;

	hello_named(BYTES("a.test"));
	len = wire.len;
	add_record(&wire, 20, BYTES("\1"));
	add_record(&wire, 23, BYTES("early data"));
	ck_assert_int_eq(parse(bytes_span(&wire)).parse, PARSE_OK);
	ck_assert_uint_eq(hello.wire_bytes, len);
}
END_TEST

START_TEST(what_is_not_tls_is_known_by_its_first_byte)
{
	for (unsigned c = 0; c < 256; c++) {
		uint8_t two[] = { (uint8_t)c, 3 };
		struct hello_result r = parse_exactly(span_of(two, 1));

		if (c < 20 || c > 24)
			check_bad(span_of(two, 1), HELLO_FAULT_NOT_TLS, 0);
		else
			ck_assert_int_eq(r.parse, PARSE_MORE);
		if (c >= 20 && c <= 24 && c != 22) {
			check_refused_early(
			    span_of(two, 2), ALERT_UNEXPECTED_MESSAGE);
			two[1] = 'x';
			check_bad(span_of(two, 2), HELLO_FAULT_NOT_TLS, 0);
		}
	}
	check_bad(BYTES("GET / HTTP/1.1\r\n"), HELLO_FAULT_NOT_TLS, 0);
	check_bad(BYTES("SSH-2.0-x\r\n"), HELLO_FAULT_NOT_TLS, 0);
	check_bad(BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), HELLO_FAULT_NOT_TLS, 0);
	check_bad(BYTES("\x80\x2e\x01\3\1"), HELLO_FAULT_NOT_TLS, 0);
}
END_TEST

START_TEST(record_headers_are_judged_before_their_bytes_arrive)
{
	check_refused_early(BYTES("\x16\2"), ALERT_PROTOCOL_VERSION);
	check_refused_early(BYTES("\x16\4"), ALERT_PROTOCOL_VERSION);
	check_refused_early(BYTES("\x16\3\1\x40\x01"), ALERT_RECORD_OVERFLOW);
	check_refused_early(BYTES("\x16\3\1\xff\xff"), ALERT_RECORD_OVERFLOW);
	check_refused_early(BYTES("\x16\3\1\0\0"), ALERT_UNEXPECTED_MESSAGE);
	check_refused_early(
	    BYTES("\x16\3\1\0\x40\2"), ALERT_UNEXPECTED_MESSAGE);
	ck_assert_int_eq(
	    parse_exactly(BYTES("\x16\3\0\x40\0\1")).parse, PARSE_MORE);
	ck_assert_int_eq(
	    parse_exactly(BYTES("\x16\3\4\x40\0\1")).parse, PARSE_MORE);
}
END_TEST

START_TEST(messages_are_judged_by_their_announced_size)
{
	/* 16 MiB; 64 KiB, which no longer fits with its headers. */
	check_refused_early(
	    BYTES("\x16\3\1\x40\0\1\xff\xff\xff"), ALERT_ILLEGAL_PARAMETER);
	check_refused_early(
	    BYTES("\x16\3\1\x40\0\1\0\xff\xfc"), ALERT_ILLEGAL_PARAMETER);
	/* One byte less than the record brings. */
	check_refused_early(
	    BYTES("\x16\3\1\0\x40\1\0\0\x3b"), ALERT_UNEXPECTED_MESSAGE);
	/* The header in three records, and then too much. */
	check_refused_early(
	    BYTES("\x16\3\1\0\1\1\x16\3\1\0\2\1\0\x16\3\1\0\1\0"),
	    ALERT_ILLEGAL_PARAMETER);
}
END_TEST

START_TEST(nothing_comes_between_the_records_of_a_hello)
{
	static struct bytes message;
	struct hello_spec spec;

	reset();
	add_name(&block, BYTES("a.test"));
	spec = hello_spec_of(bytes_span(&block));
	add_message(&message, &spec);
	add_record(&wire, 22, span_of(message.data, 20));
	size_t first = wire.len;

	for (unsigned type = 0; type < 256; type++) {
		if (type == 22)
			continue;
		wire.len = first;
		add_u8(&wire, type);
		check_refused_early(
		    bytes_span(&wire), ALERT_UNEXPECTED_MESSAGE);
	}
	wire.len = first;
	add_span(&wire, BYTES("\x16\2"));
	check_refused_early(bytes_span(&wire), ALERT_PROTOCOL_VERSION);
	wire.len = first;
	add_span(&wire, BYTES("\x16\3\3\0\0"));
	check_refused_early(bytes_span(&wire), ALERT_UNEXPECTED_MESSAGE);
	wire.len = first;
	add_span(&wire, BYTES("\x16\3\3\x40\1"));
	check_refused_early(bytes_span(&wire), ALERT_RECORD_OVERFLOW);
	wire.len = first;
	add_u8(&wire, 22);
	add_u16(&wire, 0x0303);
	add_u16(&wire, message.len - 20 + 1);
	check_refused_early(bytes_span(&wire), ALERT_UNEXPECTED_MESSAGE);
}
END_TEST

/* A hello of exactly this many wire bytes, in records of this size. */
static struct span
hello_of_size(size_t wire_bytes, size_t record)
{
	size_t fixed = 4 + 2 + 32 + 33 + 8 + 2 + 2 + 15 + 4;
	size_t records = (wire_bytes + record + 4) / (record + 5);
	struct hello_spec spec;

	reset();
	add_name(&block, BYTES("a.test"));
	add_u16(&block, 21);
	add_u16(&block, wire_bytes - 5 * records - fixed);
	add_zeros(&block, wire_bytes - 5 * records - fixed);
	spec = hello_spec_of(bytes_span(&block));
	add_hello(&wire, &spec, record);
	ck_assert_uint_eq(wire.len, wire_bytes);
	return bytes_span(&wire);
}

START_TEST(the_limit_counts_wire_bytes)
{
	check_ok(hello_of_size(RECORD + 5, RECORD), "a.test");
	check_ok(hello_of_size(HELLO_MAX_BYTES, RECORD), "a.test");
	check_malformed(hello_of_size(HELLO_MAX_BYTES + 1, RECORD),
	    ALERT_ILLEGAL_PARAMETER);
	check_ok(hello_of_size(HELLO_MAX_BYTES, 100), "a.test");
	check_malformed(
	    hello_of_size(HELLO_MAX_BYTES + 1, 100), ALERT_ILLEGAL_PARAMETER);
}
END_TEST

START_TEST(a_message_cut_at_any_byte_is_a_decode_error)
{
	static struct bytes message;
	struct hello_spec spec;
	size_t no_block;

	reset();
	add_name(&block, BYTES("a.test"));
	add_extension(&block, 16, BYTES("\0\3\2h2"));
	spec = hello_spec_of(bytes_span(&block));
	add_message(&message, &spec);
	no_block = message.len - block.len - 2;
	for (size_t len = 4; len < message.len; len++) {
		message.data[2] = (uint8_t)((len - 4) >> 8);
		message.data[3] = (uint8_t)(len - 4);
		wire.len = 0;
		add_record(&wire, 22, span_of(message.data, len));
		if (len == no_block)
			check_ok(bytes_span(&wire), NULL);
		else
			check_malformed(bytes_span(&wire), ALERT_DECODE_ERROR);
	}
}
END_TEST

static void
check_spec(struct hello_spec spec, unsigned alert)
{
	wire.len = 0;
	add_hello(&wire, &spec, RECORD);
	if (alert == 0)
		ck_assert_int_eq(
		    parse_exactly(bytes_span(&wire)).parse, PARSE_OK);
	else
		check_malformed(bytes_span(&wire), alert);
}

START_TEST(fields_before_the_extensions)
{
	struct hello_spec spec = hello_spec_of(BYTES(""));

	check_spec(spec, 0);
	spec.has_extensions = false;
	check_spec(spec, 0);
	spec.session_id_bytes = 0;
	check_spec(spec, 0);
	spec.session_id_bytes = 33;
	check_spec(spec, ALERT_DECODE_ERROR);
	spec = hello_spec_of(BYTES(""));
	spec.ciphers = BYTES("");
	check_spec(spec, ALERT_DECODE_ERROR);
	spec.ciphers = BYTES("\x13\x01\x13");
	check_spec(spec, ALERT_DECODE_ERROR);
	spec.ciphers = BYTES("\x0a\x0a");
	check_spec(spec, 0);
	spec.compression = BYTES("");
	check_spec(spec, ALERT_DECODE_ERROR);
	spec.compression = BYTES("\1");
	check_spec(spec, ALERT_ILLEGAL_PARAMETER);
	spec.compression = BYTES("\1\0");
	check_spec(spec, 0);
	for (unsigned minor = 0; minor < 6; minor++) {
		spec.version = (uint16_t)(0x0300 + minor);
		check_spec(spec, 0);
	}
	spec.version = 0x0002;
	check_spec(spec, ALERT_PROTOCOL_VERSION);
}
END_TEST

START_TEST(bytes_after_the_extensions)
{
	static struct bytes message;
	struct hello_spec spec = hello_spec_of(BYTES(""));

	reset();
	add_message(&message, &spec);
	add_u8(&message, 0);
	message.data[3]++;
	add_record(&wire, 22, bytes_span(&message));
	check_malformed(bytes_span(&wire), ALERT_DECODE_ERROR);
}
END_TEST

static const struct {
	struct span extensions;
	unsigned alert; /* 0: good */
} extension_cases[] = {
#define CASE(literal, alert)                                                 \
	{                                                                    \
		{ (const uint8_t *)(literal), sizeof(literal) - 1 }, (alert) \
	}
	/* Lengths that do not add up. */
	CASE("\0", 50),
	CASE("\0\5\0", 50),
	CASE("\0\5\0\1", 50),
	CASE("\0\5\xff\xff", 50),
	CASE("\0\5\0\0\0", 50),
	/* Twice, unknown and GREASE ones too. */
	CASE("\0\x17\0\0\0\x17\0\0", 47),
	CASE("\xab\xcd\0\0\0\x17\0\0\xab\xcd\0\0", 47),
	CASE("\xff\xff\0\0\xff\xff\0\0", 47),
	CASE("\0\0\0\6\0\4\0\0\1a\0\0\0\6\0\4\0\0\1b", 47),
	/* pre_shared_key comes last. */
	CASE("\0\x29\0\1x", 0),
	CASE("\0\x17\0\0\0\x29\0\1x", 0),
	CASE("\0\x29\0\1x\0\x17\0\0", 47),
	/* server_name. */
	CASE("\0\0\0\6\0\4\0\0\1a", 0),
	CASE("\0\0\0\0", 50),
	CASE("\0\0\0\1\0", 50),
	CASE("\0\0\0\2\0\0", 50),
	CASE("\0\0\0\3\0\1\0", 50),
	CASE("\0\0\0\5\0\3\0\0\0", 50),
	CASE("\0\0\0\6\0\3\0\0\1a", 50),
	CASE("\0\0\0\6\0\5\0\0\1a", 50),
	CASE("\0\0\0\6\0\4\0\0\2a", 50),
	CASE("\0\0\0\6\0\4\0\0\0a", 50),
	CASE("\0\0\0\6\0\4\0\xff\xff"
	     "a",
	    50),
	CASE("\0\0\0\6\xff\xff\0\0\1a", 50),
	CASE("\0\0\0\7\0\4\0\0\1a\0", 50),
	CASE("\0\0\0\6\0\4\1\0\1a", 50),
	CASE("\0\0\0\x0a\0\x08\0\0\1a\0\0\1b", 50),
	CASE("\0\0\0\x0a\0\x08\0\0\1a\1\0\1b", 50),
	/* ALPN. */
	CASE("\0\x10\0\5\0\3\2h2", 0),
	CASE("\0\x10\0\7\0\5\2h2\1x", 0),
	CASE("\0\x10\0\0", 50),
	CASE("\0\x10\0\2\0\0", 50),
	CASE("\0\x10\0\3\0\1\0", 50),
	CASE("\0\x10\0\6\0\4\2h2\0", 50),
	CASE("\0\x10\0\5\0\2\2h2", 50),
	CASE("\0\x10\0\5\0\4\2h2", 50),
	CASE("\0\x10\0\6\0\3\2h2\0", 50),
	CASE("\0\x10\0\5\0\3\3h2", 50),
	CASE("\0\x10\0\5\0\3\1h2", 50),
	/* supported_versions, one byte of length. */
	CASE("\0\x2b\0\3\2\3\4", 0),
	CASE("\0\x2b\0\0", 50),
	CASE("\0\x2b\0\1\0", 50),
	CASE("\0\x2b\0\2\1\3", 50),
	CASE("\0\x2b\0\4\3\3\4\3", 50),
	CASE("\0\x2b\0\3\4\3\4", 50),
	CASE("\0\x2b\0\4\2\3\4\3", 50),
	/* supported_groups and signature_algorithms, two. */
	CASE("\0\x0a\0\4\0\2\0\x1d", 0),
	CASE("\0\x0a\0\2\0\0", 50),
	CASE("\0\x0a\0\3\0\1\0", 50),
	CASE("\0\x0a\0\4\0\3\0\x1d", 50),
	CASE("\0\x0d\0\4\0\2\4\3", 0),
	CASE("\0\x0d\0\0", 50),
	CASE("\0\x0d\0\5\0\3\4\3\4", 50),
	/* early_data is a flag in a hello. */
	CASE("\0\x2a\0\0", 0),
	CASE("\0\x2a\0\1\0", 50),
	/* ECH outer and inner, old ESNI, GREASE. */
	CASE("\xfe\x0d\0\3\0\0\1", 0),
	CASE("\xfe\x0d\0\1\1", 0),
	CASE("\xff\xce\0\1x", 0),
	CASE("\x0a\x0a\0\0\xfa\xfa\0\1\0", 0),
#undef CASE
};

START_TEST(extensions)
{
	unsigned alert = extension_cases[_i].alert;
	struct span s = hello_of(extension_cases[_i].extensions);

	if (alert == 0)
		ck_assert_int_eq(parse_exactly(s).parse, PARSE_OK);
	else
		check_malformed(s, alert);
}
END_TEST

START_TEST(flags_of_extensions)
{
	struct span s = hello_of(BYTES("\xfe\x0d\0\1\0\0\x2a\0\0"));

	ck_assert_int_eq(parse(s).parse, PARSE_OK);
	ck_assert(hello.has_ech && hello.has_early_data);
	ck_assert(!hello.has_alpn && !hello.has_server_name);
	ck_assert_uint_eq(hello.extension_count, 2);
}
END_TEST

START_TEST(names_are_folded_once)
{
	static const char *const spellings[] = { "a.test", "A.TEST", "a.TeSt",
		"a.test.", "A.TEST." };

	for (size_t i = 0; i < ARRAY_COUNT(spellings); i++)
		check_ok(hello_named(span_text(spellings[i])), "a.test");
	check_ok(hello_named(BYTES("_a-b.9.x")), "_a-b.9.x");
}
END_TEST

static const struct {
	const char *text;
	size_t len;
} bad_names[] = {
#define NAME(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
	NAME("a.test\0"),
	NAME("\0"),
	NAME("a.test\0.evil"),
	NAME("192.0.2.1"),
	NAME("127.1"),
	NAME("0x7f.0.0.1"),
	NAME("2130706433"),
	NAME("2001:db8::1"),
	NAME("[2001:db8::1]"),
	NAME("::1"),
	NAME("a.test:443"),
	NAME("a.test/"),
	NAME("a test"),
	NAME(" a.test"),
	NAME("a.test "),
	NAME("a.test\n"),
	NAME("a.test\r\nlevel=error msg=forged"),
	NAME("\ta"),
	NAME("*"),
	NAME("*.test"),
	NAME("."),
	NAME(".."),
	NAME(".a.test"),
	NAME("a..test"),
	NAME("a.test.."),
	NAME("m\xc3\xbcller.test"),
	NAME("a.test\x7f"),
	NAME("' or 1=1 --"),
	NAME("%s%s%n"),
	NAME("../../etc/passwd"),
	NAME("a,b"),
	NAME("a@b"),
	NAME("label-of-64-bytes-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	     ".test"),
#undef NAME
};

START_TEST(what_is_no_host_name_matches_nothing)
{
	check_bad(hello_named(span_of(bad_names[_i].text, bad_names[_i].len)),
	    HELLO_FAULT_NAME, ALERT_UNRECOGNIZED_NAME);
}
END_TEST

/* Labels of one letter and dots, `len` bytes in all. */
static struct span
long_name(size_t len)
{
	static char text[70000];

	for (size_t i = 0; i < len; i++)
		text[i] = i % 2 ? '.' : 'a';
	text[len - 1] = 'a';
	return span_of(text, len);
}

START_TEST(long_names)
{
	struct span s = hello_named(long_name(253));

	ck_assert_int_eq(parse(s).parse, PARSE_OK);
	ck_assert_uint_eq(hello.server_name.len, 253);
	for (size_t len = 255; len < 260; len += 2)
		check_bad(hello_named(long_name(len)), HELLO_FAULT_NAME, 112);
	check_bad(hello_named(long_name(60001)), HELLO_FAULT_NAME, 112);
}
END_TEST

START_TEST(faults_of_form_come_before_faults_of_the_name)
{
	reset();
	add_name(&block, BYTES("*.test"));
	add_extension(&block, 16, BYTES("\0\0"));
	check_malformed(hello_of(bytes_span(&block)), ALERT_DECODE_ERROR);
}
END_TEST

START_TEST(many_extensions)
{
	struct hello_spec spec;

	reset();
	for (size_t i = 0; i < 800; i++)
		add_extension(&block, 1000 + i, BYTES(""));
	add_name(&block, BYTES("a.test"));
	check_ok(hello_of(bytes_span(&block)), "a.test");
	reset();
	for (size_t i = 0; i < 16000; i++)
		add_extension(&block, 1000 + i, BYTES(""));
	add_name(&block, BYTES("a.test"));
	spec = hello_spec_of(bytes_span(&block));
	add_hello(&wire, &spec, RECORD);
	check_ok(bytes_span(&wire), "a.test");
	ck_assert_uint_eq(hello.extension_count, 16001);
	add_extension(&block, 1000, BYTES(""));
	spec = hello_spec_of(bytes_span(&block));
	wire.len = 0;
	add_hello(&wire, &spec, RECORD);
	check_malformed(bytes_span(&wire), ALERT_ILLEGAL_PARAMETER);
}
END_TEST

START_TEST(a_post_quantum_hello_with_grease)
{
	static struct bytes share;

	reset();
	share.len = 0;
	add_u16(&share, 2 + 2 + 1 + 2 + 2 + 1216);
	add_span(&share, BYTES("\x1a\x1a\0\1\0\x11\xec\x04\xc0"));
	add_zeros(&share, 1216);
	add_extension(&block, 0x2a2a, BYTES(""));
	add_extension(&block, 51, bytes_span(&share));
	add_extension(&block, 0xfe0d, span_of(scratch, 218));
	add_extension(&block, 43, BYTES("\6\xba\xba\3\4\3\3"));
	add_extension(&block, 10, BYTES("\0\6\x1a\x1a\x11\xec\0\x1d"));
	add_extension(&block, 16, BYTES("\0\6\2h2\2\x5a\x5a"));
	add_name(&block, BYTES("a.test"));
	add_extension(&block, 0x3a3a, BYTES("\0"));
	check_ok(hello_of(bytes_span(&block)), "a.test");
	ck_assert(hello.has_ech);
}
END_TEST

/* xorshift: the same bytes in every run. */
static uint32_t
next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

START_TEST(damaged_hellos_never_read_outside)
{
	const char *const alpn[] = { "h2" };
	uint8_t bytes[512], copy[512];
	size_t len =
	    hello_build(bytes, sizeof(bytes), BYTES("a.test"), alpn, 1);
	uint32_t state = 1;

	for (unsigned i = 0; i < 50000; i++) {
		memcpy(copy, bytes, len);
		for (unsigned n = 0; n < 1 + i % 3; n++)
			copy[next_random(&state) % len] =
			    (uint8_t)next_random(&state);
		struct hello_result r = parse_exactly(span_of(copy, len));

		ck_assert(r.parse != PARSE_MORE || r.needed_bytes > len);
		ck_assert(r.parse != PARSE_BAD || r.why != NULL);
	}
}
END_TEST

START_TEST(http_is_told_from_noise)
{
	ck_assert(hello_looks_like_http(BYTES("GET / HTTP/1.1\r\n")));
	ck_assert(hello_looks_like_http(BYTES("OPTIONS *")));
	ck_assert(!hello_looks_like_http(BYTES("GET")));
	ck_assert(!hello_looks_like_http(BYTES("GETTING")));
	ck_assert(!hello_looks_like_http(BYTES("")));
	ck_assert(!hello_looks_like_http(BYTES("SSH-2.0")));
}
END_TEST

START_TEST(grease_values)
{
	unsigned count = 0;

	for (unsigned v = 0; v < 65536; v++)
		count += hello_is_grease((uint16_t)v);
	ck_assert_uint_eq(count, 16);
	ck_assert(hello_is_grease(0x0a0a) && hello_is_grease(0xfafa));
	ck_assert(!hello_is_grease(0x0a1a));
}
END_TEST

START_TEST(walks_end_where_lists_end)
{
	struct span list = BYTES("\0\1\0\2"), rest = BYTES("\0\5\0\1x"), body;
	uint16_t value;

	ck_assert(hello_next_u16(&list, &value) && value == 1);
	ck_assert(hello_next_u16(&list, &value) && value == 2);
	ck_assert(!hello_next_u16(&list, &value));
	ck_assert(hello_next_extension(&rest, &value, &body) && value == 5);
	ck_assert(span_is(body, "x"));
	ck_assert(!hello_next_extension(&rest, &value, &body));
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, a_hello_in_one_record_is_read_in_place);
	tcase_add_test(tcase, build_fits_exactly_or_says_so);
	tcase_add_test(tcase, build_refuses_what_no_hello_can_hold);
	tcase_add_test(tcase, two_records_cut_anywhere);
	tcase_add_test(tcase, a_hello_over_records_is_copied_once);
	tcase_add_test(tcase, a_drip_costs_few_wakes);
	tcase_add_test(tcase, what_is_needed_is_the_header_then_the_rest);
	tcase_add_test(tcase, later_records_are_not_ours);
	tcase_add_test(tcase, what_is_not_tls_is_known_by_its_first_byte);
	tcase_add_test(
	    tcase, record_headers_are_judged_before_their_bytes_arrive);
	tcase_add_test(tcase, messages_are_judged_by_their_announced_size);
	tcase_add_test(tcase, nothing_comes_between_the_records_of_a_hello);
	tcase_add_test(tcase, the_limit_counts_wire_bytes);
	tcase_add_test(tcase, a_message_cut_at_any_byte_is_a_decode_error);
	tcase_add_test(tcase, fields_before_the_extensions);
	tcase_add_test(tcase, bytes_after_the_extensions);
	tcase_add_loop_test(tcase, extensions, 0, ARRAY_COUNT(extension_cases));
	tcase_add_test(tcase, flags_of_extensions);
	tcase_add_test(tcase, names_are_folded_once);
	tcase_add_loop_test(tcase, what_is_no_host_name_matches_nothing, 0,
	    ARRAY_COUNT(bad_names));
	tcase_add_test(tcase, long_names);
	tcase_add_test(tcase, faults_of_form_come_before_faults_of_the_name);
	tcase_add_test(tcase, many_extensions);
	tcase_add_test(tcase, a_post_quantum_hello_with_grease);
	tcase_add_test(tcase, damaged_hellos_never_read_outside);
	tcase_add_test(tcase, http_is_told_from_noise);
	tcase_add_test(tcase, grease_values);
	tcase_add_test(tcase, walks_end_where_lists_end);
}

UNIT_MAIN_TOGETHER("hello", add_tests)

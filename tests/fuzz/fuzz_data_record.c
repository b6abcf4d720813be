/*
 * Records of data connections, and what is sealed in them: a first byte says
 * which. What was read is written anew and is the same.
 *
 * Sources: base wire
 * Options: -max_len=4200
 */
#include "fuzz.h"
#include "wire/data_record.h"
#include "wire/hello.h"

typedef enum parse record_function(
    struct span wire, struct data_record *out, size_t *needed);

static void
check_preface(struct span s)
{
	uint8_t again[DATA_PREFACE_BYTES];
	struct data_preface p;
	enum parse whole = data_preface_parse(s, &p), parse;

	for (size_t len = 0; len < s.len && len < 70; len++) {
		uint8_t *copy = exact_copy(span_of(s.data, len));
		struct data_preface unused;

		parse = data_preface_parse(span_of(copy, len), &unused);
		ASSERT(len >= 8 ? parse == whole || parse == PARSE_MORE
				: parse != PARSE_OK);
		ASSERT(len >= DATA_PREFACE_BYTES || parse != PARSE_OK);
		ASSERT(parse != PARSE_BAD || whole == PARSE_BAD);
		free(copy);
	}
	if (whole != PARSE_OK)
		return;
	ASSERT(p.mode <= DATA_TLS);
	data_preface_write(&p, again);
	ASSERT(memcmp(again, s.data, sizeof(again)) == 0);
}

static void
check_record(struct span s, record_function *parse, size_t max_bytes)
{
	struct data_record r, unused;
	size_t needed = 0, good = 0;
	enum parse whole = parse(s, &r, &needed);

	ASSERT(whole != PARSE_MORE || (needed > s.len && needed <= max_bytes));
	if (whole == PARSE_OK) {
		good = r.bytes;
		ASSERT(good <= s.len && good <= max_bytes);
		ASSERT(r.head.data == s.data);
		ASSERT(is_inside(r.salt, r.head));
		ASSERT(r.head.len + r.sealed.len == good);
		ASSERT(r.sealed.data == s.data + r.head.len);
	}
	for (size_t len = 0; len < s.len; len = next_prefix(len, s.len)) {
		uint8_t *copy = exact_copy(span_of(s.data, len));
		enum parse before = parse(span_of(copy, len), &unused, &needed);

		free(copy);
		ASSERT(before != PARSE_BAD || whole == PARSE_BAD);
		ASSERT(
		    (before == PARSE_OK) == (whole == PARSE_OK && len >= good));
		ASSERT(before != PARSE_MORE || needed > len);
		ASSERT(before != PARSE_MORE || good == 0 || needed <= good);
	}
}

static void
check_same(const struct data_open *a, const struct data_open *b)
{
	ASSERT(addr_same_ip(&a->client, &b->client));
	ASSERT(addr_same_ip(&a->server, &b->server));
	ASSERT(a->client.port == b->client.port);
	ASSERT(a->server.port == b->server.port);
	ASSERT(a->termination == b->termination);
	ASSERT(a->proxy_version == b->proxy_version);
	ASSERT(a->hello_bytes == b->hello_bytes);
	ASSERT(!memcmp(a->hello_sha256, b->hello_sha256, 32));
	ASSERT(span_equal(a->endpoint_id, b->endpoint_id));
	ASSERT(span_equal(a->authority, b->authority));
	ASSERT(span_equal(a->alpn, b->alpn));
	ASSERT(span_equal(a->unique_id, b->unique_id));
}

static void
check_rewritten(const struct data_open *o)
{
	static uint8_t out[PROXY_MAX_BYTES];
	struct span rest = o->tlvs, value;
	struct data_open again;
	struct proxy_writer w;
	const char *why;
	uint8_t type;
	size_t len;

	data_open_begin(&w, out, sizeof(out), o);
	while (data_open_next_tlv(&rest, &type, &value))
		proxy_add_tlv(&w, type, value);
	len = data_open_finish(&w);
	ASSERT(len <= DATA_OPEN_PLAIN_MAX_BYTES);
	if (len == 0)
		return;
	ASSERT(data_open_read(span_of(out, len), &again, &why) == 0);
	check_same(o, &again);
}

static void
check_open(struct span s)
{
	uint8_t *copy = exact_copy(s);
	struct data_open o;
	const char *why = NULL;

	if (data_open_read(span_of(copy, s.len), &o, &why) == 0) {
		ASSERT(!why);
		ASSERT(o.endpoint_id.len > 0 &&
		       o.endpoint_id.len <= DATA_ENDPOINT_MAX_BYTES);
		ASSERT(is_inside(o.endpoint_id, o.tlvs));
		ASSERT(is_inside(o.authority, o.tlvs));
		ASSERT(is_inside(o.alpn, o.tlvs));
		ASSERT(is_inside(o.unique_id, o.tlvs));
		ASSERT(o.hello_bytes <= HELLO_MAX_BYTES);
		ASSERT((o.hello_bytes == 0) ==
		       (o.termination == DATA_ENDS_AT_EDGE));
		check_rewritten(&o);
	} else {
		ASSERT(why);
	}
	free(copy);
}

static void
check_answer(struct span s)
{
	uint8_t again[DATA_ANSWER_PLAIN_BYTES];
	enum data_reason reason;

	if (s.len < DATA_ANSWER_PLAIN_BYTES ||
	    data_answer_read(s.data, &reason) < 0)
		return;
	ASSERT(data_reason_word(reason));
	data_answer_write(reason, again);
	ASSERT(!memcmp(again, s.data, sizeof(again)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s;

	if (size == 0)
		return 0;
	s = span_of(data + 1, size - 1);
	switch (data[0] % 5) {
	case 0:
		check_preface(s);
		break;
	case 1:
		check_record(s, data_open_record, DATA_OPEN_MAX_BYTES);
		break;
	case 2:
		check_record(s, data_answer_record, DATA_ANSWER_BYTES);
		break;
	case 3:
		check_open(s);
		break;
	default:
		check_answer(s);
	}
	return 0;
}

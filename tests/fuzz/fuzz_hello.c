/*
 * The ClientHello parser and what is computed from its result.
 *
 * Sources: base wire
 * Options: -max_len=66000
 */
#include "fuzz.h"
#include "wire/hello.h"
#include "wire/ja4.h"

static uint8_t scratch[HELLO_MAX_BYTES], other_scratch[HELLO_MAX_BYTES];

static bool
same_host(const struct host *a, const struct host *b)
{
	return span_equal(host_span(a), host_span(b));
}

static bool
same_hello(const struct hello *a, const struct hello *b)
{
	return same_host(&a->server_name, &b->server_name) &&
	       a->has_server_name == b->has_server_name &&
	       span_equal(a->extensions, b->extensions) &&
	       span_equal(a->cipher_suites, b->cipher_suites) &&
	       span_equal(a->alpn, b->alpn) &&
	       span_equal(a->session_id, b->session_id) &&
	       a->extension_count == b->extension_count;
}

static struct hello_result
parse_prefix(struct span wire, size_t len, struct hello *out)
{
	uint8_t *copy = exact_copy(span_of(wire.data, len));
	struct hello_result r =
	    hello_parse(span_of(copy, len), other_scratch, out);

	free(copy);
	return r;
}

/* A prefix asks for more or is refused; a verdict stays; what is asked for
 * grows, and is never more than a good hello has. */
static void
check_prefixes(struct span wire, struct hello_result whole, size_t good_bytes)
{
	struct hello_result before = { .parse = PARSE_MORE };
	struct hello unused;

	for (size_t len = 0; len < wire.len; len = next_prefix(len, wire.len)) {
		struct hello_result r = parse_prefix(wire, len, &unused);

		if (good_bytes > 0 && len >= good_bytes)
			break;
		ASSERT(r.parse != PARSE_OK);
		ASSERT(before.parse != PARSE_BAD || r.parse == PARSE_BAD);
		ASSERT(whole.parse == PARSE_BAD || r.parse == PARSE_MORE);
		if (r.parse == PARSE_MORE) {
			ASSERT(r.needed_bytes > len);
			ASSERT(r.needed_bytes >= before.needed_bytes);
			ASSERT(good_bytes == 0 || r.needed_bytes <= good_bytes);
		}
		before = r;
	}
}

static void
check_spans(const struct hello *h, struct span wire)
{
	struct span home = span_of(scratch, sizeof(scratch));

	if (is_inside(h->random, wire))
		home = wire;
	ASSERT(h->random.len == 32 && is_inside(h->random, home));
	ASSERT(is_inside(h->session_id, home));
	ASSERT(is_inside(h->cipher_suites, home));
	ASSERT(is_inside(h->compression, home));
	ASSERT(is_inside(h->extensions, home));
	ASSERT(is_inside(h->supported_versions, h->extensions));
	ASSERT(is_inside(h->groups, h->extensions));
	ASSERT(is_inside(h->signature_algorithms, h->extensions));
	ASSERT(is_inside(h->alpn, h->extensions));
}

static void
check_walks(const struct hello *h)
{
	struct span rest = h->extensions, body, name;
	uint16_t type;
	size_t count = 0;

	while (hello_next_extension(&rest, &type, &body)) {
		ASSERT(is_inside(body, h->extensions));
		count++;
	}
	ASSERT(rest.len == 0 && count == h->extension_count);
	rest = h->alpn;
	while (hello_next_alpn(&rest, &name))
		ASSERT(name.len > 0 && is_inside(name, h->alpn));
	ASSERT(rest.len == 0);
}

static void
check_name(const struct hello *h)
{
	struct host again;

	ASSERT(h->has_server_name == (h->server_name.len > 0));
	if (!h->has_server_name)
		return;
	ASSERT(host_parse(host_span(&h->server_name), &again, NULL) == 0);
	ASSERT(same_host(&again, &h->server_name));
}

static void
check_ja4(const struct hello *h)
{
	static char storage[JA4_STORAGE_SIZE];
	size_t size = ja4_ciphers_size(h);
	struct ja4_parts parts;

	text_init(&parts.ciphers, storage, size);
	text_init(&parts.extensions, storage + size, sizeof(storage) - size);
	ja4_build(h, &parts);
	ASSERT(!parts.ciphers.truncated && !parts.extensions.truncated);
	ASSERT(strlen(parts.prefix) == JA4_PREFIX_SIZE - 1);
}

/* The message's bytes, out of the records that hello_parse took. */
static size_t
message_of(struct span wire, const struct hello *h, uint8_t *out)
{
	size_t len = 0;

	for (size_t at = 0; at < h->wire_bytes;) {
		size_t record =
		    (size_t)(wire.data[at + 3] << 8) | wire.data[at + 4];

		memcpy(out + len, wire.data + at + 5, record);
		len += record;
		at += 5 + record;
	}
	return len;
}

/* The same message in records of another size says the same. */
static void
check_other_records(struct span wire, const struct hello *h)
{
	static uint8_t message[HELLO_MAX_BYTES];
	static uint8_t cut[8 * HELLO_MAX_BYTES];
	size_t len = message_of(wire, h, message), cut_len = 0;
	size_t size = 1 + (h->random.data[0] << 6 | h->random.data[1] >> 2);
	struct hello_result r;
	struct hello other;

	for (size_t at = 0; at < len; at += size) {
		size_t part = len - at < size ? len - at : size;

		memcpy(cut + cut_len, "\x16\3\3", 3);
		cut[cut_len + 3] = (uint8_t)(part >> 8);
		cut[cut_len + 4] = (uint8_t)part;
		memcpy(cut + cut_len + 5, message + at, part);
		cut_len += 5 + part;
	}
	r = hello_parse(span_of(cut, cut_len), other_scratch, &other);
	if (cut_len > HELLO_MAX_BYTES) {
		ASSERT(r.parse == PARSE_BAD);
		return;
	}
	ASSERT(r.parse == PARSE_OK && other.wire_bytes == cut_len);
	ASSERT(same_hello(h, &other));
}

static void
check_verdict(struct hello_result r, size_t size)
{
	if (r.parse == PARSE_MORE) {
		ASSERT(r.needed_bytes > size);
		ASSERT(r.needed_bytes <= HELLO_MAX_BYTES);
		return;
	}
	ASSERT((r.parse == PARSE_BAD) == (r.fault != HELLO_FAULT_NONE));
	ASSERT((r.parse == PARSE_BAD) == (r.why != NULL));
	ASSERT((r.fault >= HELLO_FAULT_MALFORMED) == (r.alert != 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span wire = span_of(data, size);
	struct hello hello, again;
	struct hello_result r = hello_parse(wire, scratch, &hello);

	check_verdict(r, size);
	(void)hello_looks_like_http(wire);
	check_prefixes(wire, r, r.parse == PARSE_OK ? hello.wire_bytes : 0);
	if (r.parse != PARSE_OK)
		return 0;
	ASSERT(hello.wire_bytes <= size);
	check_spans(&hello, wire);
	check_walks(&hello);
	check_name(&hello);
	check_ja4(&hello);
	r = hello_parse(span_of(data, hello.wire_bytes), other_scratch, &again);
	ASSERT(r.parse == PARSE_OK && same_hello(&hello, &again));
	check_other_records(wire, &hello);
	return 0;
}

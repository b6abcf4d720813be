#include "wire/hello.h"

#include "wire/alert.h"
#include "wire/reader.h"

#define RECORD_HEADER_BYTES 5
#define RECORD_MAX_BYTES 16384
#define MESSAGE_HEADER_BYTES 4
#define RECORD_HANDSHAKE 22
#define MESSAGE_CLIENT_HELLO 1

enum extension {
	EXT_SERVER_NAME = 0,
	EXT_SUPPORTED_GROUPS = 10,
	EXT_SIGNATURE_ALGORITHMS = 13,
	EXT_ALPN = 16,
	EXT_PRE_SHARED_KEY = 41,
	EXT_EARLY_DATA = 42,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_ECH = 0xfe0d,
};

static struct hello_result
ok(void)
{
	return (struct hello_result){ .parse = PARSE_OK };
}

static struct hello_result
more(size_t needed_bytes)
{
	return (struct hello_result){ .parse = PARSE_MORE,
		.needed_bytes = needed_bytes };
}

static struct hello_result
fault(enum hello_fault kind, uint8_t alert, const char *why)
{
	return (struct hello_result){
		.parse = PARSE_BAD, .fault = kind, .alert = alert, .why = why
	};
}

static struct hello_result
malformed(enum alert alert, const char *why)
{
	return fault(HELLO_FAULT_MALFORMED, (uint8_t)alert, why);
}

static struct hello_result
decode_error(const char *why)
{
	return malformed(ALERT_DECODE_ERROR, why);
}

static bool
is_bad(struct hello_result result)
{
	return result.parse == PARSE_BAD;
}

/*
 * The records, RFC 8446 section 5.1.
 *
 * Where a walk over the records of the message stands. `at` is the wire byte at
 * which the next record begins; `got` counts the message's bytes up to there,
 * as the record headers announce them, so that a walk may stand beyond the
 * bytes that have arrived.
 */
struct walk {
	struct span wire;
	size_t at;
	size_t got;
	size_t message_bytes; /* its header included; 0: not known yet */
	size_t header_got;    /* how much of `header` has been seen */
	uint8_t header[MESSAGE_HEADER_BYTES];
};

static size_t
min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The fewest wire bytes that can carry so many bytes of a message. */
static size_t
wire_bytes_for(size_t message_bytes)
{
	size_t records =
	    (message_bytes + RECORD_MAX_BYTES - 1) / RECORD_MAX_BYTES;

	return message_bytes + records * RECORD_HEADER_BYTES;
}

/* What is missing of the message, or of its header while that is not whole. */
static size_t
missing(const struct walk *w)
{
	if (w->message_bytes > 0)
		return w->message_bytes - w->got;
	return MESSAGE_HEADER_BYTES - w->got;
}

/* The first record's type decides whether this is TLS at all. */
static struct hello_result
check_first_type(const struct walk *w)
{
	uint8_t type = w->wire.data[0];

	if (type < 20 || type > 24)
		return fault(HELLO_FAULT_NOT_TLS, 0, "not TLS");
	if (type == RECORD_HANDSHAKE)
		return ok();
	if (w->wire.len < 2)
		return more(2);
	if (w->wire.data[1] != 3)
		return fault(HELLO_FAULT_NOT_TLS, 0, "not TLS");
	return malformed(ALERT_UNEXPECTED_MESSAGE,
	    "the first record is not a handshake record");
}

/* Looks at as much of a record's header as there is. */
static struct hello_result
check_record_header(struct span header)
{
	if (header.len >= 1 && header.data[0] != RECORD_HANDSHAKE)
		return malformed(ALERT_UNEXPECTED_MESSAGE,
		    "another record between the records of the ClientHello");
	if (header.len >= 2 && header.data[1] != 3)
		return malformed(
		    ALERT_PROTOCOL_VERSION, "the record's version is not TLS");
	if (header.len < RECORD_HEADER_BYTES)
		return ok();

	size_t len = (size_t)(header.data[3] << 8 | header.data[4]);

	if (len > RECORD_MAX_BYTES)
		return malformed(ALERT_RECORD_OVERFLOW,
		    "a record is longer than 16384 bytes");
	if (len == 0)
		return malformed(
		    ALERT_UNEXPECTED_MESSAGE, "an empty handshake record");
	return ok();
}

/* Takes what there is of the message's header out of a record's payload. */
static struct hello_result
read_message_header(struct walk *w, struct span payload)
{
	size_t len =
	    min_size(payload.len, MESSAGE_HEADER_BYTES - w->header_got);

	if (len > 0)
		memcpy(w->header + w->header_got, payload.data, len);
	w->header_got += len;
	if (w->header_got > 0 && w->header[0] != MESSAGE_CLIENT_HELLO)
		return malformed(ALERT_UNEXPECTED_MESSAGE,
		    "the first handshake message is not a ClientHello");
	if (w->header_got == MESSAGE_HEADER_BYTES)
		w->message_bytes = MESSAGE_HEADER_BYTES +
				   (size_t)(w->header[1] << 16 |
					    w->header[2] << 8 | w->header[3]);
	return ok();
}

/*
 * Judges the message from announced lengths, before its bytes are there: this
 * is what keeps us from buffering for someone who announces 16 MiB. A message
 * must end with its record here, since keys change after it (RFC 8446 section
 * 5.1).
 */
static struct hello_result
check_size(const struct walk *w)
{
	if (w->message_bytes > 0 && w->got > w->message_bytes)
		return malformed(ALERT_UNEXPECTED_MESSAGE,
		    "another message in the record of the ClientHello");
	if (w->message_bytes > 0 &&
	    w->at + wire_bytes_for(missing(w)) > HELLO_MAX_BYTES)
		return malformed(
		    ALERT_ILLEGAL_PARAMETER, "the ClientHello is over 64 KiB");
	return ok();
}

/* Goes over one record; PARSE_OK: it is there whole, and was good. */
static struct hello_result
step_record(struct walk *w)
{
	struct span left = span_of(w->wire.data + w->at, w->wire.len - w->at);
	struct hello_result result = check_record_header(left);

	if (is_bad(result))
		return result;
	if (left.len < RECORD_HEADER_BYTES) {
		/* Only the header says how far the first record goes. */
		if (w->at == 0)
			return more(RECORD_HEADER_BYTES);
		return more(w->at + wire_bytes_for(missing(w)));
	}

	size_t len = (size_t)(left.data[3] << 8 | left.data[4]);
	size_t there = min_size(len, left.len - RECORD_HEADER_BYTES);

	result = read_message_header(
	    w, span_of(left.data + RECORD_HEADER_BYTES, there));
	if (is_bad(result))
		return result;
	w->at += RECORD_HEADER_BYTES + len;
	w->got += len;
	result = check_size(w);
	if (is_bad(result) || there == len)
		return result;
	if (w->message_bytes > 0)
		return more(w->at + wire_bytes_for(missing(w)));
	/* The message's length is still to come, here or in a later record. */
	if (w->got < MESSAGE_HEADER_BYTES)
		return more(w->at + wire_bytes_for(missing(w)));
	return more(w->at - (w->got - MESSAGE_HEADER_BYTES));
}

static bool
is_whole(const struct walk *w)
{
	return w->message_bytes > 0 && w->got == w->message_bytes;
}

/* Walks all records of the message; PARSE_OK: all of them are there. */
static struct hello_result
walk_records(struct walk *w)
{
	struct hello_result result;

	if (w->wire.len == 0)
		return more(1);
	result = check_first_type(w);
	while (result.parse == PARSE_OK && !is_whole(w))
		result = step_record(w);
	return result;
}

/*
 * The message in one piece. Nearly all clients send one record, whose bytes are
 * used where they are.
 */
static struct span
gather(const struct walk *w, uint8_t *scratch)
{
	const uint8_t *from = w->wire.data;
	size_t len = 0;

	if (w->at == RECORD_HEADER_BYTES + w->message_bytes)
		return span_of(from + RECORD_HEADER_BYTES, w->message_bytes);
	while (len < w->message_bytes) {
		size_t record = (size_t)(from[3] << 8 | from[4]);

		memcpy(scratch + len, from + RECORD_HEADER_BYTES, record);
		len += record;
		from += RECORD_HEADER_BYTES + record;
	}
	return span_of(scratch, len);
}

/*
 * The message, RFC 8446 section 4.1.2.
 *
 * What is known of a hello while its extensions are read. The bitmap is one bit
 * a type, so that a block of sixteen thousand extensions costs no more than
 * reading it.
 */
struct block {
	struct hello *hello;
	struct span server_name; /* as sent */
	uint8_t seen[65536 / 8];
};

static bool
mark_seen(struct block *b, uint16_t type)
{
	uint8_t bit = (uint8_t)(1u << (type & 7));
	bool before = (b->seen[type >> 3] & bit) != 0;

	b->seen[type >> 3] |= bit;
	return before;
}

/* RFC 6066 section 3: one entry, and of the one type there is. */
static struct hello_result
read_server_name(struct block *b, struct span body)
{
	struct reader r = reader_of(body);
	struct reader list = reader_of(read_vector16(&r));

	if (!reader_done(&r) || list.rest.len == 0)
		return decode_error("server_name: the list is empty or its "
				    "length is wrong");
	if (read_u8(&list) != 0)
		return decode_error("server_name: a type other than host_name");
	b->server_name = read_vector16(&list);
	if (list.failed || b->server_name.len == 0)
		return decode_error("server_name: the name is empty or its "
				    "length is wrong");
	if (list.rest.len > 0)
		return decode_error("server_name: more than one name");
	b->hello->has_server_name = true;
	return ok();
}

/* RFC 7301 section 3.1: no list and no name is empty. */
static struct hello_result
read_alpn(struct block *b, struct span body)
{
	struct reader r = reader_of(body);
	struct span list = read_vector16(&r);
	struct reader names = reader_of(list);

	if (!reader_done(&r) || list.len == 0)
		return decode_error("ALPN: the list is empty or its length is "
				    "wrong");
	while (names.rest.len > 0) {
		if (read_vector8(&names).len == 0)
			return decode_error("ALPN: a name is empty or its "
					    "length is wrong");
	}
	b->hello->alpn = list;
	b->hello->has_alpn = true;
	return ok();
}

/* A list of 16-bit values, behind a length of one byte or two. */
static struct hello_result
read_values(struct span body, bool short_length, struct span *out)
{
	struct reader r = reader_of(body);
	struct span list = short_length ? read_vector8(&r) : read_vector16(&r);

	if (!reader_done(&r) || list.len == 0 || list.len % 2 != 0)
		return decode_error("a list of versions, groups or signature "
				    "algorithms has a wrong length");
	*out = list;
	return ok();
}

static struct hello_result
read_extension(struct block *b, uint16_t type, struct span body)
{
	struct hello *h = b->hello;

	switch (type) {
	case EXT_SERVER_NAME:
		return read_server_name(b, body);
	case EXT_ALPN:
		return read_alpn(b, body);
	case EXT_SUPPORTED_VERSIONS:
		return read_values(body, true, &h->supported_versions);
	case EXT_SUPPORTED_GROUPS:
		return read_values(body, false, &h->groups);
	case EXT_SIGNATURE_ALGORITHMS:
		return read_values(body, false, &h->signature_algorithms);
	case EXT_EARLY_DATA:
		h->has_early_data = true;
		return body.len == 0
			   ? ok()
			   : decode_error(
				 "early_data: the extension is not empty");
	case EXT_ECH:
		h->has_ech = true;
		return ok();
	default:
		return ok();
	}
}

static struct hello_result
read_extensions(struct block *b)
{
	struct reader r = reader_of(b->hello->extensions);
	struct hello_result result = ok();

	while (r.rest.len > 0 && !is_bad(result)) {
		uint16_t type = read_u16(&r);
		struct span body = read_vector16(&r);

		if (r.failed)
			return decode_error(
			    "an extension is longer than the block");
		if (mark_seen(b, type))
			return malformed(ALERT_ILLEGAL_PARAMETER,
			    "an extension comes twice");
		/* RFC 8446 section 4.2.11: its binders cover all before. */
		if (type == EXT_PRE_SHARED_KEY && r.rest.len > 0)
			return malformed(ALERT_ILLEGAL_PARAMETER,
			    "pre_shared_key is not the last extension");
		b->hello->extension_count++;
		result = read_extension(b, type, body);
	}
	return result;
}

static struct hello_result
check_fields(const struct hello *h, const struct reader *r)
{
	if (r->failed)
		return decode_error("a field is longer than the ClientHello");
	if (h->legacy_version < 0x0300)
		return malformed(ALERT_PROTOCOL_VERSION,
		    "the ClientHello's version is not TLS");
	if (h->session_id.len > 32)
		return decode_error("the session id is longer than 32 bytes");
	if (h->cipher_suites.len == 0 || h->cipher_suites.len % 2 != 0)
		return decode_error("the list of cipher suites has a wrong "
				    "length");
	if (h->compression.len == 0)
		return decode_error("the list of compression methods is empty");
	if (!memchr(h->compression.data, 0, h->compression.len))
		return malformed(ALERT_ILLEGAL_PARAMETER,
		    "the null compression method is not offered");
	return ok();
}

/* What is no host name (RFC 6066 section 3) matches nothing, is never looked up
 * and gets no default endpoint. */
static struct hello_result
check_server_name(struct block *b)
{
	const char *why;

	if (!b->hello->has_server_name ||
	    host_parse(b->server_name, &b->hello->server_name, &why) == 0)
		return ok();
	return fault(HELLO_FAULT_NAME, ALERT_UNRECOGNIZED_NAME, why);
}

static struct hello_result
read_message(struct span body, struct hello *h)
{
	struct reader r = reader_of(body);
	struct block block = { .hello = h };
	struct hello_result result;

	h->legacy_version = read_u16(&r);
	h->random = read_bytes(&r, 32);
	h->session_id = read_vector8(&r);
	h->cipher_suites = read_vector16(&r);
	h->compression = read_vector8(&r);
	/* Before TLS 1.3 the block of extensions may be absent. */
	if (r.rest.len > 0)
		h->extensions = read_vector16(&r);
	result = check_fields(h, &r);
	if (is_bad(result))
		return result;
	if (r.rest.len > 0)
		return decode_error("bytes after the extensions");
	result = read_extensions(&block);
	if (is_bad(result))
		return result;
	return check_server_name(&block);
}

struct hello_result
hello_parse(struct span wire, uint8_t *scratch, struct hello *out)
{
	struct walk walk = { .wire = wire };
	struct hello_result result = walk_records(&walk);
	struct hello hello = { 0 };
	struct span message;

	if (result.parse != PARSE_OK)
		return result;
	message = gather(&walk, scratch);
	hello.record_version = (uint16_t)(wire.data[1] << 8 | wire.data[2]);
	hello.wire_bytes = walk.at;
	result = read_message(span_of(message.data + MESSAGE_HEADER_BYTES,
				  message.len - MESSAGE_HEADER_BYTES),
	    &hello);
	if (result.parse == PARSE_OK)
		*out = hello;
	return result;
}

bool
hello_looks_like_http(struct span wire)
{
	static const char *const methods[] = { "GET ", "POST ", "HEAD ", "PUT ",
		"DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ",
		"PRI * HTTP/" };

	for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
		size_t len = strlen(methods[i]);

		if (wire.len >= len && !memcmp(wire.data, methods[i], len))
			return true;
	}
	return false;
}

bool
hello_next_alpn(struct span *rest, struct span *name)
{
	struct reader r = reader_of(*rest);

	*name = read_vector8(&r);
	*rest = r.rest;
	return !r.failed;
}

bool
hello_next_u16(struct span *rest, uint16_t *value)
{
	struct reader r = reader_of(*rest);

	*value = read_u16(&r);
	*rest = r.rest;
	return !r.failed;
}

bool
hello_next_extension(struct span *rest, uint16_t *type, struct span *body)
{
	struct reader r = reader_of(*rest);

	*type = read_u16(&r);
	*body = read_vector16(&r);
	*rest = r.rest;
	return !r.failed;
}

bool
hello_is_grease(uint16_t value)
{
	return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

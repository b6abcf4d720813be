#include "wire/data_record.h"

#include <errno.h>

#include "wire/hello.h"
#include "wire/reader.h"

#define VERSION 1
#define MODE_AT 7

enum record_type { RECORD_OPEN = 1, RECORD_ANSWER = 2 };

static const uint8_t preface_start[] = { 0xC5, 0x4C, 0x55, 0x4E, 0x45, 0x54,
	VERSION };
static const uint8_t open_start[] = { RECORD_OPEN, VERSION };
static const uint8_t answer_start[] = { RECORD_ANSWER, VERSION, 0,
	DATA_ANSWER_PLAIN_BYTES + DATA_TAG_BYTES };

/* Whether as much of the start as there is is right. */
static bool
may_begin_with(struct span wire, const uint8_t *start, size_t len)
{
	if (wire.len < len)
		len = wire.len;
	return len == 0 || memcmp(wire.data, start, len) == 0;
}

/* --- the preface --- */

void
data_preface_write(
    const struct data_preface *p, uint8_t out[DATA_PREFACE_BYTES])
{
	memcpy(out, preface_start, sizeof(preface_start));
	out[MODE_AT] = (uint8_t)p->mode;
	memcpy(out + 8, p->session, DATA_SESSION_BYTES);
	for (unsigned i = 0; i < 8; i++)
		out[24 + i] = (uint8_t)(p->counter >> (56 - 8 * i));
	memcpy(out + DATA_PREFACE_SIGNED_BYTES, p->mac, DATA_MAC_BYTES);
}

enum parse
data_preface_parse(struct span wire, struct data_preface *out)
{
	const uint8_t *bytes = wire.data;

	if (!may_begin_with(wire, preface_start, sizeof(preface_start)) ||
	    (wire.len > MODE_AT && bytes[MODE_AT] > DATA_TLS))
		return PARSE_BAD;
	if (wire.len < DATA_PREFACE_BYTES)
		return PARSE_MORE;
	out->mode = bytes[MODE_AT];
	memcpy(out->session, bytes + 8, DATA_SESSION_BYTES);
	out->counter = 0;
	for (unsigned i = 0; i < 8; i++)
		out->counter = out->counter << 8 | bytes[24 + i];
	memcpy(out->mac, bytes + DATA_PREFACE_SIGNED_BYTES, DATA_MAC_BYTES);
	return PARSE_OK;
}

/* --- records --- */

static enum parse
more(size_t *needed, size_t count)
{
	*needed = count;
	return PARSE_MORE;
}

enum parse
data_open_record(struct span wire, struct data_record *out, size_t *needed)
{
	size_t len;

	if (!may_begin_with(wire, open_start, sizeof(open_start)))
		return PARSE_BAD;
	if (wire.len < 4)
		return more(
		    needed, DATA_OPEN_HEAD_BYTES + DATA_OPEN_SEALED_MIN_BYTES);
	len = (size_t)(wire.data[2] << 8 | wire.data[3]);
	if (len < DATA_OPEN_SEALED_MIN_BYTES ||
	    len > DATA_OPEN_SEALED_MAX_BYTES)
		return PARSE_BAD;
	if (wire.len < DATA_OPEN_HEAD_BYTES + len)
		return more(needed, DATA_OPEN_HEAD_BYTES + len);
	out->head = span_of(wire.data, DATA_OPEN_HEAD_BYTES);
	out->salt = span_of(wire.data + 4, DATA_SALT_BYTES);
	out->sealed = span_of(wire.data + DATA_OPEN_HEAD_BYTES, len);
	out->bytes = DATA_OPEN_HEAD_BYTES + len;
	return PARSE_OK;
}

enum parse
data_answer_record(struct span wire, struct data_record *out, size_t *needed)
{
	if (!may_begin_with(wire, answer_start, sizeof(answer_start)))
		return PARSE_BAD;
	if (wire.len < DATA_ANSWER_BYTES)
		return more(needed, DATA_ANSWER_BYTES);
	out->head = span_of(wire.data, DATA_ANSWER_HEAD_BYTES);
	out->salt = span_of(NULL, 0);
	out->sealed = span_of(wire.data + DATA_ANSWER_HEAD_BYTES,
	    DATA_ANSWER_BYTES - DATA_ANSWER_HEAD_BYTES);
	out->bytes = DATA_ANSWER_BYTES;
	return PARSE_OK;
}

void
data_open_head(uint8_t out[DATA_OPEN_HEAD_BYTES], size_t sealed_bytes,
    const uint8_t salt[DATA_SALT_BYTES])
{
	ASSERT(sealed_bytes >= DATA_OPEN_SEALED_MIN_BYTES &&
	       sealed_bytes <= DATA_OPEN_SEALED_MAX_BYTES);
	memcpy(out, open_start, sizeof(open_start));
	out[2] = (uint8_t)(sealed_bytes >> 8);
	out[3] = (uint8_t)sealed_bytes;
	memcpy(out + 4, salt, DATA_SALT_BYTES);
}

void
data_answer_head(uint8_t out[DATA_ANSWER_HEAD_BYTES])
{
	memcpy(out, answer_start, sizeof(answer_start));
}

/* --- OPEN --- */

#define PRIVATE_FIXED_BYTES 40 /* in front of the endpoint's id */

static bool
is_ip(const struct addr *a)
{
	return a->family == ADDR_IP4 || a->family == ADDR_IP6;
}

static void
add_private(struct proxy_writer *w, const struct data_open *o)
{
	uint8_t value[PRIVATE_FIXED_BYTES + DATA_ENDPOINT_MAX_BYTES];

	ASSERT(o->endpoint_id.len > 0 &&
	       o->endpoint_id.len <= DATA_ENDPOINT_MAX_BYTES);
	value[0] = VERSION;
	value[1] = (uint8_t)o->termination;
	value[2] = o->proxy_version;
	value[3] = 0;
	for (unsigned i = 0; i < 4; i++)
		value[4 + i] = (uint8_t)(o->hello_bytes >> (24 - 8 * i));
	memcpy(value + 8, o->hello_sha256, DATA_HELLO_HASH_BYTES);
	memcpy(value + PRIVATE_FIXED_BYTES, o->endpoint_id.data,
	    o->endpoint_id.len);
	proxy_add_tlv(w, DATA_TLV_PRIVATE,
	    span_of(value, PRIVATE_FIXED_BYTES + o->endpoint_id.len));
}

static void
add_if_any(struct proxy_writer *w, enum proxy_tlv type, struct span value)
{
	if (value.len > 0)
		proxy_add_tlv(w, (uint8_t)type, value);
}

void
data_open_begin(struct proxy_writer *w, uint8_t *out, size_t size,
    const struct data_open *o)
{
	if (size > DATA_OPEN_PLAIN_MAX_BYTES)
		size = DATA_OPEN_PLAIN_MAX_BYTES;
	proxy_begin_v2(w, out, size, &o->client, &o->server);
	/* Without an address it would be LOCAL, which says nothing. */
	w->overflow |= !is_ip(&o->client);
	add_private(w, o);
	add_if_any(w, PROXY_TLV_AUTHORITY, o->authority);
	add_if_any(w, PROXY_TLV_ALPN, o->alpn);
	add_if_any(w, PROXY_TLV_UNIQUE_ID, o->unique_id);
}

size_t
data_open_finish(struct proxy_writer *w)
{
	return proxy_finish_v2(w, false);
}

/* A hello goes along where TLS does not end at the edge, and only there. */
static const char *
hello_fault(const struct data_open *o)
{
	static const uint8_t zeros[DATA_HELLO_HASH_BYTES];

	if (o->termination != DATA_ENDS_AT_EDGE)
		return o->hello_bytes > 0 && o->hello_bytes <= HELLO_MAX_BYTES
			   ? NULL
			   : "OPEN: the hello's length cannot be";
	if (o->hello_bytes > 0 ||
	    memcmp(o->hello_sha256, zeros, sizeof(zeros)) != 0)
		return "OPEN: a hello where the edge has terminated";
	return NULL;
}

static const char *
read_private(struct span value, struct data_open *out)
{
	struct reader r = reader_of(value);
	uint8_t version = read_u8(&r), termination = read_u8(&r), zero;
	uint32_t high;
	struct span hash;

	out->proxy_version = read_u8(&r);
	zero = read_u8(&r);
	high = read_u16(&r);
	out->hello_bytes = high << 16 | read_u16(&r);
	hash = read_bytes(&r, DATA_HELLO_HASH_BYTES);
	if (r.failed || r.rest.len == 0 || r.rest.len > DATA_ENDPOINT_MAX_BYTES)
		return "OPEN: the TLV 0xF0 has another length";
	if (version != VERSION || zero != 0)
		return "OPEN: the TLV 0xF0 is of another version";
	if (termination > DATA_ENDS_AT_UPSTREAM)
		return "OPEN: unknown termination";
	if (out->proxy_version > 2)
		return "OPEN: unknown PROXY version";
	memcpy(out->hello_sha256, hash.data, hash.len);
	out->termination = termination;
	out->endpoint_id = r.rest;
	return hello_fault(out);
}

/* Nobody writes it empty or twice; which of two would count is not asked. */
static const char *
take_once(struct span value, struct span *field)
{
	if (field->len > 0)
		return "OPEN: a TLV comes twice";
	if (value.len == 0)
		return "OPEN: a TLV is empty";
	*field = value;
	return NULL;
}

static const char *
take_tlv(uint8_t type, struct span value, struct data_open *out)
{
	switch (type) {
	case PROXY_TLV_AUTHORITY:
		return take_once(value, &out->authority);
	case PROXY_TLV_ALPN:
		return take_once(value, &out->alpn);
	case PROXY_TLV_UNIQUE_ID:
		return take_once(value, &out->unique_id);
	case DATA_TLV_PRIVATE:
		return out->endpoint_id.len > 0 ? "OPEN: a TLV comes twice"
						: read_private(value, out);
	default:
		return NULL;
	}
}

static const char *
take_tlvs(struct span rest, struct data_open *out)
{
	const char *fault = NULL;
	struct span value;
	uint8_t type;

	while (!fault && proxy_next_tlv(&rest, &type, &value))
		fault = take_tlv(type, value, out);
	if (!fault && out->endpoint_id.len == 0)
		fault = "OPEN: the TLV 0xF0 is missing";
	return fault;
}

int
data_open_read(struct span plain, struct data_open *out, const char **why)
{
	struct data_open open = { .proxy_version = 0 };
	struct proxy_header header;
	size_t unused;

	*why = "OPEN: the header is cut off";
	if (proxy_parse(plain, 1u << 2, &header, &unused, why) != PARSE_OK)
		return -EBADMSG;
	if (header.header_bytes != plain.len)
		*why = "OPEN: bytes behind the header";
	else if (header.local || !is_ip(&header.source))
		*why = "OPEN: no addresses of TCP";
	else
		*why = take_tlvs(header.tlvs, &open);
	if (*why)
		return -EBADMSG;
	open.client = header.source;
	open.server = header.destination;
	open.tlvs = header.tlvs;
	*out = open;
	return 0;
}

static bool
has_own_field(uint8_t type)
{
	switch (type) {
	case PROXY_TLV_AUTHORITY:
	case PROXY_TLV_ALPN:
	case PROXY_TLV_UNIQUE_ID:
	case PROXY_TLV_CRC32C:
	case PROXY_TLV_NOOP:
	case DATA_TLV_PRIVATE:
		return true;
	default:
		return false;
	}
}

bool
data_open_next_tlv(struct span *rest, uint8_t *type, struct span *value)
{
	while (proxy_next_tlv(rest, type, value))
		if (!has_own_field(*type))
			return true;
	return false;
}

/* --- ANSWER --- */

static const char *const words[] = { [DATA_ACCEPTED] = "accepted",
#define X(name, number, word) [name] = (word),
	DATA_REASON_TABLE(X)
#undef X
};

const char *
data_reason_word(unsigned reason)
{
	return reason < DATA_REASON_COUNT ? words[reason] : NULL;
}

enum data_reason
data_reason_find(struct span word)
{
	unsigned i = 0;

	while (i < DATA_REASON_COUNT && !span_is(word, words[i]))
		i++;
	return i;
}

void
data_answer_write(enum data_reason reason, uint8_t out[DATA_ANSWER_PLAIN_BYTES])
{
	ASSERT(reason < DATA_REASON_COUNT);
	memset(out, 0, DATA_ANSWER_PLAIN_BYTES);
	out[0] = reason != DATA_ACCEPTED;
	out[1] = (uint8_t)reason;
}

int
data_answer_read(
    const uint8_t plain[DATA_ANSWER_PLAIN_BYTES], enum data_reason *reason)
{
	uint8_t again[DATA_ANSWER_PLAIN_BYTES];

	if (plain[1] >= DATA_REASON_COUNT)
		return -EBADMSG;
	/* There is one way only to say a reason. */
	data_answer_write(plain[1], again);
	if (memcmp(plain, again, sizeof(again)) != 0)
		return -EBADMSG;
	*reason = plain[1];
	return 0;
}

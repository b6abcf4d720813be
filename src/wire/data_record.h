/*
 * What Lunette's agent and edge say to each other at the beginning of a direct
 * data connection, as bytes: the preface (agent to edge), then OPEN (edge to
 * agent) and ANSWER (agent to edge). Only their layout: keys, HMAC and sealing
 * are in tls/data_keys.h.
 *
 *	preface	64: 0-5 C5 4C 55 4E 45 54; 6 version 1; 7 mode; 8-23 session;
 *		24-31 counter; 32-63 HMAC-SHA-256 over bytes 0-31
 *	OPEN	20 + L: 0 01; 1 version 1; 2-3 L; 4-19 salt; L sealed bytes, of
 *		which the last 16 are the tag
 *	ANSWER	36: 0 02; 1 version 1; 2-3 00 20; 16 sealed bytes and the tag
 *
 * Sealed in OPEN is a PROXY v2 header with the private TLV 0xF0, in ANSWER
 * status, reason and 14 zeros. Integers are big endian. Anything that does not
 * match exactly is refused.
 */
#ifndef WIRE_DATA_RECORD_H
#define WIRE_DATA_RECORD_H

#include "wire/proxy.h"

/* --- the preface --- */

#define DATA_PREFACE_BYTES 64
#define DATA_PREFACE_SIGNED_BYTES 32 /* what its HMAC is about */
#define DATA_SESSION_BYTES 16
#define DATA_MAC_BYTES 32

/* Counters go from 1 to this. */
#define DATA_COUNTER_MAX ((UINT64_C(1) << 53) - 1)

enum data_mode {
	DATA_RAW, /* the client's own TLS as it is */
	DATA_TLS, /* all of it inside of TLS 1.3 with an external PSK */
};

struct data_preface {
	enum data_mode mode;
	uint8_t session[DATA_SESSION_BYTES];
	uint64_t counter;
	uint8_t mac[DATA_MAC_BYTES];
};

void data_preface_write(
    const struct data_preface *p, uint8_t out[DATA_PREFACE_BYTES]);

/*
 * Reads a preface at the start of `wire`. PARSE_BAD as soon as one of the bytes
 * 0 to 7 is another one; so PARSE_MORE says that it may become a preface, also
 * of no byte at all. Nothing of TLS begins with its first byte. The counter is
 * not judged: 0 and those over DATA_COUNTER_MAX have never been asked for.
 */
enum parse data_preface_parse(
    struct span wire, struct data_preface *out) MUST_CHECK;

/* --- OPEN and ANSWER as records --- */

#define DATA_TAG_BYTES 16
#define DATA_SALT_BYTES 16
#define DATA_OPEN_HEAD_BYTES 20
#define DATA_OPEN_SEALED_MIN_BYTES 32
#define DATA_OPEN_SEALED_MAX_BYTES 4096
#define DATA_OPEN_PLAIN_MAX_BYTES (DATA_OPEN_SEALED_MAX_BYTES - DATA_TAG_BYTES)
#define DATA_OPEN_MAX_BYTES (DATA_OPEN_HEAD_BYTES + DATA_OPEN_SEALED_MAX_BYTES)
#define DATA_ANSWER_HEAD_BYTES 4
#define DATA_ANSWER_PLAIN_BYTES 16
#define DATA_ANSWER_BYTES \
	(DATA_ANSWER_HEAD_BYTES + DATA_ANSWER_PLAIN_BYTES + DATA_TAG_BYTES)

struct data_record {
	struct span head;   /* is authenticated as well, behind the preface */
	struct span salt;   /* of OPEN; empty in ANSWER */
	struct span sealed; /* with the tag at its end */
	size_t bytes;	    /* to consume from the stream, exactly */
};

/*
 * Read a record at the start of `wire`. PARSE_MORE says through `needed` how
 * many bytes there must be at least to get further, which is never more than
 * the record has. PARSE_BAD at the first byte of the head that is wrong. Spans
 * point into `wire`.
 */
enum parse data_open_record(
    struct span wire, struct data_record *out, size_t *needed) MUST_CHECK;
enum parse data_answer_record(
    struct span wire, struct data_record *out, size_t *needed) MUST_CHECK;

/* `sealed_bytes` is between the limits above. */
void data_open_head(uint8_t out[DATA_OPEN_HEAD_BYTES], size_t sealed_bytes,
    const uint8_t salt[DATA_SALT_BYTES]);
void data_answer_head(uint8_t out[DATA_ANSWER_HEAD_BYTES]);

/* --- what is sealed in OPEN --- */

/* Where the client's TLS ends. */
enum data_termination {
	DATA_ENDS_AT_EDGE,
	DATA_ENDS_AT_AGENT,
	DATA_ENDS_AT_UPSTREAM,
};

#define DATA_TLV_PRIVATE 0xF0 /* never goes on to an upstream */
#define DATA_ENDPOINT_MAX_BYTES 64
#define DATA_HELLO_HASH_BYTES 32

struct data_open {
	struct addr client, server; /* ADDR_IP4 or ADDR_IP6 */
	enum data_termination termination;
	uint8_t proxy_version; /* for the upstream: 0 (none), 1 or 2 */
	/* Of the ClientHello as it was peeked, record headers included; both
	 * zero where TLS ends at the edge. At most HELLO_MAX_BYTES. */
	uint32_t hello_bytes;
	uint8_t hello_sha256[DATA_HELLO_HASH_BYTES];
	struct span endpoint_id; /* 1 to DATA_ENDPOINT_MAX_BYTES */
	struct span authority, alpn, unique_id; /* empty: none */
	/* Read only: all TLVs. Walk with data_open_next_tlv. */
	struct span tlvs;
};

/*
 * Writes all but `tlvs`; further ones, such as a policy's, may then be added
 * with proxy_add_tlv (of any other type, CRC32C excepted) before
 * data_open_finish, which gives the length, or 0 if it is over `size` or
 * DATA_OPEN_PLAIN_MAX_BYTES, or if the client has no address. The caller makes
 * sure that the rest of `o` is as said above.
 */
void data_open_begin(struct proxy_writer *w, uint8_t *out, size_t size,
    const struct data_open *o);
size_t data_open_finish(struct proxy_writer *w);

/*
 * Reads what was unsealed, all of it: a header of version 2, command PROXY, TCP
 * over IPv4 or IPv6, 0xF0 exactly once, AUTHORITY, ALPN and UNIQUE_ID at most
 * once and never empty, no byte left over. Spans point into `plain`. 0, or
 * -EBADMSG with `why` (a literal).
 */
int data_open_read(
    struct span plain, struct data_open *out, const char **why) MUST_CHECK;

/*
 * Walks the further TLVs of `rest` (begin with `tlvs` of one that was read):
 * passes over those that have a field of their own, CRC32C and NOOP. False at
 * the end.
 */
bool data_open_next_tlv(struct span *rest, uint8_t *type, struct span *value);

/* --- what is sealed in ANSWER --- */

/* Why an agent refuses: number on the wire, word in messages and logs. The
 * numbers are also those of a stream's reset (0x100 + reason). */
#define DATA_REASON_TABLE(X)                                  \
	X(DATA_UNKNOWN_ENDPOINT, 1, "unknown_endpoint")       \
	X(DATA_TERMINATION_DIFFERS, 2, "termination_differs") \
	X(DATA_OTHER_HELLO, 3, "other_hello")                 \
	X(DATA_DENIED, 4, "denied")                           \
	X(DATA_UPSTREAM_REFUSED, 5, "upstream_refused")       \
	X(DATA_UPSTREAM_TIMEOUT, 6, "upstream_timeout")       \
	X(DATA_UPSTREAM_DNS, 7, "upstream_dns")               \
	X(DATA_LIMIT, 8, "limit")                             \
	X(DATA_DRAIN, 9, "drain")

enum data_reason {
	DATA_ACCEPTED,
#define X(name, number, word) name = (number),
	DATA_REASON_TABLE(X)
#undef X
	    DATA_REASON_COUNT
};

/* "unknown_endpoint"; "accepted" for DATA_ACCEPTED, NULL for what is none. */
const char *data_reason_word(unsigned reason);
/* The other way round; DATA_REASON_COUNT if there is no such word. */
enum data_reason data_reason_find(struct span word);

void data_answer_write(
    enum data_reason reason, uint8_t out[DATA_ANSWER_PLAIN_BYTES]);
/* 0, or -EBADMSG: status and reason do not fit together, no such reason, or
 * what must be zeros is not. */
int data_answer_read(const uint8_t plain[DATA_ANSWER_PLAIN_BYTES],
    enum data_reason *reason) MUST_CHECK;

#endif

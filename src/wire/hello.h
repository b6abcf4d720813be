/*
 * The TLS ClientHello, read without consuming or changing it.
 *
 * There are three outcomes: a whole, well-formed hello; more bytes are needed;
 * not well formed (with the alert to answer). There is no fourth: what does not
 * parse is never routed. The parser keeps no state: it is given all bytes
 * peeked so far and starts again.
 *
 * Sources: RFC 8446 section 4.1.2 and 5.1, RFC 5246 section 7.4.1.2, RFC 6066
 * section 3, RFC 7301, RFC 8701 (GREASE), RFC 9849 (ECH, extension 0xfe0d).
 */
#ifndef WIRE_HELLO_H
#define WIRE_HELLO_H

#include "base/compiler.h"
#include "base/span.h"
#include "wire/host.h"

/* Wire bytes of the largest hello taken, record headers included. */
#define HELLO_MAX_BYTES 65536

enum hello_fault {
	HELLO_FAULT_NONE,
	HELLO_FAULT_NOT_TLS,   /* first byte is none of TLS's record types */
	HELLO_FAULT_MALFORMED, /* answered with `alert` */
	HELLO_FAULT_NAME,      /* server_name is no host name; alert 112 */
};

/* All spans point into the wire bytes or into the scratch given to the parser.
 * Lists keep the wire's form (two bytes an entry and so on) without the length
 * in front; an absent extension gives an empty span and its flag is false. */
struct hello {
	uint16_t record_version;
	uint16_t legacy_version;
	struct span random;
	struct span session_id;
	struct span cipher_suites;
	struct span compression;
	struct span extensions; /* whole block, type and length with each */
	struct span supported_versions;
	struct span groups;
	struct span signature_algorithms;
	struct span alpn; /* ProtocolNameList without its length */
	bool has_server_name;
	bool has_alpn;
	bool has_ech;
	bool has_early_data;
	struct host
	    server_name; /* folded, no trailing dot; when has_server_name */
	uint16_t extension_count;
	size_t wire_bytes; /* of the hello with its record headers */
};

struct hello_result {
	enum parse parse;
	enum hello_fault fault;
	uint8_t alert; /* for PARSE_BAD: what section 2.3 of the design says */
	const char *why; /* for PARSE_BAD: a literal for the event's detail */
	size_t needed_bytes; /* for PARSE_MORE: at least so many in all */
};

/*
 * Reads the hello at the start of `wire`. `scratch` (HELLO_MAX_BYTES) is used
 * only when the hello is split over records, and then must live as long as
 * `out`. `out` is filled only for PARSE_OK. Limits are judged from announced
 * lengths: a hello that would not fit is refused before it has arrived. Never
 * allocates. A NOT_TLS verdict needs one byte.
 */
struct hello_result hello_parse(
    struct span wire, uint8_t *scratch, struct hello *out);

/* True for the first bytes of an HTTP request ("GET ", "POST", ...). */
bool hello_looks_like_http(struct span wire);

/* Walks a ProtocolNameList: the next name, or false at the end. */
bool hello_next_alpn(struct span *rest, struct span *name);

/* Walks a list of 16-bit values: the next one, or false at the end. */
bool hello_next_u16(struct span *rest, uint16_t *value);

/* Walks the extension block. */
bool hello_next_extension(struct span *rest, uint16_t *type, struct span *body);

/* RFC 8701: one of the 16 reserved values 0x?A?A with equal bytes. */
bool hello_is_grease(uint16_t value);

/*
 * Writes a small, valid TLS 1.2/1.3 ClientHello with this server name (empty:
 * none) and ALPN list: for the policy tester, for unit tests and seeds. Returns
 * the length, or 0 if it did not fit.
 */
size_t hello_build(uint8_t *out, size_t size, struct span server_name,
    const char *const alpn[], size_t alpn_count);

#endif

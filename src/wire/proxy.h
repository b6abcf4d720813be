/*
 * The PROXY protocol, versions 1 and 2, in both directions.
 *
 * Source: "The PROXY protocol", HAProxy project, doc/proxy-protocol.txt. A
 * receiver is told by configuration that a header comes and never guesses.
 * Anything that does not match exactly is refused: a header that was half
 * understood is worse than none.
 */
#ifndef WIRE_PROXY_H
#define WIRE_PROXY_H

#include "base/addr.h"

/* The largest header taken or made, in bytes. */
#define PROXY_MAX_BYTES 4096
#define PROXY_V1_MAX_BYTES 107

enum proxy_tlv {
	PROXY_TLV_ALPN = 0x01,
	PROXY_TLV_AUTHORITY = 0x02,
	PROXY_TLV_CRC32C = 0x03,
	PROXY_TLV_NOOP = 0x04,
	PROXY_TLV_UNIQUE_ID = 0x05,
	PROXY_TLV_SSL = 0x20,
	PROXY_TLV_NETNS = 0x30,
	PROXY_TLV_PRIVATE_FIRST = 0xE0,
	PROXY_TLV_PRIVATE_LAST = 0xEF,
};

struct proxy_header {
	uint8_t version; /* 1 or 2 */
	bool local; /* v2 LOCAL, v1 UNKNOWN, v2 UNSPEC: use the real peer */
	struct addr source,
	    destination;     /* ADDR_NONE or ADDR_UNIX: no address */
	struct span tlvs;    /* v2, checked: walk with proxy_next_tlv */
	size_t header_bytes; /* to consume from the stream, exactly */
};

/*
 * Reads a header at the start of `wire` in any of the versions of `accept` (bit
 * 1 << version). PARSE_MORE says through `needed` how many bytes there must be
 * at least to get further; PARSE_BAD says through `why` (a literal) what is
 * wrong. Spans point into `wire`. A CRC32C TLV is verified.
 */
enum parse proxy_parse(struct span wire, unsigned accept,
    struct proxy_header *out, size_t *needed, const char **why);

/* Walks the TLVs; false at the end. Only for spans that proxy_parse gave. */
bool proxy_next_tlv(struct span *rest, uint8_t *type, struct span *value);

/* A header being made. v2 TLVs are added between begin and finish. */
struct proxy_writer {
	uint8_t *data;
	size_t len, size;
	bool overflow;
};

/*
 * v1 in one call. Different or missing families give "PROXY UNKNOWN". Returns
 * the length; `out` has room for PROXY_V1_MAX_BYTES + 1.
 */
size_t proxy_write_v1(
    uint8_t *out, const struct addr *source, const struct addr *destination);

/* v2: LOCAL when `source` has no address; a family that differs between the two
 * makes both IPv6 (v4-mapped). */
void proxy_begin_v2(struct proxy_writer *w, uint8_t *out, size_t size,
    const struct addr *source, const struct addr *destination);
void proxy_add_tlv(struct proxy_writer *w, uint8_t type, struct span value);

/* Inside of the SSL TLV. */
enum proxy_ssl_tlv {
	PROXY_SSL_VERSION = 0x21,
	PROXY_SSL_COMMON_NAME = 0x22,
	PROXY_SSL_CIPHER = 0x23,
	PROXY_SSL_SIGNATURE_ALGORITHM = 0x24,
	PROXY_SSL_KEY_ALGORITHM = 0x25,
	PROXY_SSL_GROUP = 0x26,
	PROXY_SSL_SIGNATURE_SCHEME = 0x27,
	PROXY_SSL_CERTIFICATE = 0x28,
};

/* What the SSL TLV (0x20) tells of a connection whose TLS ended here; empty
 * spans are left out. The algorithms are those of our own certificate. */
struct proxy_ssl {
	bool client_certificate; /* the client gave one on this connection, or
				    in the session that it resumes */
	bool resumed;		 /* ... in the session */
	bool verified;		 /* ... and it was verified */
	struct span version, cipher, common_name, signature_algorithm,
	    key_algorithm, group, signature_scheme;
	struct span certificate; /* DER, sub-type 0x28 */
};

/* Without a verified certificate neither common name nor certificate are told:
 * a receiver may forget to look at what was verified. Section 2.2.6. */
void proxy_add_ssl(struct proxy_writer *w, const struct proxy_ssl *ssl);

/* Sets the length and, if asked, appends a CRC32C TLV. Returns the length of
 * the header or 0 if it is over `size` or 4,096 bytes. */
size_t proxy_finish_v2(struct proxy_writer *w, bool crc32c);

/* CRC-32C (Castagnoli), RFC 3720 appendix B.4. */
uint32_t crc32c(uint32_t crc, struct span s);

#endif

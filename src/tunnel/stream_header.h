/*
 * The header at the start of every stream that carries a client's connection
 * (type 3, edge to agent): a length of 8 bytes, little endian, and as many
 * bytes of JSON. Behind it come the PROXY header, if the endpoint was bound
 * with one, and the client's bytes.
 *
 * Sources: ngrok-go internal/tunnel/proto (ProxyHeader), ngrok-rust
 * internals/proto.rs.
 */
#ifndef TUNNEL_STREAM_HEADER_H
#define TUNNEL_STREAM_HEADER_H

#include "tunnel/message.h"

#define STREAM_PREFIX_BYTES 8		    /* the length */
#define STREAM_HEADER_MAX_BYTES (16 * 1024) /* of JSON */

/* EdgeType: an agent's endpoint, or a TLS edge's. */
#define STREAM_EDGE_AGENT "0"
#define STREAM_EDGE_TLS "2"

/* Owns its texts after reading, as messages do. */
struct stream_header {
	char *id;	      /* of the endpoint, as the agent bound it */
	char *client_addr;    /* "192.0.2.7:4711" */
	char *proto;	      /* "tls" */
	char *edge_type;      /* STREAM_EDGE_... */
	bool passthrough_tls; /* the client's own TLS follows */
	/* Lunette's agents only: the PROXY v2 header that OPEN would carry. */
	struct message_bytes open;
};

void stream_header_fini(struct stream_header *h);

/* The length and the JSON. As all x_write of messages; -EMSGSIZE if it is
 * larger than STREAM_HEADER_MAX_BYTES. */
int stream_header_write(
    const struct stream_header *h, struct span *out) MUST_CHECK;

/* Takes a header in whatever pieces it comes. All zero is a new one; one
 * thread. */
struct stream_header_reader {
	uint8_t prefix[STREAM_PREFIX_BYTES];
	size_t prefix_len;
	uint8_t *json;
	size_t json_len, wanted;
	bool done;
};

/*
 * Takes of `bytes` what belongs to the header: `*used` of them, never more.
 * PARSE_MORE: all were used. PARSE_OK: `out` is filled, what follows is not the
 * header's; not to be called again. PARSE_BAD: why is in `error`, and `out` is
 * empty; it may also be that there is no memory.
 */
enum parse stream_header_feed(struct stream_header_reader *r, struct span bytes,
    size_t *used, struct stream_header *out, struct text *error) MUST_CHECK;

void stream_header_reader_fini(struct stream_header_reader *r);

#endif

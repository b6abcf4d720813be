/*
 * The frames of the multiplexer (muxado) that runs inside of an agent's
 * session: 8 bytes, big endian, `length:24 type:4 flags:4 stream:32`, then
 * `length` bytes of payload.
 *
 * A DATA frame is known by its header alone, for its payload may be large and
 * is passed on as it comes; all others are small and are read whole. What is
 * wrong is told from the announced length, before it is waited for.
 *
 * Source: the protocol of ngrok's muxado library, in Go and in Rust.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "base/compiler.h"
#include "base/span.h"

#define FRAME_HEADER_BYTES 8
#define FRAME_MAX_LENGTH 0xffffffu
#define FRAME_MAX_STREAM 0x7fffffffu
#define FRAME_MAX_WINDOW 0x7fffffffu
/* A longer text in a GOAWAY is refused, and is cut when written. */
#define FRAME_MAX_TEXT_BYTES 4096
/* The largest frame that is not DATA. */
#define FRAME_MAX_CONTROL_BYTES (FRAME_HEADER_BYTES + 8 + FRAME_MAX_TEXT_BYTES)

enum frame_type { FRAME_RST, FRAME_DATA, FRAME_WNDINC, FRAME_GOAWAY };

/* Of DATA; other bits are ignored, and all of them in other frames. */
enum frame_flag { FRAME_FIN = 1, FRAME_SYN = 2 };

/* Why a stream is reset, or a session ended. Others may come. */
enum frame_error {
	FRAME_ERROR_NONE = 0,
	FRAME_ERROR_PROTOCOL = 1,
	FRAME_ERROR_INTERNAL = 2,
	FRAME_ERROR_FLOW_CONTROL = 3,
	FRAME_ERROR_STREAM_CLOSED = 4,
	FRAME_ERROR_STREAM_REFUSED = 5,
	FRAME_ERROR_CANCEL = 6,
	FRAME_ERROR_FRAME_SIZE = 7,
	FRAME_ERROR_TRANSPORT = 8, /* the session is gone */
	FRAME_ERROR_ACCEPT_QUEUE = 9,
	FRAME_ERROR_LIMIT = 10, /* muxado: enhance your calm */
	/* To a Lunette agent or edge only: 1 to 9, as in an ANSWER, above it.
	 */
	FRAME_ERROR_REFUSAL = 0x100,
};

struct frame {
	enum frame_type type;
	uint8_t flags;	      /* of DATA: enum frame_flag */
	uint32_t stream;      /* 1 to FRAME_MAX_STREAM; 0 for GOAWAY */
	uint32_t length;      /* of the payload */
	uint32_t error;	      /* RST, GOAWAY */
	uint32_t increment;   /* WNDINC: up to FRAME_MAX_WINDOW; may be 0 */
	uint32_t last_stream; /* GOAWAY: the last one that was looked at */
	struct span text;     /* GOAWAY: points into the wire */
	size_t bytes;	      /* to consume: for DATA the header alone */
};

/*
 * Reads the frame at the start of `wire`. PARSE_MORE says through `needed` how
 * many bytes there must be at least to get further, never more than
 * FRAME_MAX_CONTROL_BYTES; PARSE_BAD through `why` (a literal) what is wrong:
 * an unknown type, a stream of 0 or with its top bit set, a length that is
 * wrong for its type, an increment with its top bit set.
 */
enum parse frame_parse(struct span wire, struct frame *out, size_t *needed,
    const char **why) MUST_CHECK;

/* Each writes one frame and returns its length; `out` has room for it. */
size_t frame_write_data(
    uint8_t *out, uint32_t stream, size_t length, unsigned flags);
size_t frame_write_rst(uint8_t *out, uint32_t stream, uint32_t error);
size_t frame_write_wndinc(uint8_t *out, uint32_t stream, uint32_t increment);
size_t frame_write_goaway(
    uint8_t *out, uint32_t last_stream, uint32_t error, struct span text);

#endif

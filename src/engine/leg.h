/*
 * A leg: one side of a connection, the client's or the upstream's.
 *
 * Readiness is remembered here: the loop sets `readable` and `writable`, an
 * operation that meets EAGAIN clears them. Bytes that were read from the other
 * leg and that this one has not taken yet wait in its `pending` buffer, its
 * `pipe` or its TLS stream; they are held only while there are such bytes. A
 * leg whose TLS ends here reads and writes plaintext through its stream, with
 * the same operations. The worker's thread only.
 */
#ifndef ENGINE_LEG_H
#define ENGINE_LEG_H

#include "base/compiler.h"
#include "base/span.h"
#include "sys/bridge.h"
#include "sys/loop.h"
#include "sys/pipes.h"
#include "tls/stream.h"

struct conn;

struct leg_buffer {
	size_t start, end; /* what is left: data[start] to data[end - 1] */
	uint8_t data[];
};

struct leg {
	struct watch watch; /* first: the loop hands it back */
	bool readable : 1;
	bool writable : 1;
	bool hung_up : 1;   /* the peer has sent FIN; it may not be read yet */
	bool ending : 1;    /* its FIN was announced, and no error */
	bool more : 1;	    /* see leg_expect_more */
	bool broken : 1;    /* the loop has told of an error */
	bool urgent : 1;    /* urgent data came: a short read tells nothing */
	bool eof : 1;	    /* everything was read */
	bool shut : 1;	    /* our FIN is sent */
	bool reset : 1;	    /* an operation met the peer's reset */
	bool failed : 1;    /* reading has ended with it: all before was read */
	bool abandoned : 1; /* it is not read any more, though it may send */
	bool congested : 1; /* it did not take all of the last write */
	bool secured : 1;   /* the handshake of its TLS is done */
	bool truncated : 1; /* its TLS ended without close_notify */
	bool fin_due : 1;   /* our FIN follows what its TLS holds */
	bool strict : 1;    /* an end without close_notify counts as a reset */
	union {
		uint32_t streak_bytes; /* moved to it lately in large reads */
		uint32_t unsent_bytes; /* plaintext that its TLS holds */
	};
	struct tls_stream *tls; /* owned; NULL: plain */
	struct bridge
	    *bridge; /* counted; the far side is a stream's; or NULL */
	struct leg_buffer *pending;
	struct pipe *pipe;
	uint64_t taken_bytes;
};

/* A leg without a descriptor. */
void leg_init(struct leg *l);
bool leg_is_open(const struct leg *l);

/* Takes the descriptor and puts it into the loop. 0 or -errno (the descriptor
 * is closed then). */
int leg_open(struct leg *l, struct loop *loop, int fd,
    void (*on_ready)(struct watch *, uint32_t)) MUST_CHECK;

/* The descriptor is the outer end of a bridge, over which resets are passed.
 * Takes a reference. */
void leg_cross(struct leg *l, struct bridge *b);

/* Takes the descriptor out of the loop and gives it away. */
int leg_release(struct leg *l, struct loop *loop) MUST_CHECK;

/* Notes what epoll said. */
void leg_note(struct leg *l, uint32_t events);

/* Gives the leg its TLS, whose handshake comes next. Takes the stream. */
void leg_secure(struct leg *l, struct tls_stream *tls);

/* A step of the handshake: IO_OK when it is done. */
enum io leg_handshake(struct leg *l);

/* Clears `readable` when the socket is empty for now. IO_ERROR sets `reset`
 * and `failed`; of TLS that was broken tls_failure tells more. */
enum io leg_read(struct leg *l, void *buffer, size_t size, size_t *count);

/* Reads and forgets what came over the wire: IO_OK if there may be more. */
enum io leg_discard(struct leg *l, void *buffer, size_t size);

/* Writes what the socket takes; clears `writable` when it took less. A TLS
 * stream takes all and holds what the socket did not: IO_OK. */
enum io leg_write(struct leg *l, struct span bytes, size_t *count);

/* Behind the next writes comes more at once, or our FIN: they may share a
 * segment. */
void leg_expect_more(struct leg *l, bool more);

/* Writes words of our own, which do not count as taken; what does not fit is
 * lost, and they fit: nothing was written before them. */
enum io leg_say(struct leg *l, struct span words);

/* Writes the rest of an earlier write, from the buffer, the pipe or the TLS
 * stream. IO_OK: none is left. */
enum io leg_flush(struct leg *l, struct pipes *pipes);
bool leg_has_pending(const struct leg *l);

/* Keeps bytes for later. False without memory. */
bool leg_keep(struct leg *l, struct span rest) MUST_CHECK;

/* Forgets what is pending. */
void leg_drop_pending(struct leg *l, struct pipes *pipes);

/* Ends our direction: close_notify where there is TLS, and a FIN. */
void leg_shut(struct leg *l);

/* Ends it with the FIN alone: the peer's TLS sees that something is missing. */
void leg_cut(struct leg *l);

/* Closes the descriptor, with a FIN or with a reset, and forgets all that was
 * known of it. Harmless when closed; nothing may be pending. */
void leg_close(struct leg *l);
void leg_abort(struct leg *l);

#endif

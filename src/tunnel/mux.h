/*
 * The multiplexer: many streams in one session, after muxado. A state machine
 * without descriptors: its owner feeds it what came, and lets it fill a buffer
 * with what is to be sent.
 *
 * A stream is opened by either side; each direction has a window and ends by a
 * FIN, a reset ends both. What came for a stream is kept until its owner takes
 * it, and only then the peer may send more; so one that does not take holds up
 * nobody else. What is to be sent stays with its owner, who asks for room
 * (mux_want) and is called (on_room) when it is his stream's turn: streams take
 * turns, and the bytes go straight to where they are sent from.
 *
 * Callbacks come from mux_feed, mux_fill and mux_free only. They may call
 * anything here but those three, for any stream.
 *
 * One thread. No function blocks; what cannot be kept for want of memory ends
 * its stream, never more.
 */
#ifndef TUNNEL_MUX_H
#define TUNNEL_MUX_H

#include "base/compiler.h"
#include "base/span.h"
#include "wire/frame.h"

#define MUX_WINDOW_BYTES (256 * 1024) /* at the start, each direction */
#define MUX_MAX_WINDOW_BYTES (4 * 1024 * 1024)
#define MUX_MAX_UNREAD_BYTES (64 * 1024 * 1024)
#define MUX_MAX_STREAMS 1024
#define MUX_FILL_MIN_BYTES (8 * 1024)  /* of the buffer for mux_fill */
#define MUX_MAX_DATA_BYTES (64 * 1024) /* in one frame that is sent */

struct mux;
struct mux_stream;

/* Room in a frame, for its stream's owner to fill. */
struct mux_room {
	uint8_t *data;
	size_t size; /* at least 1 */
	size_t used; /* to be set: how much was filled in */
	/* To be set: call again, there may be more; with nothing used once the
	 * window has grown. */
	bool more;
	bool fin; /* to be set: this was the last, the direction ends */
	/* To be set with `fin`: the owner is done, as by mux_release behind
	 * the frame. */
	bool leave;
};

/* What a stream's owner is told. Any may be NULL. */
struct mux_stream_calls {
	/* Bytes or the FIN have come: mux_peek, mux_at_end. Once for all that
	 * came together; what is left alone is not told again. */
	void (*on_readable)(struct mux_stream *s);
	/* It is the stream's turn, after mux_want. */
	void (*on_room)(struct mux_stream *s, struct mux_room *room);
	/*
	 * The stream is gone: reset by the peer (what came before is read
	 * first), for a broken limit or want of memory, or the session has
	 * ended (FRAME_ERROR_TRANSPORT). `s` is freed when this returns.
	 */
	void (*on_reset)(struct mux_stream *s, uint32_t error);
};

struct mux_settings {
	bool is_agent;		 /* its own streams have odd ids, from 3 on */
	unsigned max_streams;	 /* open at once, of both sides; 0: the most */
	size_t max_unread_bytes; /* in all streams; 0: the most */
	/* The peer has opened a stream: own it. One that has no owner when this
	 * returns is reset. */
	void (*on_open)(struct mux *m, struct mux_stream *s);
	/* The peer takes no new streams; those above its last one are reset. */
	void (*on_go_away)(struct mux *m, uint32_t error, struct span text);
	/* There is something to be sent, and was not before. May come from any
	 * function here. */
	void (*on_output)(struct mux *m);
	void *owner;
};

struct mux *mux_new(const struct mux_settings *settings); /* NULL: no memory */
/* Resets all streams towards their owners first; says nothing to the peer. Not
 * from within a callback. */
void mux_free(struct mux *m);
void *mux_owner(const struct mux *m);

/* Changes both limits; streams that are open stay. */
void mux_set_limits(
    struct mux *m, unsigned max_streams, size_t max_unread_bytes);

/*
 * Says FIN before each RST of a stream of ours: ngrok's agents pass an RST on
 * to nobody, and would leave what stands behind them open for ever.
 */
void mux_finish_before_reset(struct mux *m);

/* The round trip as measured, in milliseconds: a window that is used up in
 * about that time is enlarged. */
void mux_set_round_trip(struct mux *m, uint64_t ms);

/*
 * Takes what came from the peer, all of it. 0; or -EPROTO, -ENOBUFS (the peer
 * provokes answers and takes none) or -ENOMEM: the session must end, mux_fault
 * says why, mux_fill still gives the GOAWAY that tells the peer, and later
 * calls give the same.
 */
int mux_feed(struct mux *m, struct span bytes) MUST_CHECK;
const char *mux_fault(const struct mux *m); /* a literal, or NULL */

/* False while so many answers wait to be sent that no more should be read. */
bool mux_has_room(const struct mux *m);

/* Puts frames into `buffer` (at least MUX_FILL_MIN_BYTES) as long as there are
 * any and they fit; how many bytes. 0: nothing is to be sent now. */
size_t mux_fill(struct mux *m, uint8_t *buffer, size_t size);
bool mux_has_output(const struct mux *m);

/* Takes no new streams of the peer any more, and tells it so; those that are
 * open go on. `text` is lent until mux_free. ngrok's agents in Rust drop all
 * streams when they are told. */
void mux_go_away(struct mux *m, enum frame_error error, const char *text);
bool mux_may_open(const struct mux *m); /* the peer takes streams, in limits */

/* Gives back spare memory, for an idle session. */
void mux_trim(struct mux *m);

struct mux_counters {
	uint64_t opened_count;	    /* by both sides, so far */
	uint64_t peer_count;	    /* by the peer */
	uint64_t refused_count;	    /* of the peer's, for a limit */
	uint64_t limit_reset_count; /* for the limit of unread bytes */
	unsigned open_count;	    /* now */
	size_t unread_bytes;	    /* now */
};

struct mux_counters mux_counters(const struct mux *m);

/*
 * Opens a stream that begins with `type`, 32 bits big endian; nothing is sent
 * before mux_want. NULL without memory, at the limit, or after the peer's
 * GOAWAY.
 */
struct mux_stream *mux_open(struct mux *m, uint32_t type,
    const struct mux_stream_calls *calls, void *owner);

/* The open stream of this id, or NULL. */
struct mux_stream *mux_find(const struct mux *m, uint32_t id);

/* Gives the stream (another) owner. What has come already is not told again. */
void mux_own(
    struct mux_stream *s, const struct mux_stream_calls *calls, void *owner);
const struct mux_stream_calls *mux_calls(const struct mux_stream *s);
void *mux_stream_owner(const struct mux_stream *s);
struct mux *mux_of(const struct mux_stream *s);
/* Its id; 0 for one of ours of which nothing was sent yet. */
uint32_t mux_stream_id(const struct mux_stream *s);

/* The first bytes that came and were not taken, as far as they lie together;
 * they stay until mux_take. Empty: none. */
struct span mux_peek(const struct mux_stream *s);
/* The same in up to `max` pieces; how many. */
size_t mux_peek_many(
    const struct mux_stream *s, struct span *pieces, size_t max);
size_t mux_unread_bytes(const struct mux_stream *s);
/* They are done with: the peer may send as many more. */
void mux_take(struct mux_stream *s, size_t count, uint64_t now_ms);
/* The peer's FIN came, and all before it was taken. */
bool mux_at_end(const struct mux_stream *s);

/* Asks to be called by on_room when there is room and window; once for each
 * time, harmless if asked already or after the direction's end. */
void mux_want(struct mux_stream *s);
/* How much the peer lets us send now. */
size_t mux_window_bytes(const struct mux_stream *s);
/* Our direction ended: the FIN is sent, or about to be. */
bool mux_is_finished(const struct mux_stream *s);

/* Both end the owner's part, without a call to him; `s` is freed. */
void mux_reset(struct mux_stream *s, uint32_t error); /* says RST */
/*
 * Leaves quietly: if our direction is not ended by a FIN, as mux_reset with
 * FRAME_ERROR_CANCEL; else what still comes, at most a window, is dropped until
 * the peer's FIN. Of many that wait for that the oldest is reset.
 */
void mux_release(struct mux_stream *s);

#endif

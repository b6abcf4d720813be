/*
 * A session: one agent's connection to one edge, seen from either end: TLS over
 * a socket, the multiplexer inside of it, heartbeats, and requests with their
 * responses.
 *
 * Every stream begins with its type, 32 bits big endian. Those of type 3 are
 * raw (session_open_stream at the edge, on_stream at the agent, then
 * tunnel/pump.h); the heartbeat's are the session's own business; all others
 * carry one request in JSON and its response in JSON. What the JSON says is
 * nothing that is known here.
 *
 * Life: session_new with a connected socket and a TLS stream that has not
 * shaken hands; on_open once it has; on_end exactly once, whatever happens,
 * from the timeouts of the loop's thread, never from within a call. After that
 * the pointer is not to be used. All of a thread's sessions share a host. One
 * thread; no function blocks.
 */
#ifndef TUNNEL_SESSION_H
#define TUNNEL_SESSION_H

#include "base/list.h"
#include "sys/loop.h"
#include "sys/timeouts.h"
#include "tls/stream.h"
#include "tunnel/mux.h"

#define SESSION_PROXY_TYPE 3u
#define SESSION_HEARTBEAT_TYPE 0xffffffffu

/* A request, or a response. */
#define SESSION_MAX_JSON_BYTES (1024 * 1024)
/* All of the peer's requests that are not yet complete, and all before the
 * session is admitted. */
#define SESSION_MAX_PENDING_BYTES (8 * 1024 * 1024)
#define SESSION_STRANGER_BYTES (64 * 1024)
#define SESSION_STRANGER_STREAMS 16
/* ngrok's agents in Rust end their session at more than 512 streams. */
#define SESSION_SDK_STREAMS 480

/*
 * What all sessions of one thread share. The owner runs the timeouts after each
 * turn of the loop, outside of its batch: there the work of a turn is sent
 * together, and what has ended is freed.
 */
struct session_host {
	struct loop *loop;
	struct timeouts *timeouts;
	uint8_t *buffer; /* lent; used within calls, never across a callback */
	size_t buffer_size;
	struct list sessions; /* all, also those that only linger */
	unsigned count;	      /* of those whose on_end did not come yet */
	struct list dead;     /* memory to be freed after the turn */
	struct timeout sweep;
};

#define SESSION_BUFFER_BYTES (256 * 1024) /* at least, of the host */

/* At the start of what is freed once the turn is over, since the loop's batch
 * may still point into it. */
struct session_dead {
	struct list node;
	void (*on_sweep)(struct session_dead *d); /* before; NULL: nothing */
};

void session_bury(struct session_host *h, struct session_dead *d);

void session_host_init(struct session_host *h, struct loop *loop,
    struct timeouts *timeouts, uint8_t *buffer, size_t size);
/* Ends all sessions at once (SESSION_END_STOPPED), on_end included. Not from a
 * callback. */
void session_host_fini(struct session_host *h);

/* Why a session ended, and the word for logs and events. */
#define SESSION_END_TABLE(X)                                              \
	X(NONE, "none")                                                   \
	X(CLOSED, "closed")		 /* session_close */              \
	X(PEER_CLOSED, "peer_closed")	 /* close_notify or a FIN */      \
	X(RESET, "reset")		 /* the connection broke */       \
	X(HANDSHAKE, "handshake_failed") /* session_tls says why */       \
	X(HANDSHAKE_TIMEOUT, "handshake_timeout")                         \
	X(ADMISSION_TIMEOUT, "auth_timeout") /* session_admit */          \
	X(HEARTBEAT, "heartbeat_timeout")    /* no answer in time */      \
	X(PROTOCOL, "protocol_error")	     /* frames that may not be */ \
	X(OVERLOAD, "overload") /* provokes answers and takes none */     \
	X(NO_MEMORY, "no_memory")                                         \
	X(STOPPED, "stopped") /* session_host_fini */

enum session_end {
#define X(name, word) SESSION_END_##name,
	SESSION_END_TABLE(X)
#undef X
};

const char *session_end_word(enum session_end end);

/* It ended without the peer's word: the path may be dead, and other connections
 * over it as well. */
bool session_fell_silent(enum session_end end);

struct session;

struct session_calls {
	/* The handshake is done: session_tls for its facts. */
	void (*on_open)(struct session *s);
	/*
	 * A request of the peer's has come whole: one JSON value, checked for
	 * its braces only, lent for the call. To be answered by session_answer
	 * or session_refuse with the `id`, now or later. NULL: all are refused.
	 */
	void (*on_request)(
	    struct session *s, uint32_t type, uint32_t id, struct span json);
	/* A stream of type 3 has come, its type taken already: own it (mux_own)
	 * or reset it. Look at mux_peek at once: what is there already is not
	 * told again. NULL, as at the edge: they are refused. */
	void (*on_stream)(struct session *s, struct mux_stream *stream);
	/* The peer takes no new streams. NULL: nothing is done. */
	void (*on_go_away)(struct session *s, uint32_t error, struct span text);
	/* The session is over; its streams and requests were told before.
	 * `detail` says more, or is ""; lent for the call. */
	void (*on_end)(
	    struct session *s, enum session_end end, const char *detail);
};

struct session_settings {
	bool is_agent;
	/* The peer is known already, as the edge is to an agent: no limits for
	 * strangers. Else session_admit lifts them. */
	bool admitted;
	uint64_t handshake_ms; /* 0: 10 s */
	uint64_t admission_ms; /* from then to session_admit; 0: 10 s */
	uint64_t heartbeat_interval_ms;	 /* 0: 10 s */
	uint64_t heartbeat_tolerance_ms; /* 0: 15 s */
	uint64_t request_ms;  /* for a request to come whole; 0: 10 s */
	uint64_t response_ms; /* for a response to ours; 0: 15 s */
	const struct session_calls *calls; /* lent, outlives the session */
	void *owner;
};

/* Takes the socket and the stream, also when it fails. NULL without memory. */
struct session *session_new(struct session_host *h, int fd,
    struct tls_stream *tls, const struct session_settings *settings);

void *session_owner(const struct session *s);
struct session_host *session_host(const struct session *s);
/* Lives until on_end has returned. */
struct tls_stream *session_tls(const struct session *s);
/* NULL in on_end. */
struct mux *session_mux(const struct session *s);
bool session_is_open(const struct session *s); /* shaken hands, not ended */
/* ALPN lunette/1 was agreed on. */
bool session_is_lunette(const struct session *s);

/* The peer has proved who it is. */
void session_admit(struct session *s);
/* Other times for heartbeats, from the next one on. */
void session_set_heartbeat(
    struct session *s, uint64_t interval_ms, uint64_t tolerance_ms);

/* The response and FIN, or a reset, to the request with this id; harmless if
 * that is gone. `json` is copied. */
void session_answer(struct session *s, uint32_t id, struct span json);
void session_refuse(struct session *s, uint32_t id, uint32_t error);

enum session_reply {
	SESSION_REPLY_OK,    /* `json` is the response, perhaps empty */
	SESSION_REPLY_RESET, /* refused by the peer, or too large */
	SESSION_REPLY_TIMEOUT,
	SESSION_REPLY_ENDED, /* the session is over */
	SESSION_REPLY_NO_MEMORY,
};

typedef void session_on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json);

/*
 * Sends a request and FIN. 0, and `on_reply` comes exactly once, never from
 * within this call; or -ENOTCONN (not open, or ended), -EAGAIN (too many
 * streams), -ENOMEM, and it does not come.
 */
int session_request(struct session *s, uint32_t type, struct span json,
    session_on_reply *on_reply, void *owner) MUST_CHECK;

/* A raw stream that begins with `type` (for the edge: SESSION_PROXY_TYPE). It
 * has no owner yet: give it one at once. NULL: not open, too many, no memory.
 */
struct mux_stream *session_open_stream(struct session *s, uint32_t type);

/* Takes no new streams any more and tells the peer; see mux_go_away. */
void session_go_away(struct session *s, const char *text);

/*
 * Ends it: on_end comes with SESSION_END_CLOSED and a copy of `detail`, in this
 * turn of the loop or the next. What was written, answers too, and a GOAWAY
 * with `detail` are still sent, for a second at most. Harmless if it has ended.
 */
void session_close(struct session *s, const char *detail);

struct session_counters {
	uint64_t bytes_in, bytes_out; /* inside of TLS, frame headers too */
	uint64_t streams_total;
	unsigned streams_open;
	int64_t latency_us; /* of the last heartbeat; -1: none yet */
};

struct session_counters session_counters(const struct session *s);

#endif

/*
 * What the parts of a session share: session.c (its life and its transport),
 * session_asked.c (the peer's streams and requests), session_ask.c (our
 * requests), session_beat.c (heartbeats).
 */
#ifndef TUNNEL_SESSION_PRIVATE_H
#define TUNNEL_SESSION_PRIVATE_H

#include "tunnel/session.h"

#define SESSION_DETAIL_SIZE 160

enum session_phase {
	SESSION_SHAKES,
	SESSION_OPEN,
	SESSION_ENDS,	 /* on_end is due */
	SESSION_LINGERS, /* only the socket is left: the last bytes */
};

struct session {
	struct session_dead dead;
	struct list node; /* of the host */
	struct session_host *host;
	struct watch watch;
	struct tls_stream *tls;
	struct mux *mux;
	struct session_settings settings;
	enum session_phase phase;
	bool readable, writable, hung_up, urgent;
	bool opened, is_lunette, shut;
	struct timeout soon; /* there is work to do at the end of this turn */
	struct timeout deadline; /* of the phase */
	enum session_end end;
	char detail[SESSION_DETAIL_SIZE];
	uint64_t bytes_in, bytes_out, streams_total;

	/* The peer's requests that are not whole, and ours. */
	size_t pending_bytes;

	/* Our heartbeat. */
	struct mux_stream *beat_stream;
	struct timeout beat; /* the next one is due, or an answer is overdue */
	uint8_t beat_sent[4];
	bool beat_due, beat_waits;
	unsigned beat_excuses;
	uint64_t beat_at_ms, answer_at_ms;
	uint64_t beat_bytes_in; /* as they were when it was sent */
	int64_t beat_at_us, latency_us, round_trip_us;
};

/* session.c */
/* Ends it at the end of the turn, for a reason of its own. */
void session_fail(struct session *s, enum session_end end, const char *detail);
/* In milliseconds from now. */
void session_set_timeout(struct session *s, struct timeout *t, uint64_t ms);

/* There is something to do for it at the end of the turn. */
void session_schedule(struct session_host *h, struct timeout *t);
/* Writes the next batch of frames, of up to `size` bytes; false: nothing is
 * left, or not all was taken. */
bool session_write(struct session *s, size_t size);
size_t session_batch_size(const struct session *s);

/* session_end.c: each may free `s`. */
void session_finish(struct session *s); /* all are told, on_end too */
void session_linger(struct session *s);
void session_destroy(struct session *s);

/* session_asked.c: the peer has opened a stream. */
void session_on_stream(struct mux *m, struct mux_stream *stream);

/* session_beat.c */
void session_start_beat(struct session *s);
void session_stop_beat(struct session *s);
/* The peer's heartbeat stream: gives back what it brings. */
void session_echo(struct mux_stream *stream);

#endif

/*
 * What the parts of the multiplexer share: mux.c (streams and their lives),
 * mux_input.c (what comes), mux_output.c (what is sent), mux_window.c (bytes
 * that wait to be read).
 */
#ifndef TUNNEL_MUX_PRIVATE_H
#define TUNNEL_MUX_PRIVATE_H

#include "base/list.h"
#include "tunnel/mux.h"

#define MUX_FIRST_BUCKETS 16
#define MUX_FEW_RSTS 16
#define MUX_SMALL_FRAME_BYTES 16
/* A peer's streams may be opened a little out of order: see note_syn. */
#define MUX_DISORDER 64

/* Bytes that came, of one stream. */
struct mux_chunk {
	struct mux_chunk *next;
	uint32_t start, end;
	uint8_t data[];
};

struct mux_stream {
	struct mux *mux;
	struct mux_stream *same_bucket;
	struct list all;   /* of the mux */
	struct list news;  /* something is to be told to the owner */
	struct list turn;  /* waits for its turn to send */
	struct list grant; /* waits to send a WNDINC, or nobody's: orphans */
	const struct mux_stream_calls *calls;
	void *owner;

	uint32_t id;	/* 0: of ours, nothing was sent */
	uint32_t type;	/* of ours: goes first */
	uint32_t error; /* if `dead` */
	bool is_peers;
	bool told_open;
	bool counted; /* in open_count */
	bool fresh;   /* what came was not told */
	bool fin_received, fin_sent;
	bool dead;   /* reset by one side: nothing is sent any more */
	bool orphan; /* nobody's: waits for the peer's FIN */
	bool ending; /* its owner is being told of the end */
	bool wants;

	uint32_t send_window;  /* how much the peer takes */
	uint32_t recv_window;  /* how much the peer may still send */
	uint32_t window_bytes; /* what recv_window is when nothing is unread */
	uint32_t credit;       /* was taken, is not yet granted */
	uint32_t measured_bytes; /* taken since ... */
	uint64_t measured_since_ms;
	size_t unread_bytes;
	struct mux_chunk *first, *last;
};

/* An RST that waits to be sent. */
struct mux_rst {
	uint32_t id, error;
};

struct mux {
	struct mux_settings settings;
	struct list all, news, turns, grants, orphans;
	unsigned open_count, orphan_count;
	struct mux_stream *current; /* the one whose owner is called just now */
	bool busy;		    /* within feed, fill or free */
	bool output_noted;

	/* By id: a chained table that grows. */
	struct mux_stream **buckets, *first_buckets[MUX_FIRST_BUCKETS];
	unsigned bucket_bits;
	uint32_t hash_factor;

	/* Ids. Bit n of `peer_ids`: the peer's id last_peer_id - 2 n is used */
	uint32_t next_id, last_peer_id;
	uint64_t peer_ids;

	/* Input: the part of a frame that is not whole, the DATA frame whose
	 * payload comes, and where it goes to. */
	uint8_t small_frame[MUX_SMALL_FRAME_BYTES], *partial;
	size_t partial_len;
	uint32_t payload_left;
	bool payload_fin;
	struct mux_stream *payload_stream; /* NULL: it is dropped */
	unsigned abuse_count, go_away_count;
	int error; /* -errno, once the session must end */
	const char *fault;

	/* Memory. */
	struct mux_chunk *spare;
	unsigned spare_count;
	size_t unread_bytes, enlarged_bytes;
	uint64_t round_trip_ms;

	/* Output. */
	struct mux_rst *rsts, few_rsts[MUX_FEW_RSTS];
	unsigned rst_first, rst_count, rst_size;
	bool peer_gone, gone; /* GOAWAY: received, sent or due */
	bool go_away_due;
	bool fins_before_rsts;
	uint32_t go_away_error; /* ours; or the peer's, to be told */
	const char *go_away_text;
	bool peer_gone_news;
	uint32_t peer_gone_error;
	char *peer_gone_text;
	size_t peer_gone_len;

	uint64_t opened_count, peer_count, refused_count, limit_reset_count;
};

/* mux.c */
struct mux_stream *mux_stream_new(struct mux *m);
void mux_insert(struct mux *m, struct mux_stream *s, uint32_t id);
void mux_stream_free(struct mux_stream *s);
/* It is over, but for its owner to be told. */
void mux_uncount(struct mux_stream *s);
/* The session must end. */
void mux_fail(struct mux *m, int error, const char *fault);
/* Ends a stream for a reason of ours: RST to the peer, news to the owner. */
void mux_kill(struct mux_stream *s, uint32_t error);
/* Nothing more is sent on it; its owner hears of it once all is read. */
void mux_mark_dead(struct mux_stream *s, uint32_t error);
void mux_add_news(struct mux_stream *s);
void mux_note_output(struct mux *m);
/* Tells owners what is new. */
void mux_deliver(struct mux *m);

/* mux_output.c */
void mux_add_rst(struct mux *m, uint32_t id, uint32_t error);
void mux_free_rsts(struct mux *m);

/* mux_window.c */
/* False without memory. */
bool mux_append(struct mux_stream *s, struct span bytes);
void mux_drop_unread(struct mux_stream *s);
/* Over the limit of all: the one that holds most is killed. */
void mux_enforce_limit(struct mux *m);
void mux_free_spare(struct mux *m);

#endif

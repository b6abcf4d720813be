/*
 * Two multiplexers back to back, and streams at both that count and check what
 * they get: for tests. All streams send and expect the same endless pattern,
 * each from its beginning. One thread.
 */
#ifndef TESTS_MUX_BENCH_H
#define TESTS_MUX_BENCH_H

#include "base/list.h"
#include "tunnel/mux.h"

#define BENCH_ENDS 2200

/* A stream as its owner sees it. */
struct end {
	struct mux_stream *stream; /* NULL: gone */
	struct side *side;
	struct list node;
	uint32_t type; /* of the peer's: the first four bytes that came */
	size_t type_len;
	size_t to_send, sent;
	bool send_fin; /* behind the last byte */
	bool stalled;  /* takes nothing */
	bool echoes;   /* sends as much as it got, FIN for FIN */
	size_t received;
	bool at_end, was_reset;
	uint32_t error;
	unsigned turns;
};

struct side {
	struct mux *mux;
	struct list ends;
	struct end *last; /* that the peer opened */
	unsigned opened_count, output_count, gone_count;
	uint32_t gone_error;
	char gone_text[64];
	/* What new ends of the peer's are like. */
	bool stall, echo, refuse;
	bool nameless;	/* nobody looks after them */
	bool any_bytes; /* the pattern is not looked for */
	bool may_fail;	/* mux_feed, which ends the conversation */
	struct end room[BENCH_ENDS];
	unsigned end_count;
};

struct pair {
	struct side agent, edge;
	size_t max_piece; /* of what is moved at once; 0: all */
};

extern uint64_t bench_now_ms;

void side_init(struct side *s, bool is_agent);
void side_fini(struct side *s);
struct end *side_open(struct side *s, uint32_t type, size_t to_send, bool fin);
struct mux_settings side_settings(struct side *s, bool is_agent);

void end_take(struct end *e, size_t max); /* as much as there is, up to max */
void end_reset(struct end *e, uint32_t error);
void end_release(struct end *e);

void pair_init(struct pair *p);
void pair_fini(struct pair *p);
/* Moves what there is from one to the other; how many bytes. */
size_t pair_move(struct pair *p, struct side *from, struct side *to);
/* To and fro until nothing moves. */
void pair_settle(struct pair *p);

/* What a side sends, fed to nobody; the span lives until the next call. */
struct span side_output(struct side *s);

#endif

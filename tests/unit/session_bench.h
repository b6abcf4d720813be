/*
 * An agent's and an edge's session at the two ends of a socket pair, in one
 * loop, with TLS and a clock that only the test moves; or the edge's alone, and
 * frames by hand at the other end. One thread.
 *
 * The program is linked with --wrap=clock_ms and --wrap=clock_us.
 */
#ifndef TESTS_SESSION_BENCH_H
#define TESTS_SESSION_BENCH_H

#include "bytes.h"
#include "tls_scene.h"
#include "tunnel/session.h"

/* One end, and what it was told. */
struct bench_end {
	struct session *s; /* NULL: on_end came */
	struct session_settings settings;
	unsigned open_count, request_count, reply_count, end_count;
	uint32_t type, id;  /* of the last request */
	struct bytes json;  /* of the last request, or response */
	const char *answer; /* what requests are answered; NULL: nothing */
	enum session_reply reply;
	enum session_end end;
	char detail[200];
	struct mux_stream *stream; /* the last of type 3 */
	unsigned stream_count;
	bool leaves_streams; /* they get no owner */
	uint32_t gone_error;
	char gone_text[64];
	struct session_counters counters; /* at the end */
	/* In which call the session is closed: "open", "request"... */
	const char *closes_in;
	void (*on_stream)(struct session *s, struct mux_stream *stream);
};

struct bench {
	struct scene scene;
	struct loop loop;
	struct timeouts timeouts;
	struct session_host host;
	struct bench_end agent, edge;
	struct bytes heard; /* by hand: what came and was not looked at */
};

extern struct bench bench;
extern uint64_t bench_now_us;

void bench_open(void); /* ALPN lunette/1, both admitted */
void bench_close(void);

void bench_meet(void);	/* two sessions, not yet shaken hands */
void bench_greet(void); /* that have */
/* The edge's session and a stream that is handled by hand. */
void bench_meet_raw(void);
void bench_greet_raw(void);

void bench_turn(void);
void bench_settle(void); /* until nothing is left to do */
void bench_pass(uint64_t ms);

/* By hand, at the agent's end. */
void raw_say(struct span bytes);
void raw_data(uint32_t stream, unsigned flags, struct span payload);
void raw_rst(uint32_t stream, uint32_t error);
/* The next frame that came; its payload, if it is DATA, in `payload`. False:
 * there is none. */
bool raw_hear(struct frame *f, struct span *payload);
/* The next frame that is not a WNDINC must be DATA with this. */
void raw_expect(uint32_t stream, unsigned flags, struct span payload);
void raw_expect_rst(uint32_t stream, uint32_t error);
void raw_expect_nothing(void);
/* Closes the socket. */
void raw_cut(void);

#endif

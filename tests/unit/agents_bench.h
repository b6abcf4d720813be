/*
 * An edge in this process that takes agents, and agents that the test plays: a
 * session each, in the test's own thread and loop, whose messages the test
 * says one by one. What is waited for has PATIENCE_MS to happen.
 */
#ifndef TESTS_AGENTS_BENCH_H
#define TESTS_AGENTS_BENCH_H

#include "engine_bench.h"
#include "tls/data_keys.h"
#include "tls_support.h"
#include "tunnel/edge_host.h"
#include "tunnel/message.h"
#include "tunnel/session.h"

/* Tokens: "one" may bind everything, "two" too, "none" random names only, "few"
 * a.test, *.b.test and the labels k=*. */
#define TOKEN_ONE "token-of-the-first-agent"
#define TOKEN_TWO "token-of-the-second-agent"
#define TOKEN_NONE "token-for-random-names-only"
#define TOKEN_FEW "token-for-a-few-names-only"

#define AGENT_MAX_STREAMS 300
#define AGENT_MAX_ASKS 16

struct agents_bench {
	struct bench edge;
	struct edge_tunnel *tunnel;
	struct loop loop;
	struct timeouts timeouts;
	struct session_host host;
	uint8_t *buffer;
	struct tls_context *tls;
	struct trust *trust;
	struct made *ca, *leaf, *app; /* for a.test; not known to the edge */
	char folder[64];	      /* $F in a text: tokens, state, keys */
	unsigned descriptors;
	uint64_t heartbeat_ms; /* of the agents: interval and tolerance; 0: as
				  they are by default */
};

struct agent_peer {
	struct agents_bench *at;
	struct session *session; /* NULL: over */
	bool opened, answers_beats;
	enum session_end end;
	char end_detail[256];
	/* Of the last request that was answered. */
	bool replied;
	enum session_reply reply;
	char json[32 * 1024];
	/* Requests of the edge. */
	struct data_connections asks[AGENT_MAX_ASKS];
	unsigned ask_count, moving_count, stop_count;
	char stopped_id[65];
	bool leaves_asks; /* does not answer them */
	struct mux_stream *streams[AGENT_MAX_STREAMS]; /* of type 3 */
	unsigned stream_count;
	/* Of the welcome. */
	char client_id[256], cookie[256], id[64];
	struct data_keys keys; /* if it was told a session id */
	bool has_keys;
	char name[256], bind_id[80], bind_token[512]; /* of the last bind */
};

/* The file of tokens is written anew. */
void agents_tokens(struct agents_bench *ab, const char *yaml);
#define AGENTS_TOKENS                                        \
	"tokens:\n"                                          \
	"- { name: one, token: " TOKEN_ONE " }\n"            \
	"- { name: two, token: " TOKEN_TWO " }\n"            \
	"- { name: none, token: " TOKEN_NONE ", acl: [] }\n" \
	"- { name: few, token: " TOKEN_FEW ",\n"             \
	"    acl: [ \"bind:a.test\", \"bind:*.b.test\", \"bind:k=*\" ] }\n"

/* `agents` are members of edge.agents, `edge` of edge, `rest` what follows;
 * each may be "". */
void agents_start(struct agents_bench *ab, const char *agents, const char *edge,
    const char *rest);
/* False with bench.error filled. */
bool agents_reload(struct agents_bench *ab, const char *agents,
    const char *edge, const char *rest);
void agents_stop(struct agents_bench *ab);

/* Turns the loop until `done` says so. */
#define AGENTS_UNTIL(ab, condition)                                        \
	do {                                                               \
		uint64_t until_ = clock_ms() + PATIENCE_MS;                \
		while (!(condition)) {                                     \
			ck_assert_msg(                                     \
			    clock_ms() < until_, "never: %s", #condition); \
			agents_turn(ab);                                   \
		}                                                          \
	} while (0)
void agents_turn(struct agents_bench *ab);

/* Shakes hands; as Lunette's, or as an SDK without ALPN. */
void agent_connect(
    struct agents_bench *ab, struct agent_peer *p, bool is_lunette);
/* The same; it may also fail, and `session` is NULL then. */
void agent_try_connect(
    struct agents_bench *ab, struct agent_peer *p, bool is_lunette);
void agent_close(struct agent_peer *p); /* waits for the end */
void agent_wait_end(struct agent_peer *p);

/* Says a request and waits for the reply, which is in `json`. */
void agent_say(struct agent_peer *p, uint32_t type, struct span json);
void agent_say_text(struct agent_peer *p, uint32_t type, const char *json);

/* Auth with what is in `a` and its defaults; the error's number, 0: welcome,
 * 1: an error without a number, 2: no answer. */
unsigned agent_auth(struct agent_peer *p, struct auth a);
/* Connects and is welcome. */
void agent_join(struct agents_bench *ab, struct agent_peer *p, bool is_lunette,
    const char *token);

/* Bind with what is in `b`; as agent_auth. */
unsigned agent_bind(struct agent_peer *p, struct bind b);
/* This name, with the defaults. */
unsigned agent_bind_name(struct agent_peer *p, const char *name);
void agent_unbind(struct agent_peer *p, const char *id);
void agent_unbind_quietly(struct agent_peer *p, const char *id);

/* What came on a stream, up to so many bytes, is waited for and taken. */
void agent_stream_read(
    struct agent_peer *p, struct mux_stream *s, void *data, size_t len);
void agent_stream_write(
    struct agent_peer *p, struct mux_stream *s, const char *text, bool fin);

#define LEND(text) ((char *)(uintptr_t)(text))

#endif

/*
 * The stages of a connection's life, in order. One line a stage: the enum,
 * the declarations and the driver's table come from here. Each stage is a small
 * function in a file of its own that answers STEP_NEXT, STEP_WAIT or
 * STEP_CLOSE; conn.c runs them.
 */
#ifndef ENGINE_STAGE_H
#define ENGINE_STAGE_H

#define STAGE_TABLE(X)          \
	X(PROXY_IN, proxy_in)   \
	X(HELLO, hello)         \
	X(POLICY, policy)       \
	X(HANDSHAKE, handshake) \
	X(DIAL, dial)           \
	X(GREET, greet)         \
	X(RELAY, relay)         \
	X(CLOSING, closing)

enum stage {
#define STAGE_ENUM(id, word) STAGE_##id,
	STAGE_TABLE(STAGE_ENUM)
#undef STAGE_ENUM
	    STAGE_COUNT
};

enum step {
	STEP_NEXT,  /* this stage is done: go on with the next one */
	STEP_WAIT,  /* something will call conn_run again */
	STEP_CLOSE, /* conn_close has been called: go to STAGE_CLOSING */
	STEP_AGAIN, /* the stage was changed: run it */
	STEP_GONE,  /* the connection has ended; do not touch it any more */
};

struct conn;

#define STAGE_DECLARE(id, word) enum step stage_##word(struct conn *c);
STAGE_TABLE(STAGE_DECLARE)
#undef STAGE_DECLARE

#endif

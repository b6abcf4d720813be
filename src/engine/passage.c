#include "engine/passage.h"

#include <stdlib.h>
#include <unistd.h>

#include "engine/edge_private.h"
#include "sys/socket.h"
#include "tls/digest.h"

/* Which of the edge's reasons a connection's end before it was taken is. */
static const struct {
	enum reason reason;
	enum data_reason refusal;
} refusals[] = {
	{ REASON_HELLO_MALFORMED, DATA_OTHER_HELLO },
	{ REASON_HELLO_TIMEOUT, DATA_OTHER_HELLO },
	{ REASON_NOT_TLS, DATA_OTHER_HELLO },
	{ REASON_UNKNOWN_NAME, DATA_OTHER_HELLO },
	{ REASON_DENIED_IP, DATA_DENIED },
	{ REASON_DENIED_POLICY, DATA_DENIED },
	{ REASON_POLICY_ERROR, DATA_DENIED },
	{ REASON_POLICY_TIMEOUT, DATA_DENIED },
	{ REASON_POLICY_MEMORY, DATA_DENIED },
	{ REASON_UPSTREAM_TIMEOUT, DATA_UPSTREAM_TIMEOUT },
	{ REASON_UPSTREAM_DNS, DATA_UPSTREAM_DNS },
	{ REASON_LIMIT, DATA_LIMIT },
	{ REASON_NO_MEMORY, DATA_LIMIT },
	{ REASON_NO_LOCAL_PORT, DATA_LIMIT },
	{ REASON_DRAIN, DATA_DRAIN },
	{ REASON_CLOSED_BY_OPERATOR, DATA_DRAIN },
};

static enum data_reason
refusal_of(enum reason reason)
{
	for (size_t i = 0; i < ARRAY_COUNT(refusals); i++)
		if (refusals[i].reason == reason)
			return refusals[i].refusal;
	return DATA_UPSTREAM_REFUSED;
}

void
passage_free(struct passage *p)
{
	if (!p)
		return;
	tls_free(p->tls);
	bridge_put(p->bridge);
	p->free(p);
}

/* Before there is a connection, only the bridge can tell. */
static void
turn_away(int fd, struct passage *p)
{
	uint8_t answer[DATA_ANSWER_BYTES];
	size_t count;

	if (!p->seal_answer) {
		bridge_set_code(
		    p->bridge, BRIDGE_OUTER, UPLINK_RESET_CODE + DATA_LIMIT);
		bridge_note_reset(p->bridge, BRIDGE_OUTER);
	} else if (!p->tls && p->seal_answer(p, DATA_LIMIT, answer)) {
		(void)socket_write(fd, answer, sizeof(answer), &count);
	}
	close(fd);
	passage_free(p);
}

bool
passage_inject(struct worker *w, int fd, struct passage *p)
{
	if (!edge_take_place(w->edge)) {
		turn_away(fd, p);
		return false;
	}
	if (conn_new_passage(w, fd, p))
		return true;
	edge_release(w->edge);
	turn_away(fd, p);
	return false;
}

bool
passage_accept(struct conn *c)
{
	struct passage *p = c->passage;
	uint8_t answer[DATA_ANSWER_BYTES];

	if (!p || p->answered)
		return true;
	p->answered = true;
	if (!p->seal_answer)
		return true;
	if (p->seal_answer(p, DATA_ACCEPTED, answer)) {
		(void)leg_say(&c->client, span_of(answer, sizeof(answer)));
		return true;
	}
	conn_close(c, REASON_NO_MEMORY, CLOSE_RESET, NULL);
	return false;
}

void
passage_refuse(struct conn *c, enum reason reason)
{
	struct passage *p = c->passage;
	enum data_reason refusal =
	    p && p->refusal ? p->refusal : refusal_of(reason);
	uint8_t answer[DATA_ANSWER_BYTES];

	if (!p || p->answered)
		return;
	p->answered = true;
	c->alert = 0;
	if (!leg_is_open(&c->client))
		return;
	if (!p->seal_answer) {
		bridge_set_code(
		    p->bridge, BRIDGE_OUTER, UPLINK_RESET_CODE + refusal);
		bridge_note_reset(p->bridge, BRIDGE_OUTER);
	} else if (p->seal_answer(p, refusal, answer)) {
		(void)leg_say(&c->client, span_of(answer, sizeof(answer)));
	}
}

bool
passage_hello_fits(const struct conn *c, struct span wire)
{
	const struct passage *p = c->passage;
	uint8_t digest[32];

	if (!p || !p->checks_hello)
		return true;
	return wire.len == p->hello_bytes && sha256_bytes(wire, digest) == 0 &&
	       memcmp(digest, p->hello_sha256, sizeof(digest)) == 0;
}

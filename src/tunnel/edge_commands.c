/*
 * What an operator may want of an agent. The order goes to the session's worker
 * as a mail, and from there to the agent as a request.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

/* How long an agent may take to hear that it is stopped. */
#define STOP_MS 1000

struct order {
	struct mail mail;
	struct edge_session *session; /* counted */
	uint32_t type;
	char message[256];
};

static void
free_order(struct order *o)
{
	edge_session_put(o->session);
	free(o);
}

static void
end(struct order *o)
{
	edge_session_cut(o->session, REASON_CLOSED_BY_OPERATOR,
	    o->message[0] ? o->message : "stopped");
}

/* Whatever it says: what it serves is not served any more. */
static void
on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct order *o = owner;

	(void)s;
	(void)json;
	LOG_DEBUG("an agent has heard an order",
	    LOG_TEXT("session", o->session->id), LOG_INT("type", o->type),
	    LOG_INT("reply", reply));
	if (o->type == MESSAGE_STOP)
		end(o);
	free_order(o);
}

static int
send_order(struct order *o)
{
	struct span json;
	int error = message_write_empty(&json);

	if (error < 0)
		return error;
	error =
	    session_request(o->session->session, o->type, json, on_reply, o);
	message_wipe(&json);
	return error;
}

static void
deliver(struct mail *mail, void *receiver)
{
	struct order *o = CONTAINER_OF(mail, struct order, mail);
	struct edge_session *es = o->session;

	(void)receiver;
	if (es->phase != EDGE_ADMITTED) {
		free_order(o);
		return;
	}
	if (o->type == MESSAGE_STOP)
		timeouts_set(&es->tw->worker->timeouts, &es->timeout,
		    clock_ms() + STOP_MS);
	if (send_order(o) == 0)
		return;
	if (o->type == MESSAGE_STOP)
		end(o);
	free_order(o);
}

static void
discard(struct mail *mail)
{
	free_order(CONTAINER_OF(mail, struct order, mail));
}

static bool
post(struct edge_tunnel *t, const char *session_id, uint32_t type,
    const char *message)
{
	struct edge_session *es = edge_clients_find(&t->clients, session_id);
	struct order *o = es ? calloc(1, sizeof(*o)) : NULL;
	struct text text;

	if (!o) {
		edge_session_put(es);
		return false;
	}
	o->session = es;
	o->type = type;
	text_init(&text, o->message, sizeof(o->message));
	text_add_escaped(&text, span_text(message), sizeof(o->message) / 4 - 4);
	o->mail.deliver = deliver;
	o->mail.discard = discard;
	mailbox_post(&es->tw->worker->mailbox, &o->mail);
	return true;
}

bool
edge_session_stop(
    struct edge_tunnel *t, const char *session_id, const char *message)
{
	return post(t, session_id, MESSAGE_STOP, message);
}

bool
edge_session_restart(struct edge_tunnel *t, const char *session_id)
{
	return post(t, session_id, MESSAGE_RESTART, "");
}

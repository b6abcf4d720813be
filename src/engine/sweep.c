#include "engine/sweep.h"

#include "base/log.h"
#include "engine/passage.h"
#include "engine/worker.h"
#include "sys/socket.h"

static struct conn *
live(struct list *node)
{
	return LIST_ENTRY(node, struct conn, live);
}

/* --- what was cut --- */

static enum reason
cut_for(const struct uplink *u)
{
	return u && u->cut_for ? (enum reason)atomic_load(u->cut_for)
			       : REASON_NONE;
}

/* What is cut short must not look complete. */
static void
end_what_was_cut(struct worker *w)
{
	LIST_FOREACH_SAFE (node, &w->live) {
		enum reason reason = cut_for(live(node)->uplink);

		if (reason != REASON_NONE)
			conn_close(live(node), reason, CLOSE_RESET, NULL);
	}
}

/* --- what may be dead --- */

static bool
is_in_doubt(const struct conn *c)
{
	const atomic_bool *doubt = c->uplink ? c->uplink->in_doubt : NULL;

	return doubt && atomic_load(doubt) && !c->vouched;
}

/* The socket of a data connection in doubt; -1: it runs over none, or there is
 * no doubt. The inner side of a bridge is its pump's. */
static int
doubted_socket(const struct conn *c)
{
	const struct leg *l = NULL;

	if (c->uplink_way != UPLINK_STREAM && is_in_doubt(c))
		l = &c->upstream;
	else if (c->passage && c->passage->way != UPLINK_STREAM)
		l = &c->client;
	return l && leg_is_open(l) && !l->bridge ? l->watch.fd : -1;
}

static void
ask(struct worker *w)
{
	struct sweep *s = &w->sweep;

	if (s->probing) {
		s->again = true;
		return;
	}
	LIST_FOREACH (node, &w->live) {
		struct conn *c = live(node);
		int fd = doubted_socket(c);

		c->probed = fd >= 0;
		if (!c->probed)
			continue;
		socket_probe(fd);
		s->probing = true;
	}
	if (s->probing)
		timeouts_set(
		    &w->timeouts, &s->probe, w->now_ms + SOCKET_PROBE_MS);
}

static bool
was_asked(struct conn *c)
{
	bool asked = c->probed;

	c->probed = false;
	return asked && doubted_socket(c) >= 0;
}

static void
end_what_is_silent(struct worker *w)
{
	unsigned alive = 0, silent = 0;

	LIST_FOREACH_SAFE (node, &w->live) {
		struct conn *c = live(node);

		if (!was_asked(c))
			continue;
		if (socket_probe_answered(doubted_socket(c), SOCKET_PROBE_MS)) {
			c->vouched = true;
			alive++;
			continue;
		}
		silent++;
		conn_close(c,
		    c->passage ? REASON_CLIENT_RESET : REASON_AGENT_LOST,
		    CLOSE_RESET, "silent");
	}
	LOG_INFO("data connections of a lost session", LOG_INT("alive", alive),
	    LOG_INT("silent", silent));
}

static void
on_probe(struct timeout *t)
{
	struct sweep *s = CONTAINER_OF(t, struct sweep, probe);
	struct worker *w = CONTAINER_OF(s, struct worker, sweep);

	s->probing = false;
	end_what_is_silent(w);
	if (!s->again)
		return;
	s->again = false;
	ask(w);
}

/* --- orders --- */

static void
deliver(struct mail *mail, void *receiver)
{
	struct worker *w = receiver;

	(void)mail;
	/* What is cut or doubted from here on needs another order. */
	atomic_store(&w->sweep.ordered, false);
	end_what_was_cut(w);
	ask(w);
}

/* It lives in the worker itself. */
static void
discard(struct mail *mail)
{
	(void)mail;
}

void
sweep_order(struct sweep *s, struct mailbox *mailbox)
{
	if (atomic_exchange(&s->ordered, true))
		return;
	s->mail.deliver = deliver;
	s->mail.discard = discard;
	mailbox_post(mailbox, &s->mail);
}

void
sweep_init(struct sweep *s)
{
	timeout_init(&s->probe, on_probe);
}

void
sweep_fini(struct sweep *s, struct timeouts *timeouts)
{
	timeouts_clear(timeouts, &s->probe);
}

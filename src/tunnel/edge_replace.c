#include "tunnel/edge_replace.h"

#include <stdlib.h>

#include "tunnel/edge_auth.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"

struct edge_relief {
	struct mail mail;
	struct edge_session *old;  /* counted; NULL when it holds this itself */
	struct edge_session *next; /* counted */
};

void
edge_relief_free(struct edge_relief *r)
{
	if (!r)
		return;
	edge_session_put(r->old);
	edge_session_put(r->next);
	free(r);
}

static void
discard(struct mail *mail)
{
	edge_relief_free(CONTAINER_OF(mail, struct edge_relief, mail));
}

/* One that has ended meanwhile hands on what it has waited for. */
static void
deliver_relief(struct mail *mail, void *receiver)
{
	struct edge_relief *r = CONTAINER_OF(mail, struct edge_relief, mail);
	struct edge_session *es = r->next;

	(void)receiver;
	es->awaits = false;
	if (es->phase == EDGE_CLAIMING)
		edge_auth_welcome(es);
	else
		edge_relieve(es);
	edge_relief_free(r);
}

void
edge_relieve(struct edge_session *es)
{
	struct edge_relief *r = es->relief;

	if (!r || es->awaits || es->phase < EDGE_CLOSING)
		return;
	es->relief = NULL;
	r->mail.deliver = deliver_relief;
	r->mail.discard = discard;
	mailbox_post(&r->next->tw->worker->mailbox, &r->mail);
}

static void
deliver_claim(struct mail *mail, void *receiver)
{
	struct edge_relief *r = CONTAINER_OF(mail, struct edge_relief, mail);
	struct edge_session *old = r->old;

	(void)receiver;
	ASSERT(!old->relief);
	r->old = NULL;
	old->relief = r;
	edge_session_end(old, "replaced by the same client");
	edge_relieve(old);
	edge_session_put(old);
}

bool
edge_replace(struct edge_session *es, struct edge_session *old)
{
	struct edge_relief *r = calloc(1, sizeof(*r));

	if (!r)
		return false;
	r->old = old;
	r->next = edge_session_get(es);
	es->awaits = true;
	r->mail.deliver = deliver_claim;
	r->mail.discard = discard;
	mailbox_post(&old->tw->worker->mailbox, &r->mail);
	return true;
}

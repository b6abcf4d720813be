#include "engine/uplink.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct uplink *
uplink_get(struct uplink *u)
{
	atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
	return u;
}

void
uplink_put(struct uplink *u)
{
	if (u &&
	    atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) == 1)
		u->free(u);
}

static void
deliver_call(struct mail *mail, void *receiver)
{
	struct uplink_call *call = CONTAINER_OF(mail, struct uplink_call, mail);

	(void)receiver;
	call->uplink->on_call(call->uplink, call);
}

/* The session's worker has gone: the connection's will soon, and its deadline
 * would end the wait otherwise. */
static void
discard_call(struct mail *mail)
{
	struct uplink_call *call = CONTAINER_OF(mail, struct uplink_call, mail);

	call->error = -ENOTCONN;
	uplink_answer(call);
}

void
uplink_call(struct uplink *u, struct uplink_call *call)
{
	call->uplink = uplink_get(u);
	call->mail.deliver = deliver_call;
	call->mail.discard = discard_call;
	mailbox_post(u->mailbox, &call->mail);
}

static void
discard_answer(struct mail *mail)
{
	uplink_call_free(CONTAINER_OF(mail, struct uplink_call, mail));
}

void
uplink_answer(struct uplink_call *call)
{
	call->mail.deliver = call->on_answer;
	call->mail.discard = discard_answer;
	mailbox_post(call->return_to, &call->mail);
}

void
uplink_call_free(struct uplink_call *call)
{
	if (!call)
		return;
	if (call->fd >= 0)
		close(call->fd);
	bridge_put(call->bridge);
	tls_free(call->tls);
	uplink_put(call->uplink);
	free(call->header);
	data_keys_wipe(&call->keys);
	free(call);
}

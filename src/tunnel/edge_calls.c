#include "tunnel/edge_calls.h"

#include <errno.h>
#include <unistd.h>

#include "tunnel/edge_bind.h"
#include "tunnel/edge_data.h"
#include "tunnel/edge_private.h"
#include "tunnel/edge_session.h"
#include "tunnel/pump.h"
#include "tunnel/stream_header.h"

static struct edge_bind *
bind_of(const struct uplink_call *call)
{
	return CONTAINER_OF(call->uplink, struct edge_bind, uplink);
}

static void
fail(struct uplink_call *call, int error)
{
	call->error = error;
	uplink_answer(call);
}

/* What stands in front of the client's bytes: a Lunette agent is told what OPEN
 * would tell it. */
static int
write_head(const struct uplink_call *call, struct span *out)
{
	const struct uplink *u = call->uplink;
	char client[ADDR_TEXT_SIZE];
	struct stream_header h = {
		.id = (char *)(uintptr_t)u->endpoint_id,
		.client_addr = client,
		.proto = (char *)(uintptr_t) "tls",
		.edge_type = (char *)(uintptr_t)STREAM_EDGE_AGENT,
		.passthrough_tls = !call->plain,
	};

	addr_format(&call->client, client);
	if (u->is_lunette) {
		h.open.data = call->header;
		h.open.len = call->header_len;
	}
	return stream_header_write(&h, out);
}

static void
on_pump_done(void *owner, const struct pump_report *report)
{
	struct edge_session *es = owner;

	(void)report;
	es->stream_count--;
	edge_session_put(es);
}

/* Takes the stream; the outer end comes with the call. */
static int
join(struct edge_session *es, struct mux_stream *stream, struct span head,
    struct uplink_call *call)
{
	int fds[2], error = bridge_open(&call->bridge, fds);

	if (error < 0) {
		mux_reset(stream, FRAME_ERROR_CANCEL);
		return error;
	}
	call->fd = fds[BRIDGE_OUTER];
	error = pump_start(es->session, stream, head, fds[BRIDGE_INNER],
	    call->bridge, on_pump_done, edge_session_get(es));
	if (error < 0)
		edge_session_put(es);
	else
		es->stream_count++;
	return error;
}

static int
open_stream(struct edge_session *es, struct uplink_call *call)
{
	struct mux_stream *stream;
	struct span head;
	int error = write_head(call, &head);

	if (error < 0)
		return error;
	stream = session_open_stream(es->session, SESSION_PROXY_TYPE);
	error = stream ? join(es, stream, head, call) : -EAGAIN;
	message_wipe(&head);
	return error;
}

static void
drop_way(struct uplink_call *call)
{
	if (call->fd >= 0)
		close(call->fd);
	call->fd = -1;
	bridge_put(call->bridge);
	call->bridge = NULL;
}

void
edge_call_stream(struct uplink_call *call)
{
	struct edge_session *es = bind_of(call)->session;
	int error = es->session ? open_stream(es, call) : -ENOTCONN;

	if (error < 0) {
		drop_way(call);
		fail(call, error);
		return;
	}
	call->way = UPLINK_STREAM;
	EDGE_COUNT(es->tunnel, streams);
	uplink_answer(call);
}

void
edge_on_call(struct uplink *u, struct uplink_call *call)
{
	struct edge_bind *b = CONTAINER_OF(u, struct edge_bind, uplink);
	struct edge_session *es = b->session;

	/* Not bound any more, or the session is over. */
	if (list_empty(&b->node) || es->phase != EDGE_ADMITTED)
		fail(call, -ENOTCONN);
	else if (!es->data || !edge_data_take_call(es->data, call))
		edge_call_stream(call);
}

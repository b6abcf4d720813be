/* What an edge asks of the agent in its session. */
#include "tunnel/agent_private.h"

#include <signal.h>
#include <unistd.h>

#include "tunnel/message.h"

static void
answer_empty(struct session *session, uint32_t id)
{
	session_answer(session, id, span_text("{}"));
}

static void
answer_error(struct session *session, uint32_t id, const char *error)
{
	struct error_response response = { .error = message_lend(error) };
	struct span json;

	if (error_response_write(&response, &json) < 0)
		return;
	session_answer(session, id, json);
	message_wipe(&json);
}

static void
on_data_connections(struct agent_session *s, uint32_t id, struct span json)
{
	struct data_connections d;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (data_connections_read(json, &d, &error) < 0 ||
	    !data_dial(
		s, d.first, d.count, d.mode == 1 ? DATA_TLS : DATA_RAW)) {
		session_close(s->session,
		    "the edge asks for data connections that cannot be");
		return;
	}
	answer_empty(s->session, id);
}

static void
on_stop_tunnel(struct agent_session *s, struct span json)
{
	struct stop_tunnel stop;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;
	struct offer *o;

	text_init(&error, storage, sizeof(storage));
	if (stop_tunnel_read(json, &stop, &error) < 0)
		return;
	o = offers_find(s, span_text(stop.id));
	if (o)
		offers_stopped(o, stop.message);
	stop_tunnel_fini(&stop);
}

void
command_take(
    struct session *session, uint32_t type, uint32_t id, struct span json)
{
	struct agent_session *s = session_owner(session);

	switch (type) {
	case MESSAGE_DATA_CONNECTIONS:
		on_data_connections(s, id, json);
		break;
	case MESSAGE_STOP_TUNNEL:
		on_stop_tunnel(s, json);
		answer_empty(session, id);
		break;
	case MESSAGE_DATA_END:
		answer_empty(session, id);
		break;
	case MESSAGE_MOVING:
		answer_empty(session, id);
		link_move(s->link);
		break;
	case MESSAGE_RESTART:
		answer_empty(session, id);
		link_move(s->link);
		break;
	case MESSAGE_STOP:
		answer_empty(session, id);
		kill(getpid(), SIGTERM);
		break;
	case MESSAGE_UPDATE:
		answer_error(session, id, UPDATE_UNSUPPORTED);
		break;
	default:
		session_refuse(session, id, FRAME_ERROR_REFUSAL);
	}
}

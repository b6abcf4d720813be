/*
 * Joining: the agent proves to an edge who it is, and hears whether it is let
 * in.
 */
#include "tunnel/agent_private.h"

#include <errno.h>
#include <unistd.h>

#include "tunnel/message.h"

/* Before this agent was ever online there is somebody who waits to be told. */
static void
refused_for_good(struct link *l)
{
	struct agent *a = l->at->agent;
	uint64_t one = 1;

	if (!atomic_load(&a->was_online) &&
	    write(a->refused_fd, &one, sizeof(one)) < 0)
		ASSERT(errno == EAGAIN);
}

static void
welcome(struct agent_session *s, const struct auth_response *r)
{
	struct link *l = s->link;

	s->joined = true;
	l->attempts = 0;
	atomic_store(&l->at->agent->was_online, true);
	identity_set(&l->identity, r->client_id ? r->client_id : "",
	    r->cookie ? r->cookie : "");
	if (r->session_id.len == DATA_SESSION_BYTES)
		s->has_keys = data_keys_init(&s->keys, session_tls(s->session),
				  r->session_id.data) == 0;
	link_note(l, LINK_ONLINE, "");
	link_note_session(l, r->agent_session_id ? r->agent_session_id : "",
	    r->region ? r->region : "");
	LOG_INFO("a session with an edge is up",
	    LOG_TEXT("edge", link_edge(l)->text),
	    LOG_TEXT("session", r->agent_session_id ? r->agent_session_id : ""),
	    LOG_TEXT("banner", r->banner ? r->banner : ""));
	offers_sync(s, link_settings(l));
	/* What runs through the old one may end there; its edge ends it. */
	if (l->old)
		offers_withdraw(l->old);
	link_plan(l);
}

static void
on_auth_reply(struct session *session, void *owner, enum session_reply reply,
    struct span json)
{
	struct agent_session *s = owner;
	struct auth_response response;
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	if (reply == SESSION_REPLY_ENDED)
		return;
	if (reply != SESSION_REPLY_OK) {
		session_close(session, "the edge does not answer");
		return;
	}
	if (auth_response_read(json, &response, &error) < 0) {
		session_close(session, error.data);
		return;
	}
	if (response.error && response.error[0]) {
		LOG_ERROR("the edge refuses this agent",
		    LOG_TEXT("edge", link_edge(s->link)->text),
		    LOG_TEXT("error", response.error));
		link_note(s->link, LINK_JOINING, response.error);
		session_close(session, response.error);
		refused_for_good(s->link);
	} else {
		welcome(s, &response);
	}
	auth_response_fini(&response);
}

static int
write_auth(struct agent_session *s, struct span *json)
{
	const struct identity *i = &s->link->identity;
	struct introduction self = {
		.settings = &link_settings(s->link)->agent,
		.client_id = i->client_id,
		.cookie = i->cookie,
		.user_agent = "lunette-agent",
	};

	return introduction_write(&self, session_tls(s->session), json);
}

void
join_begin(struct session *session)
{
	struct agent_session *s = session_owner(session);
	struct span json = span_of(NULL, 0);

	link_note(s->link, LINK_JOINING, NULL);
	if (write_auth(s, &json) < 0 ||
	    session_request(session, MESSAGE_AUTH, json, on_auth_reply, s) < 0)
		session_close(session, "out of memory");
	message_wipe(&json);
}

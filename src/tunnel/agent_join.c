/*
 * Joining: the agent proves to an edge who it is, and hears whether it is let
 * in.
 */
#include "tunnel/agent_private.h"

#include "config.h"

#include <errno.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tls/secret.h"
#include "tls/token.h"
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

static bool
prove(struct agent_session *s, struct span token, struct auth *a,
    uint8_t id[TOKEN_ID_BYTES], uint8_t *proof)
{
	uint8_t binding[TOKEN_BINDING_BYTES];

	if (token_id(token, id) < 0 ||
	    token_binding(session_tls(s->session), binding) < 0 ||
	    token_prove(binding, token, proof) < 0)
		return false;
	a->token_id = (struct message_bytes){ id, TOKEN_ID_BYTES };
	a->proof = (struct message_bytes){ proof, token.len };
	wipe(binding, sizeof(binding));
	return true;
}

static int
write_auth(struct agent_session *s, struct span *json)
{
	const struct agent_settings *set = &link_settings(s->link)->agent;
	const struct identity *i = &s->link->identity;
	struct span token = span_text(set->authtoken);
	static const char *const versions[] = { "3", "2" };
	uint8_t id[TOKEN_ID_BYTES], proof[TOKEN_MAX_BYTES];
	char hostname[256] = "";
	struct utsname machine;
	int result;

	if (uname(&machine) < 0 ||
	    gethostname(hostname, sizeof(hostname) - 1) < 0)
		return -errno;
	struct auth a = {
		.versions = { (char **)(uintptr_t)versions,
		    ARRAY_COUNT(versions) },
		.client_id = message_lend(i->client_id),
		.cookie = message_lend(i->cookie),
		.os = message_lend("linux"),
		.arch = machine.machine,
		.version = message_lend(PACKAGE_VERSION),
		.hostname = hostname,
		.user_agent = message_lend("lunette-agent"),
		.client_type = message_lend("lunette"),
		.data_encryption =
		    message_lend(set->encrypts_data ? "always" : ""),
		.metadata = message_lend(set->metadata),
		.heartbeat_interval_ns =
		    (int64_t)set->heartbeat_interval_ms * 1000000,
		.heartbeat_tolerance_ns =
		    (int64_t)set->heartbeat_tolerance_ms * 1000000,
		.auth_token = message_lend(""),
		.stop_unsupported = message_lend(""),
		.restart_unsupported = message_lend(""),
		.update_unsupported = message_lend(UPDATE_UNSUPPORTED),
		.proxy_type = message_lend(""),
		.config_version = message_lend("1"),
		.custom_cas = set->connect_cas != NULL,
	};

	/* Too short a token cannot be proved; inside TLS that was verified it
	 * may be said. */
	if (token.len > 0 && !prove(s, token, &a, id, proof))
		a.auth_token = message_lend(set->authtoken);
	result = auth_write(&a, json);
	wipe(proof, sizeof(proof));
	return result;
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

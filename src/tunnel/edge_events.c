#include "tunnel/edge_events.h"

#include "base/clock.h"
#include "engine/envelope.h"
#include "engine/event.h"
#include "tunnel/edge_bind.h"
#include "tunnel/edge_private.h"

/* What an agent says of itself; more of it tells nobody anything. */
#define MAX_FACT_BYTES 256
/* Of all labels of a tunnel; more are left out. */
#define MAX_LABEL_BYTES 4096

static bool
is_wanted(const struct edge_session *es)
{
	return edge_wants_events(es->tw->worker->edge);
}

static void
open_event(
    struct edge_session *es, struct json *j, struct text *out, const char *type)
{
	struct worker *w = es->tw->worker;
	char id[32];

	worker_make_id(w, "ev_", id);
	text_init(out, w->event_text, EVENT_MAX_BYTES);
	json_init(j, out);
	envelope_open(j, id, type, clock_wall_us());
}

static void
close_event(struct edge_session *es, struct json *j, const char *type)
{
	envelope_close(j);
	ASSERT(!j->out->truncated);
	journal_write(
	    edge_journal(es->tw->worker->edge), type, text_span(j->out));
}

static void
write_fact(struct json *j, const char *key, const char *value)
{
	struct span s = span_text(value);

	if (s.len > MAX_FACT_BYTES)
		s.len = MAX_FACT_BYTES;
	json_string(j, key, s);
}

static void
write_ip(struct json *j, const char *key, const struct addr *a)
{
	char text[ADDR_TEXT_SIZE];

	addr_format_ip(a, text);
	json_text(j, key, text);
}

static void
write_credential(struct json *j, const struct edge_session *es)
{
	if (!es->credential)
		return;
	json_text(j, "credential_id", credential_id(es->credential));
	json_text(j, "credential", credential_name(es->credential));
}

static void
write_agent(struct json *j, const struct edge_session *es)
{
	const struct edge_agent_facts *f = &es->facts;

	json_text(j, "id", es->id);
	write_credential(j, es);
	write_ip(j, "agent_ip", &es->peer);
	json_int(j, "agent_port", es->peer.port);
	write_ip(j, "ingress_ip", &es->local);
	json_int(j, "ingress_port", es->local.port);
	json_text(j, "region", EDGE_REGION);
	write_fact(j, "os", f->os);
	write_fact(j, "arch", f->arch);
	write_fact(j, "version", f->version);
	write_fact(j, "client_type", f->client_type);
	write_fact(j, "user_agent", f->user_agent);
	json_text(j, "metadata", f->metadata ? f->metadata : "");
	json_text(j, "transport", "muxado");
	json_time(j, "started_at", es->start_wall_us);
}

void
edge_event_session_start(struct edge_session *es)
{
	struct text out;
	struct json j;

	LOG_INFO("an agent is connected", LOG_TEXT("session", es->id),
	    LOG_ADDR("agent", &es->peer),
	    LOG_TEXT("credential", credential_name(es->credential)),
	    LOG_TEXT("version", es->facts.version),
	    LOG_TEXT("client_type", es->facts.client_type));
	if (!is_wanted(es))
		return;
	open_event(es, &j, &out, EVENT_SESSION_START);
	write_agent(&j, es);
	close_event(es, &j, EVENT_SESSION_START);
}

/* An agent that has left is no error; what we have said goes before what we
 * have seen. */
static void
write_end(struct edge_session *es, enum session_end end, const char *detail,
    struct text *out)
{
	if (es->error[0]) {
		text_add(out, es->error);
		return;
	}
	if (end == SESSION_END_PEER_CLOSED || end == SESSION_END_CLOSED)
		return;
	text_add(out, session_end_word(end));
	if (!detail[0])
		return;
	text_add(out, ": ");
	text_add_escaped(out, span_text(detail), 128);
}

void
edge_event_session_stop(
    struct edge_session *es, enum session_end end, const char *detail)
{
	char storage[512];
	struct text out, error;
	struct json j;

	text_init(&error, storage, sizeof(storage));
	write_end(es, end, detail, &error);
	LOG_AT(es->credential ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
	    "an agent's session has ended", LOG_TEXT("session", es->id),
	    LOG_ADDR("agent", &es->peer),
	    LOG_TEXT("reason", session_end_word(end)),
	    LOG_TEXT("error", storage),
	    LOG_INT("ms", (clock_us() - es->start_us) / 1000));
	if (!is_wanted(es))
		return;
	open_event(es, &j, &out, EVENT_SESSION_STOP);
	write_agent(&j, es);
	json_time(&j, "stopped_at", clock_wall_us());
	json_text(&j, "reason", session_end_word(end));
	if (error.len > 0)
		json_text(&j, "error", storage);
	close_event(es, &j, EVENT_SESSION_STOP);
}

/* Who has the client's bytes in plain: the tunnel's promise, in the record. */
static void
write_readers(struct json *j, enum terminate_at at)
{
	json_open_list(j, "plain_at");
	if (at == TERMINATE_EDGE)
		json_text(j, NULL, "edge");
	if (at != TERMINATE_UPSTREAM)
		json_text(j, NULL, "agent");
	json_text(j, NULL, "upstream");
	json_close_list(j);
}

void
edge_event_endpoint(
    struct edge_session *es, const struct endpoint *e, bool online)
{
	const char *type =
	    online ? EVENT_ENDPOINT_ONLINE : EVENT_ENDPOINT_OFFLINE;
	struct text out;
	struct json j;

	LOG_INFO(online ? "an endpoint is online" : "an endpoint is offline",
	    LOG_TEXT("url", e->url), LOG_TEXT("session", es->id));
	if (!is_wanted(es))
		return;
	open_event(es, &j, &out, type);
	json_text(&j, "id", e->id);
	json_text(&j, "url", e->url);
	json_text(&j, "proto", "tls");
	json_text(&j, "terminate_at", terminate_at_name(e->terminate_at));
	write_readers(&j, e->terminate_at);
	json_bool(&j, "pooling_enabled", e->pooling_enabled);
	json_text(&j, "metadata", e->metadata);
	json_text(&j, "session_id", es->id);
	write_credential(&j, es);
	close_event(es, &j, type);
}

static void
write_labels(struct json *j, const struct message_labels *labels)
{
	size_t left = MAX_LABEL_BYTES;

	json_open(j, "labels");
	for (size_t i = 0; i < labels->count; i++) {
		const struct message_label *l = &labels->items[i];
		size_t bytes = strlen(l->name) + strlen(l->value);

		if (bytes > left)
			break;
		left -= bytes;
		json_key_span(j, span_text(l->name));
		json_text(j, NULL, l->value);
	}
	json_close(j);
}

void
edge_event_labelled(
    struct edge_session *es, const struct edge_labelled *l, bool online)
{
	const char *type =
	    online ? EVENT_ENDPOINT_ONLINE : EVENT_ENDPOINT_OFFLINE;
	struct text out;
	struct json j;

	LOG_INFO(online ? "a tunnel with labels is started"
			: "a tunnel with labels is stopped",
	    LOG_TEXT("id", l->id), LOG_TEXT("session", es->id));
	if (!is_wanted(es))
		return;
	open_event(es, &j, &out, type);
	json_text(&j, "id", l->id);
	json_text(&j, "proto", "tls");
	write_labels(&j, &l->labels);
	json_text(&j, "metadata", l->metadata ? l->metadata : "");
	json_text(&j, "session_id", es->id);
	write_credential(&j, es);
	close_event(es, &j, type);
}

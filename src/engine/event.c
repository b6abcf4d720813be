#include "engine/event.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "engine/edge_private.h"
#include "engine/envelope.h"

static void
json_ip(struct json *j, const char *key, const struct addr *a)
{
	char text[ADDR_TEXT_SIZE];

	addr_format_ip(a, text);
	json_text(j, key, text);
}

static void
write_conn(struct json *j, const struct policy_conn *f, int64_t end_wall_us,
    uint64_t in, uint64_t out)
{
	json_open(j, "conn");
	json_text(j, "id", f->id);
	json_int(j, "bytes_in", (int64_t)in);
	json_int(j, "bytes_out", (int64_t)out);
	json_ip(j, "client_ip", &f->client);
	json_int(j, "client_port", f->client.port);
	json_ip(j, "peer_ip", &f->peer);
	json_int(j, "peer_port", f->peer.port);
	json_time(j, "start_ts", f->start_wall_us);
	json_time(j, "end_ts", end_wall_us);
	json_ip(j, "server_ip", &f->server);
	json_int(j, "server_port", f->server.port);
	if (f->sni.len > 0)
		json_string(j, "server_name", f->sni);
	json_text(j, "listener", f->listener);
	json_close(j);
}

static const char *
detail_of(const struct conn *c)
{
	if (c->detail)
		return c->detail;
	return c->failed_errno != 0 ? log_errno_text(c->failed_errno) : NULL;
}

static void
write_close(struct json *j, const struct conn *c)
{
	const char *detail = detail_of(c);

	json_open(j, "close");
	json_text(j, "reason", reason_word(c->reason));
	if (detail)
		json_text(j, "detail", detail);
	if (c->alert != 0)
		json_text(j, "alert", alert_name(c->alert));
	if (c->alert_received)
		json_bool(j, "alert_received", true);
	json_close(j);
}

/* Where it did end; where it has not come to that, the endpoint's word. */
static enum terminate_at
terminated_at(const struct conn *c)
{
	if (c->terminates)
		return c->passage ? TERMINATE_AGENT : TERMINATE_EDGE;
	if (c->passage)
		return c->passage->plain ? TERMINATE_EDGE : TERMINATE_UPSTREAM;
	return c->relayed && !c->uplink ? TERMINATE_UPSTREAM
					: c->endpoint->terminate_at;
}

static void
write_endpoint(struct json *j, const struct conn *c)
{
	const struct endpoint *e = c->endpoint;

	json_open(j, "endpoint");
	json_text(j, "id", e->id);
	json_text(j, "url", e->url);
	json_text(j, "terminate_at", terminate_at_name(terminated_at(c)));
	json_close(j);
}

static void
write_upstream(struct json *j, const struct conn *c)
{
	json_open(j, "upstream");
	json_text(j, "address", c->target->address.text);
	json_int(j, "proxy_proto", c->proxy_proto);
	/* In passthrough the client's own TLS goes on, we add none. */
	json_bool(j, "tls", c->reencrypted);
	json_close(j);
}

static const char *const way_words[] = {
	[UPLINK_STREAM] = "stream",
	[UPLINK_RAW] = "data",
	[UPLINK_TLS] = "data_tls",
};

/* Through whom it went, at an edge. */
static void
write_agent(struct json *j, const struct conn *c)
{
	const struct uplink *u = c->uplink;

	json_open(j, "agent");
	json_text(j, "session_id", u->session_id);
	json_ip(j, "ip", &u->agent);
	if (c->relayed)
		json_text(j, "transport", way_words[c->uplink_way]);
	json_close(j);
}

/* Through whom it came, at an agent. */
static void
write_edge(struct json *j, const struct passage *p)
{
	json_open(j, "edge");
	json_text(j, "name", p->edge_name);
	json_text(j, "conn_id", p->id);
	json_text(j, "transport", way_words[p->way]);
	json_close(j);
}

static void
write_policy(struct json *j, const struct conn *c)
{
	const struct record *r = c->record;

	json_open(j, "policy");
	json_text(j, "version", c->policy->version);
	/* A run that was cut off decided nothing. */
	if (c->denied)
		json_text(j, "decision", "deny");
	else if (c->timings_us[TIMING_POLICY] != 0)
		json_text(j, "decision", "allow");
	if (r && r->reason)
		json_text(j, "reason", r->reason);
	if (c->decision_line > 0)
		json_int(j, "line", c->decision_line);
	json_close(j);
}

static void
write_record(struct json *j, const struct record *r)
{
	struct text *out = j->out;

	if (r->tls) {
		json_open(j, "tls");
		text_add(out, r->tls);
		json_close(j);
	}
	if (r->ja4[0])
		json_text(j, "ja4_fingerprint", r->ja4);
	if (r->logs) {
		json_open(j, "traffic_policy");
		json_open_list(j, "logs");
		text_add_span(out, span_of(r->logs, r->logs_len));
		json_close_list(j);
		json_close(j);
	}
	if (r->tags) {
		json_open(j, "tags");
		text_add(out, r->tags);
		json_close(j);
	}
}

static const char *const timing_keys[] = {
	[TIMING_HELLO] = "hello_ms",
	[TIMING_POLICY] = "policy_ms",
	[TIMING_DIAL] = "dial_ms",
	[TIMING_FIRST_BYTE] = "first_byte_ms",
};

/*
 * The time that each stage took; the first byte since the beginning. The
 * handshake falls into the policy's time or into what comes after it, and is
 * told apart from both.
 */
static void
write_timing(struct json *j, const struct conn *c, int64_t total_us)
{
	uint32_t before = 0;

	json_open(j, "timing");
	for (int t = 0; t < TIMING_COUNT; t++) {
		uint32_t at = c->timings_us[t];

		if (at == 0)
			continue;
		if (t == TIMING_FIRST_BYTE)
			before = 0;
		else if (t == (int)c->handshake_in)
			before += c->handshake_us;
		json_ms(j, timing_keys[t],
		    at > before ? (int64_t)(at - before) : 0);
		before = at;
	}
	if (c->handshake_us != 0)
		json_ms(j, "handshake_ms", c->handshake_us);
	json_ms(j, "total_ms", total_us);
	json_close(j);
}

static void
write_event(struct conn *c, struct text *out, int64_t wall_us, int64_t total_us)
{
	struct json j;
	char id[32];

	worker_make_id(c->worker, "ev_", id);
	json_init(&j, out);
	envelope_open(&j, id, EVENT_CONNECTION_CLOSED, wall_us);
	write_conn(
	    &j, &c->facts, wall_us, conn_bytes_in(c), c->client.taken_bytes);
	write_close(&j, c);
	if (c->restricted) {
		json_open(&j, "ip_policy");
		json_text(&j, "decision", c->ip_denied ? "block" : "allow");
		json_close(&j);
	}
	if (c->endpoint)
		write_endpoint(&j, c);
	if (c->target)
		write_upstream(&j, c);
	if (c->uplink)
		write_agent(&j, c);
	if (c->passage)
		write_edge(&j, c->passage);
	if (c->scripted)
		write_policy(&j, c);
	if (c->record)
		write_record(&j, c->record);
	write_timing(&j, c, total_us);
	envelope_close(&j);
}

/* Texts of a certificate are the client's; more of them than this tells
 * nobody anything. */
#define MAX_CERTIFICATE_TEXT 256

static struct span
cut(struct span s)
{
	return s.len > MAX_CERTIFICATE_TEXT
		   ? span_of(s.data, MAX_CERTIFICATE_TEXT)
		   : s;
}

static void
write_name(struct json *j, const char *key, const struct peer_name *name)
{
	json_open(j, key);
	if (name->common_name.len > 0)
		json_string(j, "common_name", cut(name->common_name));
	json_close(j);
}

static void
write_peer(struct json *j, const struct peer *peer)
{
	json_open(j, "client");
	write_name(j, "subject", &peer->subject);
	write_name(j, "issuer", &peer->issuer);
	json_string(j, "serial_number", cut(peer->serial_number));
	json_string(j, "fingerprint_sha256", peer->fingerprint_sha256);
	json_close(j);
}

/* Of a client whose certificate was refused: which one. */
static void
write_refused(struct json *j, const struct tls_failure *f)
{
	if (!f->fingerprint[0])
		return;
	json_open(j, "client");
	json_text(j, "fingerprint_sha256", f->fingerprint);
	json_close(j);
}

static void
write_agreed(struct json *j, struct tls_stream *tls)
{
	const struct peer *peer = tls_peer(tls);
	struct tls_facts f;

	tls_facts(tls, &f);
	json_text(j, "version", f.version == TLS_VERSION_1_3 ? "1.3" : "1.2");
	json_text(j, "cipher_suite", f.cipher_suite);
	if (f.alpn.len > 0)
		json_string(j, "negotiated_alpn", f.alpn);
	json_bool(j, "session_resumed", f.resumed);
	if (peer)
		write_peer(j, peer);
}

void
event_keep_tls(struct conn *c)
{
	struct edge *e = c->worker->edge;
	char members[8192];
	struct record *r;
	struct text text;
	struct json json;

	if (!c->terminates || !c->client.tls ||
	    !atomic_load_explicit(&e->wants_events, memory_order_relaxed))
		return;
	r = conn_record(c);
	if (!r)
		return;
	text_init(&text, members, sizeof(members));
	json_init(&json, &text);
	if (c->client.secured)
		write_agreed(&json, c->client.tls);
	else
		write_refused(&json, tls_failure(c->client.tls));
	ASSERT(!text.truncated);
	free(r->tls);
	r->tls = text.len > 0 ? strdup(members) : NULL;
}

/* What ended as it should is told by its event; the log shows it at debug. */
static enum log_level
level_of(const struct conn *c)
{
	return c->reason == REASON_CLIENT_CLOSED ||
		       c->reason == REASON_UPSTREAM_CLOSED
		   ? LOG_LEVEL_DEBUG
		   : LOG_LEVEL_INFO;
}

static void
log_closed(const struct conn *c, int64_t total_us)
{
	const struct policy_conn *f = &c->facts;
	const char *detail = detail_of(c);

	/* The line has no part for the policy: here is its reason. */
	if (!detail && c->denied && c->record)
		detail = c->record->reason;
	LOG_AT(level_of(c), "connection closed", LOG_TEXT("id", f->id),
	    LOG_ADDR("client", &f->client), LOG_SPAN("name", f->sni),
	    LOG_TEXT("endpoint", c->endpoint ? c->endpoint->url : ""),
	    LOG_TEXT("upstream", c->target ? c->target->address.text : ""),
	    LOG_TEXT("reason", reason_word(c->reason)),
	    LOG_TEXT("detail", detail ? detail : ""),
	    LOG_INT("bytes_in", conn_bytes_in(c)),
	    LOG_INT("bytes_out", c->client.taken_bytes),
	    LOG_INT("ms", total_us / 1000));
}

static void
count(const struct conn *c)
{
	struct counters *counters = &c->worker->counters;

	counter_add(&counters->bytes_in, conn_bytes_in(c));
	counter_add(&counters->bytes_out, c->client.taken_bytes);
	counter_add(&counters->reasons[c->reason], 1);
}

/* For the status screen. */
static void
remember(const struct conn *c, int64_t wall_us, int64_t total_us)
{
	struct edge *e = c->worker->edge;
	struct edge_recent *r;
	struct text name;

	if (!atomic_load_explicit(&e->keep_recent, memory_order_relaxed))
		return;
	pthread_mutex_lock(&e->recent_lock);
	r = &e->recent[e->recent_total++ % EDGE_RECENT_COUNT];
	r->wall_us = wall_us;
	r->client = c->facts.client;
	r->bytes_in = conn_bytes_in(c);
	r->bytes_out = c->client.taken_bytes;
	r->duration_us = total_us;
	text_init(&name, r->name, sizeof(r->name));
	text_add_escaped(&name, c->facts.sni, sizeof(r->name) / 4);
	text_init(&name, r->reason, sizeof(r->reason));
	text_add(&name, reason_word(c->reason));
	pthread_mutex_unlock(&e->recent_lock);
}

void
event_connection_closed(struct conn *c)
{
	struct edge *e = c->worker->edge;
	int64_t wall_us = clock_wall_us();
	int64_t total_us = clock_us() - c->start_us;
	struct text out;

	count(c);
	remember(c, wall_us, total_us);
	log_closed(c, total_us);
	if (!atomic_load_explicit(&e->wants_events, memory_order_relaxed))
		return;
	text_init(&out, c->worker->event_text, EVENT_MAX_BYTES);
	write_event(c, &out, wall_us, total_us);
	ASSERT(!out.truncated);
	journal_write(e->journal, EVENT_CONNECTION_CLOSED, text_span(&out));
}

void
event_lost(struct edge *e, const struct arrival *a, enum reason reason)
{
	struct policy_conn facts = {
		.client = a->peer,
		.peer = a->peer,
		.server = a->local,
		.listener = a->listener->name,
		.start_wall_us = a->start_wall_us,
	};
	int64_t wall_us = clock_wall_us();
	char storage[2048], id[32];
	struct text out;
	struct json j;

	envelope_make_id("cn_", facts.id);
	envelope_make_id("ev_", id);
	text_init(&out, storage, sizeof(storage));
	json_init(&j, &out);
	envelope_open(&j, id, EVENT_CONNECTION_CLOSED, wall_us);
	write_conn(&j, &facts, wall_us, 0, 0);
	json_open(&j, "close");
	json_text(&j, "reason", reason_word(reason));
	json_close(&j);
	envelope_close(&j);
	counter_add(&e->lost_count, 1);
	journal_write(e->journal, EVENT_CONNECTION_CLOSED, text_span(&out));
}

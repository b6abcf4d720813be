#include "agents_bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "tls/session_context.h"
#include "tunnel/ngrok_error.h"
#include "unit.h"

#define EDGE_NAME "connect.test"

/* --- the edge --- */

static void
write_file(struct agents_bench *ab, const char *name, const char *text)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", ab->folder, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, 0600), 0);
}

void
agents_tokens(struct agents_bench *ab, const char *yaml)
{
	write_file(ab, "tokens.yaml", yaml);
}

static void
make_yaml(const struct agents_bench *ab, char *out, size_t size,
    const char *agents, const char *edge, const char *rest)
{
	int len = snprintf(out, size,
	    "edge: { listen: [ \"127.0.0.1:0\" ], state: %s/state,\n"
	    "  workers: 2, base_domain: base.test,\n"
	    "  agents: { server_names: [ " EDGE_NAME " ],\n"
	    "    authtokens_file: %s/tokens.yaml%s%s }%s%s }\n"
	    "certificates: [ { crt: %s/edge.pem, key: %s/edge.key } ]\n%s",
	    ab->folder, ab->folder, agents[0] ? ", " : "", agents,
	    edge[0] ? ", " : "", edge, ab->folder, ab->folder, rest);

	ck_assert_int_lt(len, (int)size);
}

static void
start_edge(struct agents_bench *ab, const char *yaml)
{
	struct snapshot *s = bench_snapshot(&ab->edge, yaml);
	struct text error;

	text_init(&error, ab->edge.error, sizeof(ab->edge.error));
	ab->tunnel = edge_tunnel_new(s, &error);
	ck_assert_msg(ab->tunnel != NULL, "%s", ab->edge.error);
	ab->edge.edge = edge_new(s, events_sink(&ab->edge.events),
	    &(struct edge_surroundings){
		.tunnel = edge_tunnel_host(ab->tunnel),
	    },
	    &error);
	ck_assert_msg(ab->edge.edge != NULL, "%s", ab->edge.error);
	snapshot_put(s);
}

static void
make_certificates(struct agents_bench *ab)
{
	ab->ca = make((struct recipe){ .ca = true });
	ab->leaf = make((struct recipe){
	    .issuer = ab->ca, .names = "DNS:" EDGE_NAME ",DNS:own.test" });
	ab->app =
	    make((struct recipe){ .issuer = ab->ca, .names = "DNS:a.test" });
	write_file(ab, "edge.pem", ab->leaf->crt);
	write_file(ab, "edge.key", ab->leaf->key_pem);
}

static void
make_host(struct agents_bench *ab)
{
	char storage[256];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(loop_init(&ab->loop), 0);
	timeouts_init(&ab->timeouts, clock_ms());
	ab->buffer = malloc(SESSION_BUFFER_BYTES);
	session_host_init(&ab->host, &ab->loop, &ab->timeouts, ab->buffer,
	    SESSION_BUFFER_BYTES);
	ab->tls = tls_context_new(NULL, -1);
	ab->trust = trust_parse(span_text(ab->ca->crt), &error);
	ck_assert_msg(ab->tls && ab->trust, "%s", storage);
}

void
agents_start(struct agents_bench *ab, const char *agents, const char *edge,
    const char *rest)
{
	char yaml[4096];

	*ab = (struct agents_bench){ .descriptors = 0 };
	bench_init(&ab->edge);
	ab->edge.events.takes_all = true;
	snprintf(ab->folder, sizeof(ab->folder), "/tmp/test_agents.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(ab->folder));
	make_certificates(ab);
	make_host(ab);
	agents_tokens(ab, AGENTS_TOKENS);
	make_yaml(ab, yaml, sizeof(yaml), agents, edge, rest);
	start_edge(ab, yaml);
}

bool
agents_reload(struct agents_bench *ab, const char *agents, const char *edge,
    const char *rest)
{
	struct snapshot *s;
	struct text error;
	char yaml[4096];
	int result;

	make_yaml(ab, yaml, sizeof(yaml), agents, edge, rest);
	s = bench_snapshot(&ab->edge, yaml);
	text_init(&error, ab->edge.error, sizeof(ab->edge.error));
	result = edge_tunnel_prepare(ab->tunnel, s, &error);
	if (result == 0) {
		result = edge_reload(
		    ab->edge.edge, s, events_sink(&ab->edge.events), &error);
		ck_assert_int_eq(result, 0);
		edge_tunnel_commit(ab->tunnel);
	}
	snapshot_put(s);
	ck_assert_int_eq(result != 0, error.len > 0);
	return result == 0;
}

static void
remove_folder(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	char path[512];

	if (!d)
		return;
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (unlink(path) != 0)
			remove_folder(path);
	}
	closedir(d);
	rmdir(folder);
}

void
agents_stop(struct agents_bench *ab)
{
	session_host_fini(&ab->host);
	edge_free(ab->edge.edge);
	ab->edge.edge = NULL;
	edge_tunnel_free(ab->tunnel);
	loop_fini(&ab->loop);
	tls_context_free(ab->tls);
	trust_put(ab->trust);
	free(ab->buffer);
	remove_folder(ab->folder);
	bench_fini(&ab->edge);
}

void
agents_turn(struct agents_bench *ab)
{
	int wait_ms = timeouts_wait_ms(&ab->timeouts, clock_ms());

	/* Others' threads are waited for as well. */
	loop_turn(&ab->loop, wait_ms < 0 || wait_ms > 5 ? 5 : wait_ms);
	timeouts_run(&ab->timeouts, clock_ms());
}

/* --- an agent --- */

static void
on_open(struct session *s)
{
	struct agent_peer *p = session_owner(s);

	p->opened = true;
}

static void
answer(struct session *s, uint32_t id)
{
	session_answer(s, id, span_text("{\"Error\":\"\"}"));
}

static void
on_ask(struct agent_peer *p, uint32_t id, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_uint_lt(p->ask_count, AGENT_MAX_ASKS);
	ck_assert_int_eq(
	    data_connections_read(json, &p->asks[p->ask_count], &error), 0);
	p->ask_count++;
	if (!p->leaves_asks)
		answer(p->session, id);
}

static void
on_stop_tunnel(struct agent_peer *p, struct span json)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct stop_tunnel stop;
	struct text error;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(stop_tunnel_read(json, &stop, &error), 0);
	snprintf(p->stopped_id, sizeof(p->stopped_id), "%s", stop.id);
	stop_tunnel_fini(&stop);
}

static void
on_request(struct session *s, uint32_t type, uint32_t id, struct span json)
{
	struct agent_peer *p = session_owner(s);

	switch (type) {
	case MESSAGE_DATA_CONNECTIONS:
		on_ask(p, id, json);
		return;
	case MESSAGE_MOVING:
		p->moving_count++;
		break;
	case MESSAGE_STOP:
		p->stop_count++;
		break;
	case MESSAGE_STOP_TUNNEL:
		on_stop_tunnel(p, json);
		break;
	default:
		break;
	}
	answer(s, id);
}

static void
on_reset(struct mux_stream *stream, uint32_t error)
{
	struct agent_peer *p = mux_stream_owner(stream);

	(void)error;
	for (unsigned i = 0; i < p->stream_count; i++)
		if (p->streams[i] == stream)
			p->streams[i] = NULL;
}

static const char *pending_text;
static bool pending_fin;

static void
on_room(struct mux_stream *stream, struct mux_room *room)
{
	size_t len = pending_text ? strlen(pending_text) : 0;

	(void)stream;
	if (len > room->size)
		len = room->size;
	if (len > 0)
		memcpy(room->data, pending_text, len);
	room->used = len;
	pending_text = pending_text ? pending_text + len : NULL;
	room->more = pending_text && *pending_text;
	room->fin = pending_fin && !room->more;
}

static const struct mux_stream_calls stream_calls = {
	.on_reset = on_reset,
	.on_room = on_room,
};

static void
on_stream(struct session *s, struct mux_stream *stream)
{
	struct agent_peer *p = session_owner(s);

	ck_assert_uint_lt(p->stream_count, AGENT_MAX_STREAMS);
	mux_own(stream, &stream_calls, p);
	p->streams[p->stream_count++] = stream;
}

static void
on_end(struct session *s, enum session_end end, const char *detail)
{
	struct agent_peer *p = session_owner(s);

	p->session = NULL;
	p->end = end;
	snprintf(p->end_detail, sizeof(p->end_detail), "%s", detail);
	data_keys_wipe(&p->keys);
}

static const struct session_calls calls = {
	.on_open = on_open,
	.on_request = on_request,
	.on_stream = on_stream,
	.on_end = on_end,
};

static struct tls_stream *
make_tls(struct agents_bench *ab, int fd, bool is_lunette)
{
	if (is_lunette)
		return tls_session_connect(ab->tls, fd,
		    &(struct tls_session_settings){
			.trust = ab->trust,
			.server_name = span_text(EDGE_NAME),
		    });
	return tls_connect(ab->tls, fd,
	    &(struct tls_client_settings){
		.trust = ab->trust,
		.server_name = span_text(EDGE_NAME),
	    });
}

void
agent_try_connect(
    struct agents_bench *ab, struct agent_peer *p, bool is_lunette)
{
	int fd = bench_connect(&ab->edge);
	struct session_settings settings = {
		.is_agent = true,
		.admitted = true,
		.heartbeat_interval_ms = ab->heartbeat_ms,
		.heartbeat_tolerance_ms = ab->heartbeat_ms,
		.calls = &calls,
		.owner = p,
	};

	*p = (struct agent_peer){ .at = ab };
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	p->session =
	    session_new(&ab->host, fd, make_tls(ab, fd, is_lunette), &settings);
	ck_assert_ptr_nonnull(p->session);
	AGENTS_UNTIL(ab, p->opened || !p->session);
}

void
agent_connect(struct agents_bench *ab, struct agent_peer *p, bool is_lunette)
{
	agent_try_connect(ab, p, is_lunette);
	ck_assert_msg(p->opened, "%s", p->end_detail);
}

void
agent_wait_end(struct agent_peer *p)
{
	AGENTS_UNTIL(p->at, !p->session);
}

void
agent_close(struct agent_peer *p)
{
	if (p->session)
		session_close(p->session, "");
	agent_wait_end(p);
}

static void
on_reply(
    struct session *s, void *owner, enum session_reply reply, struct span json)
{
	struct agent_peer *p = owner;

	(void)s;
	snprintf(p->json, sizeof(p->json), "%.*s", SPAN_ARG(json));
	p->reply = reply;
	p->replied = true;
}

void
agent_say(struct agent_peer *p, uint32_t type, struct span json)
{
	p->replied = false;
	ck_assert_int_eq(
	    session_request(p->session, type, json, on_reply, p), 0);
	AGENTS_UNTIL(p->at, p->replied);
}

void
agent_say_text(struct agent_peer *p, uint32_t type, const char *json)
{
	agent_say(p, type, span_text(json));
}

static unsigned
number_of(const char *error)
{
	unsigned number;

	if (!error || !error[0])
		return 0;
	number = ngrok_error_find(span_text(error));
	return number ? number : 1;
}

static char *
or_default(char *text, const char *otherwise)
{
	return text ? text : LEND(otherwise);
}

static void
note_welcome(struct agent_peer *p, const struct auth_response *r)
{
	snprintf(p->client_id, sizeof(p->client_id), "%s", r->client_id);
	snprintf(p->cookie, sizeof(p->cookie), "%s", r->cookie);
	snprintf(p->id, sizeof(p->id), "%s", r->agent_session_id);
	if (r->session_id.len == 0)
		return;
	ck_assert_uint_eq(r->session_id.len, DATA_SESSION_BYTES);
	ck_assert_int_eq(data_keys_init(&p->keys, session_tls(p->session),
			     r->session_id.data),
	    0);
	p->has_keys = true;
}

unsigned
agent_auth(struct agent_peer *p, struct auth a)
{
	static char *versions[] = { LEND("3"), LEND("2") };
	char storage[MESSAGE_ERROR_SIZE];
	struct auth_response r;
	struct text error;
	struct span json;
	unsigned number;

	if (!a.versions.items)
		a.versions = (struct message_texts){ versions, 2 };
	a.client_id = or_default(a.client_id, "");
	a.cookie = or_default(a.cookie, "");
	a.os = or_default(a.os, "linux");
	a.client_type = or_default(a.client_type, "test");
	a.metadata = or_default(a.metadata, "meta \"data\"");
	ck_assert_int_eq(auth_write(&a, &json), 0);
	agent_say(p, MESSAGE_AUTH, json);
	message_wipe(&json);
	if (p->reply != SESSION_REPLY_OK)
		return 2;
	text_init(&error, storage, sizeof(storage));
	ck_assert_msg(auth_response_read(span_text(p->json), &r, &error) == 0,
	    "%s", storage);
	number = number_of(r.error);
	if (number == 0)
		note_welcome(p, &r);
	auth_response_fini(&r);
	return number;
}

void
agent_join(struct agents_bench *ab, struct agent_peer *p, bool is_lunette,
    const char *token)
{
	agent_connect(ab, p, is_lunette);
	ck_assert_uint_eq(
	    agent_auth(p, (struct auth){ .auth_token = LEND(token) }), 0);
}

static void
note_bound(struct agent_peer *p, const struct bind_response *r)
{
	ck_assert_int_eq(strncmp(r->url, "tls://", 6), 0);
	snprintf(p->name, sizeof(p->name), "%s", r->url + 6);
	snprintf(p->bind_id, sizeof(p->bind_id), "%s", r->id);
	snprintf(p->bind_token, sizeof(p->bind_token), "%s", r->token);
}

unsigned
agent_bind(struct agent_peer *p, struct bind b)
{
	char storage[MESSAGE_ERROR_SIZE];
	struct bind_response r;
	struct text error;
	struct span json;
	unsigned number;

	b.proto = or_default(b.proto, "tls");
	ck_assert_int_eq(bind_write(&b, &json), 0);
	agent_say(p, MESSAGE_BIND, json);
	message_wipe(&json);
	if (p->reply != SESSION_REPLY_OK)
		return 2;
	text_init(&error, storage, sizeof(storage));
	ck_assert_msg(bind_response_read(span_text(p->json), &r, &error) == 0,
	    "%s: %s", storage, p->json);
	number = number_of(r.error);
	if (number == 0)
		note_bound(p, &r);
	bind_response_fini(&r);
	return number;
}

unsigned
agent_bind_name(struct agent_peer *p, const char *name)
{
	return agent_bind(
	    p, (struct bind){ .options = { .domain = LEND(name) } });
}

void
agent_unbind_quietly(struct agent_peer *p, const char *id)
{
	const struct unbind u = { .id = LEND(id) };
	struct span json;

	ck_assert_int_eq(unbind_write(&u, &json), 0);
	agent_say(p, MESSAGE_UNBIND, json);
	message_wipe(&json);
}

void
agent_unbind(struct agent_peer *p, const char *id)
{
	agent_unbind_quietly(p, id);
	ck_assert_int_eq(p->reply, SESSION_REPLY_OK);
	ck_assert_ptr_nonnull(strstr(p->json, "\"Error\""));
}

void
agent_stream_read(
    struct agent_peer *p, struct mux_stream *s, void *data, size_t len)
{
	size_t got = 0;

	while (got < len) {
		struct span piece = mux_peek(s);

		if (piece.len == 0) {
			ck_assert_msg(!mux_at_end(s), "the end");
			AGENTS_UNTIL(
			    p->at, mux_unread_bytes(s) > 0 || mux_at_end(s));
			continue;
		}
		if (piece.len > len - got)
			piece.len = len - got;
		memcpy((char *)data + got, piece.data, piece.len);
		mux_take(s, piece.len, clock_ms());
		got += piece.len;
	}
}

void
agent_stream_write(
    struct agent_peer *p, struct mux_stream *s, const char *text, bool fin)
{
	pending_text = text;
	pending_fin = fin;
	mux_want(s);
	AGENTS_UNTIL(p->at, !pending_text || !*pending_text);
}

#include "policy_support.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct bench *
policy_bench_of(struct policy_conn *c)
{
	return CONTAINER_OF(c, struct bench, conn);
}

static const struct hello *
host_hello(struct policy_conn *c)
{
	struct bench *b = policy_bench_of(c);

	return b->has_hello ? &b->hello : NULL;
}

static char label_name[] = "team", label_value[] = "payments";
static char *const label_names[] = { label_name };
static char *const label_values[] = { label_value };

static bool
host_endpoint(struct policy_conn *c, struct policy_endpoint *out)
{
	if (!c->sni.len)
		return false;
	*out = (struct policy_endpoint){
		.url = "tls://app.example.com",
		.domain = "app.example.com",
		.terminate_at = "upstream",
		.metadata = "",
		.online = true,
		.agents = 2,
		.label_count = 1,
		.label_names = label_names,
		.label_values = label_values,
	};
	return true;
}

static bool
host_knows_endpoint(struct policy_conn *c, struct span url)
{
	(void)c;
	return span_is(url, "tls://known.example.com");
}

static bool
host_knows_certificate(struct policy_conn *c, struct span label)
{
	(void)c;
	return span_is(label, "app");
}

static void
host_tls(struct policy_conn *c, struct tls_facts *out)
{
	ck_assert(c->terminated);
	*out = policy_bench_of(c)->tls;
}

static const struct peer *
host_peer(struct policy_conn *c)
{
	ck_assert(c->terminated);
	policy_bench_of(c)->peer_reads++;
	return policy_bench_of(c)->peer;
}

static void
host_log(struct policy_conn *c, struct span json)
{
	struct bench *b = policy_bench_of(c);

	ck_assert_uint_lt(json.len, sizeof(b->log[0]));
	if (b->log_count == BENCH_LOGS)
		return;
	memcpy(b->log[b->log_count], json.data, json.len);
	b->log[b->log_count++][json.len] = '\0';
}

static int
host_track(struct policy_conn *c, struct span key)
{
	struct bench *b = policy_bench_of(c);

	if (span_is(key, "full"))
		return -7; /* E2BIG */
	snprintf(b->tracked, sizeof(b->tracked), "%.*s", SPAN_ARG(key));
	return 0;
}

static uint32_t
host_active(void *data, struct span key)
{
	(void)data;
	return (uint32_t)key.len;
}

static bool
host_geo(void *data, const struct addr *client, const char *name, char *out,
    size_t size)
{
	(void)data;
	(void)client;
	if (!strcmp(name, "country_code"))
		snprintf(out, size, "NL");
	else if (!strcmp(name, "as.number"))
		snprintf(out, size, "64500");
	else
		return false;
	return true;
}

void
policy_bench_init(struct bench *b)
{
	static const char *const alpn[] = { "h2", "http/1.1" };
	static char *path[1];
	static char lua_folder[512];
	const char *source = getenv("SOURCE");
	size_t len;

	memset(b, 0, sizeof(*b));
	text_init(&b->error, b->error_storage, sizeof(b->error_storage));
	snprintf(b->folder, sizeof(b->folder), "/tmp/lunette-policy-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(b->folder));
	snprintf(
	    lua_folder, sizeof(lua_folder), "%s/lua", source ? source : ".");
	path[0] = lua_folder;
	b->host = (struct policy_host){
		.hello = host_hello,
		.endpoint = host_endpoint,
		.knows_endpoint = host_knows_endpoint,
		.knows_certificate = host_knows_certificate,
		.tls = host_tls,
		.peer = host_peer,
		.log = host_log,
		.track = host_track,
		.active = host_active,
		.geo = host_geo,
	};
	b->settings = (struct policy_settings){
		.path = path,
		.path_count = 1,
		.cpu_ms = 50,
		.memory_bytes = 16 * 1024 * 1024,
		.run_memory_bytes = 1024 * 1024,
		.host = &b->host,
		.host_data = b,
	};
	snprintf(b->conn.id, sizeof(b->conn.id), "conn_1");
	ck_assert_int_eq(
	    addr_parse(span_text("192.0.2.7"), &b->conn.client), 0);
	ck_assert_int_eq(addr_parse(span_text("10.0.0.1"), &b->conn.peer), 0);
	ck_assert_int_eq(
	    addr_parse(span_text("2001:db8::1"), &b->conn.server), 0);
	b->conn.client.port = 40000;
	b->conn.peer.port = 40001;
	b->conn.server.port = 443;
	b->conn.listener = "0.0.0.0:443";
	b->conn.start_wall_us = 1700000000500000;
	b->conn.sni = span_text("app.example.com");
	len = hello_build(b->wire, sizeof(b->wire), b->conn.sni, alpn, 2);
	ck_assert_uint_gt(len, 0);
	ck_assert_int_eq(
	    hello_parse(span_of(b->wire, len), NULL, &b->hello).parse,
	    PARSE_OK);
	b->has_hello = true;
}

static void
drop_policy(struct bench *b)
{
	if (b->run)
		policy_finish(b->run);
	b->run = NULL;
	policy_free(b->policy);
	b->policy = NULL;
}

void
policy_bench_fini(struct bench *b)
{
	char command[128];

	drop_policy(b);
	snprintf(command, sizeof(command), "rm -r %s", b->folder);
	ck_assert_int_eq(system(command), 0);
}

void
policy_bench_write(struct bench *b, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", b->folder, name);
	/* A new file: for one that is written over, ext4 waits for the disk. */
	(void)unlink(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

bool
policy_bench_load(struct bench *b, const char *text)
{
	char path[256];
	char *scripts[1] = { path };

	drop_policy(b);
	policy_bench_write(b, "policy.lua", text);
	snprintf(path, sizeof(path), "%s/policy.lua", b->folder);
	b->settings.scripts = scripts;
	b->settings.script_count = 1;
	text_clear(&b->error);
	b->policy = policy_new(&b->settings, &b->error);
	return b->policy != NULL;
}

struct policy_outcome *
policy_bench_run(struct bench *b)
{
	if (b->run)
		policy_finish(b->run);
	b->run = policy_start(b->policy, 0, &b->conn, NULL);
	ck_assert_ptr_nonnull(b->run);
	return policy_outcome(b->run);
}

struct policy_outcome *
policy_bench_try(struct bench *b, const char *text)
{
	ck_assert_msg(policy_bench_load(b, text), "%s", b->error.data);
	return policy_bench_run(b);
}

struct policy_outcome *
policy_bench_body(struct bench *b, const char *body)
{
	static const char head[] =
	    "local lunette = require 'lunette'\nreturn function(conn)\n";
	char *text = malloc(strlen(body) + sizeof(head) + 16);
	struct policy_outcome *o;

	ck_assert_ptr_nonnull(text);
	strcpy(text, head);
	strcat(text, body);
	strcat(text, "\nend\n");
	o = policy_bench_try(b, text);
	free(text);
	return o;
}

struct policy_outcome *
policy_bench_shake_hands(struct bench *b)
{
	b->conn.terminated = true;
	b->has_hello = false;
	b->tls = (struct tls_facts){
		.version = TLS_VERSION_1_3,
		.version_name = "TLSv1.3",
		.cipher_suite = "TLS_AES_128_GCM_SHA256",
		.alpn = span_text("h2"),
	};
	policy_resume(b->run, NULL);
	return policy_outcome(b->run);
}

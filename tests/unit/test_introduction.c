/* How an agent knows its edge, and what it says of itself. */
#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "tls/token.h"
#include "tls_scene.h"
#include "tunnel/introduction.h"
#include "tunnel/message.h"

#define TOKEN "a token of sixteen bytes or more"

static struct scene scene;
static struct edge_trust trust;
static struct upstream_address edge;

static void
setup(void)
{
	const char *why;

	scene_open(&scene);
	ck_assert_int_eq(
	    upstream_address_parse(span_text("a.test:443"), &edge, &why), 0);
}

static void
teardown(void)
{
	edge_trust_fini(&trust);
	edge_trust_fini(&trust);
	scene_close(&scene);
}

static bool
load(const char *connect_cas)
{
	char storage[512];
	struct text error;
	bool good;

	edge_trust_fini(&trust);
	text_init(&error, storage, sizeof(storage));
	good = edge_trust_load(&trust, connect_cas, &error);
	ck_assert_int_eq(good, error.len == 0);
	return good;
}

/* Both ends; whether the agent takes the edge for one. */
static bool
meet(void)
{
	enum io server, client;
	int fds[2];

	scene_part(&scene);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	scene.server_fd = fds[0];
	scene.client_fd = fds[1];
	scene.server =
	    tls_session_accept(scene.edge, scene.server_fd, &scene.keys);
	scene.client =
	    edge_connect_tls(scene.outside, scene.client_fd, &trust, &edge);
	ck_assert_ptr_nonnull(scene.client);
	scene_shake(&scene, &server, &client);
	return client == IO_OK;
}

START_TEST(whom_it_takes_for_its_edge)
{
	const char *cas = make_file("edge-cas.pem", scene.ca->crt);
	const char *others = make_file("other-cas.pem", scene.client_ca->crt);
	const char *why;

	ck_assert(load(cas));
	ck_assert(meet());
	ck_assert_int_eq(
	    upstream_address_parse(span_text("c.test:443"), &edge, &why), 0);
	ck_assert(!meet());
	ck_assert_int_eq(
	    upstream_address_parse(span_text("192.0.2.1:443"), &edge, &why), 0);
	ck_assert(!meet());
	ck_assert(load(others));
	ck_assert(!meet());
	ck_assert(!load(path_of("absent.pem")));
	ck_assert(!load(make_file("nothing.pem", "nothing")));
}
END_TEST

/* The name does not matter. */
START_TEST(the_one_edge_that_is_pinned)
{
	const char *why;
	char pin[80];

	snprintf(pin, sizeof(pin), "sha256:%s",
	    certificate_fingerprint(scene.keys.by_kind[KEY_ECDSA]));
	ck_assert_int_eq(
	    upstream_address_parse(span_text("192.0.2.1:443"), &edge, &why), 0);
	ck_assert(load(pin));
	ck_assert(trust.pinned && !trust.trust);
	ck_assert(meet());
	pin[70] = pin[70] == '0' ? '1' : '0';
	ck_assert(load(pin));
	ck_assert(!meet());
}
END_TEST

START_TEST(the_roots_of_this_host)
{
	const char *cas = make_file("roots.pem", scene.ca->crt);

	setenv("SSL_CERT_FILE", cas, 1);
	for (int i = 0; i < 2; i++) {
		ck_assert(load(i ? "host" : NULL));
		ck_assert(meet());
	}
}
END_TEST

START_TEST(the_way_to_it)
{
	static char own[] = "socks5://proxy.test:1";
	struct agent_settings settings = { .proxy_url = NULL };

	unsetenv("http_proxy");
	ck_assert_ptr_null(edge_proxy_url(&settings));
	setenv("http_proxy", "", 1);
	ck_assert_ptr_null(edge_proxy_url(&settings));
	setenv("http_proxy", "http://proxy.test:2", 1);
	ck_assert_str_eq(edge_proxy_url(&settings), "http://proxy.test:2");
	settings.proxy_url = own;
	ck_assert_str_eq(edge_proxy_url(&settings), own);
}
END_TEST

static void
introduce(const struct agent_settings *settings, struct auth *a)
{
	struct introduction self = {
		.settings = settings,
		.client_id = "who I was",
		.cookie = "and the proof",
		.user_agent = "a test",
	};
	char storage[MESSAGE_ERROR_SIZE];
	struct text error;
	struct span json;

	text_init(&error, storage, sizeof(storage));
	ck_assert_int_eq(introduction_write(&self, scene.client, &json), 0);
	ck_assert_ptr_null(memmem(json.data, json.len, TOKEN, strlen(TOKEN)));
	ck_assert_int_eq(auth_read(json, a, &error), 0);
	message_wipe(&json);
	ck_assert_str_eq(a->client_id, "who I was");
	ck_assert_str_eq(a->cookie, "and the proof");
	ck_assert_str_eq(a->user_agent, "a test");
	ck_assert_str_eq(a->versions.items[0], "3");
	ck_assert_str_eq(a->metadata, "rack 7");
	ck_assert_int_eq(a->heartbeat_interval_ns, INT64_C(5000000000));
	ck_assert_str_ne(a->version, "");
	ck_assert_str_ne(a->arch, "");
}

START_TEST(what_it_says_of_itself)
{
	static char metadata[] = "rack 7", token[] = TOKEN, brief[] = "brief";
	struct agent_settings settings = {
		.metadata = metadata,
		.authtoken = token,
		.heartbeat_interval_ms = 5000,
		.heartbeat_tolerance_ms = 15000,
	};
	uint8_t binding[TOKEN_BINDING_BYTES], hash[SHA256_BYTES];
	uint8_t recovered[TOKEN_MAX_BYTES];
	struct auth a;

	ck_assert(load(make_file("edge-cas.pem", scene.ca->crt)));
	ck_assert(meet());
	introduce(&settings, &a);
	ck_assert_str_eq(a.auth_token, "");
	ck_assert_uint_eq(a.token_id.len, TOKEN_ID_BYTES);
	ck_assert_int_eq(token_binding(scene.server, binding), 0);
	ck_assert_int_eq(sha256_bytes(span_text(TOKEN), hash), 0);
	ck_assert_int_eq(
	    token_recover(binding, hash, message_span(&a.proof), recovered), 0);
	ck_assert_mem_eq(recovered, TOKEN, strlen(TOKEN));
	auth_fini(&a);
	/* Too short to be proved. */
	settings.authtoken = brief;
	introduce(&settings, &a);
	ck_assert_str_eq(a.auth_token, "brief");
	ck_assert_uint_eq(a.proof.len, 0);
	auth_fini(&a);
	settings.authtoken = NULL;
	introduce(&settings, &a);
	ck_assert_str_eq(a.auth_token, "");
	ck_assert_uint_eq(a.token_id.len, 0);
	auth_fini(&a);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, whom_it_takes_for_its_edge);
	tcase_add_test(tcase, the_one_edge_that_is_pinned);
	tcase_add_test(tcase, the_roots_of_this_host);
	tcase_add_test(tcase, the_way_to_it);
	tcase_add_test(tcase, what_it_says_of_itself);
}

UNIT_MAIN("introduction", add_tests)

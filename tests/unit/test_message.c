#include "message_bench.h"

#include <errno.h>
#include <stdio.h>

static void
ck_bytes(const struct message_bytes *b, const char *expected)
{
	ck_assert(span_is(message_span(b), expected));
}

/* --- what SDKs send --- */

START_TEST(an_auth_of_the_sdk_is_read)
{
	struct auth *a = &message.auth;

	read_good("auth", SDK_AUTH);
	ck_assert_uint_eq(a->versions.count, 2);
	ck_assert_str_eq(a->versions.items[0], "3");
	ck_assert_str_eq(a->versions.items[1], "2");
	ck_assert_str_eq(a->client_id, "");
	ck_assert_str_eq(a->os, "linux");
	ck_assert_str_eq(a->arch, "x86_64");
	ck_assert_str_eq(a->auth_token, "a token");
	ck_assert_str_eq(a->version, "1.7.0");
	ck_assert_str_eq(
	    a->user_agent, "ngrok-javascript/1.7.0 ngrok-rust/0.18.0");
	ck_assert_str_eq(a->metadata, "meta \"x\"");
	ck_assert_int_eq(a->heartbeat_interval_ns, 10000000000);
	ck_assert_int_eq(a->heartbeat_tolerance_ns, 15000000000);
	ck_assert_ptr_nonnull(strstr(a->update_unsupported, "callback"));
	ck_assert_str_eq(a->stop_unsupported, "");
	ck_assert_str_eq(a->restart_unsupported, "");
	ck_assert(!a->mutual_tls && !a->service_run && !a->custom_cas);
	ck_assert_str_eq(a->client_type, "ngrok-javascript");
	ck_assert_ptr_null(a->proof.data);
	auth_fini(a);
}
END_TEST

START_TEST(an_auth_of_go_is_read)
{
	struct auth *a = &message.auth;

	read_good("auth", GO_AUTH);
	ck_assert_str_eq(a->auth_token, "a token");
	ck_assert_str_eq(a->client_id, "c");
	ck_assert_str_eq(a->cookie, "cookie");
	ck_assert_ptr_null(a->update_unsupported);
	ck_assert_ptr_null(a->stop_unsupported);
	ck_assert_uint_eq(a->leg_number, UINT32_MAX);
	auth_fini(a);
}
END_TEST

START_TEST(a_proof_is_read)
{
	struct auth *a = &message.auth;

	read_good("auth", LUNETTE_AUTH);
	ck_assert_str_eq(a->auth_token, "");
	ck_assert_uint_eq(a->token_id.len, 8);
	ck_assert_mem_eq(a->token_id.data, "\0\1\2\3\4\5\6\7", 8);
	ck_assert_uint_eq(a->proof.len, 16);
	auth_fini(a);
}
END_TEST

START_TEST(binds_of_the_sdk_are_read)
{
	struct bind *b = &message.bind;

	read_good("bind", SDK_PASSTHROUGH);
	ck_assert_str_eq(b->proto, "tls");
	ck_assert_str_eq(b->forwards_to, "localhost:1");
	ck_assert_str_eq(b->options.domain, "app.example.com");
	ck_assert_str_eq(b->options.url, "");
	ck_assert(!b->options.ends_at_edge);
	ck_assert(!b->options.has_mutual_tls_at_edge);
	ck_assert(!b->options.has_traffic_policy);
	ck_assert_uint_eq(b->options.allow_cidrs.count, 0);
	ck_assert_str_eq(b->metadata, "m");
	ck_assert(!b->pooling_enabled);
	bind_fini(b);

	read_good("bind", SDK_TERMINATED);
	ck_assert_uint_eq(b->options.proxy_proto, 2);
	ck_assert(b->options.mutual_tls_at_agent);
	ck_assert(b->options.has_mutual_tls_at_edge);
	ck_bytes(&b->options.mutual_tls_ca, "CA");
	ck_assert(b->options.ends_at_edge);
	ck_bytes(&b->options.cert, "CRT");
	ck_bytes(&b->options.key, "KEY");
	ck_assert_uint_eq(b->options.allow_cidrs.count, 2);
	ck_assert_str_eq(b->options.allow_cidrs.items[1], "::/0");
	ck_assert_str_eq(b->options.deny_cidrs.items[0], "10.1.0.0/16");
	ck_assert(b->pooling_enabled);
	bind_fini(b);
}
END_TEST

/* The edge's own certificate: an empty object, or empty texts. */
static const char *const own_certificate[] = { "{}",
	"{\"cert\":\"\",\"key\":\"\"}", "{\"cert\":null,\"sealed_key\":\"\"}" };

START_TEST(termination_without_a_certificate)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"Opts\":{\"TLSTermination\":%s}}",
	    own_certificate[_i]);
	read_good("bind", json);
	ck_assert(message.bind.options.ends_at_edge);
	ck_assert_ptr_null(message.bind.options.cert.data);
	ck_assert_ptr_null(message.bind.options.key.data);
	bind_fini(&message.bind);
}
END_TEST

static const struct {
	const char *json;
	bool has;
} policies[] = {
	{ "\"TrafficPolicy\":\"\"", false },
	{ "\"TrafficPolicy\":null,\"Policy\":null", false },
	{ "\"TrafficPolicy\":{},\"Policy\":[]", false },
	{ "\"TrafficPolicy\":\"x\"", true },
	{ "\"TrafficPolicy\":{\"inbound\":[]}", true },
	{ "\"TrafficPolicy\":\"x\",\"Policy\":null", true },
	{ "\"TrafficPolicy\":\"\",\"Policy\":{\"Inbound\":null}", true },
	{ "\"Policy\":[1]", true },
	{ "\"Policy\":false", true },
	{ "\"Policy\":0", true },
};

START_TEST(a_policy_is_noticed_in_any_form)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"Opts\":{%s}}", policies[_i].json);
	read_good("bind", json);
	ck_assert_int_eq(
	    message.bind.options.has_traffic_policy, policies[_i].has);
	bind_fini(&message.bind);
}
END_TEST

/* ngrok-go sent it under another name for a while. */
START_TEST(pooling_has_two_names)
{
	read_good("bind", "{\"Extra\":{\"AllowsPooling\":true}}");
	ck_assert(message.bind.pooling_enabled);
	bind_fini(&message.bind);
}
END_TEST

START_TEST(labels_come_in_the_order_of_their_names)
{
	struct message_labels *l = &message.start_labelled.labels;

	read_good("start_labelled", LABELLED);
	ck_assert_uint_eq(l->count, 3);
	ck_assert_str_eq(l->items[0].name, "a");
	ck_assert_str_eq(l->items[0].value, "1");
	ck_assert_str_eq(l->items[2].name, "c");
	ck_assert_str_eq(l->items[2].value, "");
	start_labelled_fini(&message.start_labelled);
}
END_TEST

/* --- for every message --- */

/* Nothing at all, or everything null: all is empty, no text is NULL that must
 * not be, and that can be written and read again. */
START_TEST(an_empty_message_has_the_defaults)
{
	const struct message_kind *kind = &message_kinds[_i];
	struct span out;

	if (!strcmp(kind->name, "data_connections") ||
	    !strcmp(kind->name, "data_end"))
		return;
	ck_assert_int_eq(read_span(kind, span_text("{}")), 0);
	ck_assert_int_eq(kind->write(&message, &out), 0);
	kind->fini(&message);
	ck_assert_int_eq(read_span(kind, out), 0);
	kind->fini(&message);
	message_wipe(&out);
	ck_assert_int_eq(
	    read_span(kind, span_text("{\"Extra\":null,\"Opts\":null,"
				      "\"Version\":null,\"Id\":null,"
				      "\"Labels\":null,\"Error\":null}")),
	    0);
	kind->fini(&message);
	kind->fini(&message);
}
END_TEST

START_TEST(a_struct_of_zeros_can_be_written)
{
	union any_message nothing;
	struct span out;

	memset(&nothing, 0, sizeof(nothing));
	ck_assert_int_eq(message_kinds[_i].write(&nothing, &out), 0);
	ck_assert(out.len > 0 && out.data[0] == '{');
	message_wipe(&out);
	message_kinds[_i].fini(&nothing);
}
END_TEST

/* Read, written, read and written: the second text is the first. */
START_TEST(what_is_written_is_read)
{
	const struct message_kind *kind = kind_of(message_samples[_i].kind);
	struct span first, second;

	read_good(message_samples[_i].kind, message_samples[_i].json);
	ck_assert_int_eq(kind->write(&message, &first), 0);
	kind->fini(&message);
	ck_assert_int_eq(read_span(kind, first), 0);
	ck_assert_int_eq(kind->write(&message, &second), 0);
	kind->fini(&message);
	ck_assert_msg(span_equal(first, second), "%.*s\n%.*s", SPAN_ARG(first),
	    SPAN_ARG(second));
	message_wipe(&first);
	message_wipe(&second);
	ck_assert_ptr_null(first.data);
}
END_TEST

START_TEST(what_is_cut_is_refused)
{
	const struct message_kind *kind = kind_of(message_samples[_i].kind);
	struct span json = span_text(message_samples[_i].json);

	for (size_t len = 0; len < json.len; len++)
		ck_assert_int_eq(
		    read_span(kind, span_of(json.data, len)), -EPROTO);
}
END_TEST

/* --- what is written --- */

static void
ck_written(int result, struct span *out, const char *expected)
{
	ck_assert_int_eq(result, 0);
	ck_assert_msg(
	    span_is(*out, expected), "%.*s\n%s", SPAN_ARG(*out), expected);
	message_wipe(out);
}

START_TEST(lunettes_agent_proves_its_token)
{
	static uint8_t id[8], proof[16] = { 0xff };
	struct auth a = {
		.versions = { (char *[]){
				  message_lend("3"), message_lend("2") },
		    2 },
		.client_id = message_lend("ag_x"),
		.os = message_lend("linux"),
		.metadata = message_lend("\xff\n"),
		.stop_unsupported = message_lend(""),
		.token_id = { id, sizeof(id) },
		.proof = { proof, sizeof(proof) },
	};
	struct span out;
	int result = auth_write(&a, &out);

	ck_written(result, &out,
	    "{\"Version\":[\"3\",\"2\"],\"ClientId\":\"ag_x\",\"Extra\":{"
	    "\"OS\":\"linux\",\"Arch\":\"\",\"AuthToken\":\"\",\"Version\":"
	    "\"\",\"Hostname\":\"\",\"UserAgent\":\"\",\"Metadata\":"
	    "\"\xef\xbf\xbd\\u000a\",\"Cookie\":\"\",\"HeartbeatInterval\":0,"
	    "\"HeartbeatTolerance\":0,\"UpdateUnsupportedError\":null,"
	    "\"StopUnsupportedError\":\"\",\"RestartUnsupportedError\":null,"
	    "\"ProxyType\":\"\",\"MutualTLS\":false,\"ServiceRun\":false,"
	    "\"ConfigVersion\":\"\",\"CustomInterface\":false,\"CustomCAs\":"
	    "false,\"ClientType\":\"\",\"LegNumber\":0,\"TokenId\":"
	    "\"AAAAAAAAAAA=\",\"Proof\":\"/wAAAAAAAAAAAAAAAAAAAA==\"}}");
}
END_TEST

/* All that the SDK of Rust insists on is there, and no key. */
START_TEST(a_bind_response_holds_no_key)
{
	struct bind_response b = {
		.id = message_lend("i"),
		.url = message_lend("tls://a.test"),
		.proto = message_lend("tls"),
		.options = {
		    .domain = message_lend("a.test"),
		    .proxy_proto = 2,
		    .has_mutual_tls_at_edge = true,
		    .mutual_tls_ca = { (uint8_t *)message_lend("CA"), 2 },
		    .ends_at_edge = true,
		    .cert = { (uint8_t *)message_lend("CRT"), 3 },
		    .key = { (uint8_t *)message_lend("KEY"), 3 },
		    .deny_cidrs = { (char *[]){ message_lend("::/0") }, 1 },
		    .has_traffic_policy = true,
		},
		.token = message_lend("t"),
	};
	struct span out;
	int result = bind_response_write(&b, &out);

	ck_written(result, &out,
	    "{\"Id\":\"i\",\"URL\":\"tls://a.test\",\"Proto\":\"tls\",\"Opts\":"
	    "{\"URL\":\"\",\"Domain\":\"a.test\",\"Hostname\":\"\","
	    "\"Subdomain\":\"\",\"ProxyProto\":2,\"MutualTLSAtAgent\":false,"
	    "\"MutualTLSAtEdge\":{\"mutual_tls_ca\":\"\"},\"TLSTermination\":"
	    "{\"cert\":\"\",\"key\":\"\",\"sealed_key\":\"\"},"
	    "\"IPRestriction\":{\"allow_cidrs\":[],\"deny_cidrs\":[\"::/0\"]}},"
	    "\"Error\":\"\",\"Extra\":{\"Token\":\"t\"}}");
	b = (struct bind_response){ 0 };
	result = bind_response_write(&b, &out);
	ck_written(result, &out,
	    "{\"Id\":\"\",\"URL\":\"\",\"Proto\":\"\",\"Opts\":"
	    "{\"URL\":\"\",\"Domain\":\"\",\"Hostname\":\"\","
	    "\"Subdomain\":\"\",\"ProxyProto\":0,\"MutualTLSAtAgent\":false,"
	    "\"MutualTLSAtEdge\":null,\"TLSTermination\":null,"
	    "\"IPRestriction\":null},\"Error\":\"\",\"Extra\":{\"Token\":"
	    "\"\"}}");
}
END_TEST

/* A large one grows its buffer on the way; one that is too large is none. */
START_TEST(large_messages)
{
	static uint8_t pem[MESSAGE_PEM_MAX];
	struct bind b = { .options = {
			      .ends_at_edge = true,
			      .cert = { pem, sizeof(pem) },
			      .key = { pem, sizeof(pem) },
			  } };
	struct span out;

	memset(pem, 'x', sizeof(pem));
	ck_assert_int_eq(bind_write(&b, &out), 0);
	ck_assert_int_eq(read_span(kind_of("bind"), out), 0);
	ck_assert_uint_eq(message.bind.options.key.len, sizeof(pem));
	ck_assert_mem_eq(message.bind.options.key.data, pem, sizeof(pem));
	bind_fini(&message.bind);
	message_wipe(&out);
	b.options.has_mutual_tls_at_edge = true;
	b.options.mutual_tls_ca = b.options.cert;
	ck_assert_int_eq(bind_write(&b, &out), -EMSGSIZE);
	ck_assert_ptr_null(out.data);
}
END_TEST

START_TEST(empty_requests)
{
	struct span out;

	ck_assert_int_eq(message_write_empty(&out), 0);
	ck_assert(span_is(out, "{}"));
	text_init(&error, error_storage, sizeof(error_storage));
	ck_assert_int_eq(message_read_empty(out, &error), 0);
	message_wipe(&out);
	message_wipe(&out);
	ck_assert_int_eq(
	    message_read_empty(span_text("{\"a\":[1]}"), &error), 0);
	ck_assert_int_eq(message_read_empty(span_text("[]"), &error), -EPROTO);
	ck_assert_str_eq(error_storage, "the message is not a JSON object");
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, an_auth_of_the_sdk_is_read);
	tcase_add_test(tcase, an_auth_of_go_is_read);
	tcase_add_test(tcase, a_proof_is_read);
	tcase_add_test(tcase, binds_of_the_sdk_are_read);
	tcase_add_loop_test(tcase, termination_without_a_certificate, 0,
	    ARRAY_COUNT(own_certificate));
	tcase_add_loop_test(
	    tcase, a_policy_is_noticed_in_any_form, 0, ARRAY_COUNT(policies));
	tcase_add_test(tcase, pooling_has_two_names);
	tcase_add_test(tcase, labels_come_in_the_order_of_their_names);
	tcase_add_loop_test(tcase, an_empty_message_has_the_defaults, 0,
	    ARRAY_COUNT(message_kinds));
	tcase_add_loop_test(tcase, a_struct_of_zeros_can_be_written, 0,
	    ARRAY_COUNT(message_kinds));
	tcase_add_loop_test(
	    tcase, what_is_written_is_read, 0, ARRAY_COUNT(message_samples));
	tcase_add_loop_test(
	    tcase, what_is_cut_is_refused, 0, ARRAY_COUNT(message_samples));
	tcase_add_test(tcase, lunettes_agent_proves_its_token);
	tcase_add_test(tcase, a_bind_response_holds_no_key);
	tcase_add_test(tcase, large_messages);
	tcase_add_test(tcase, empty_requests);
}

UNIT_MAIN_TOGETHER("message", add_tests)

/*
 * Samples of messages: what an unmodified @ngrok/ngrok 1.7.0 was seen to send,
 * what ngrok-go sends, and Lunette's own; and how tests read them.
 */
#ifndef TESTS_MESSAGE_BENCH_H
#define TESTS_MESSAGE_BENCH_H

#include "bytes.h"
#include "message_kinds.h"
#include "unit.h"

#define SDK_AUTH                                                               \
	"{\"Version\":[\"3\",\"2\"],\"ClientId\":\"\",\"Extra\":{\"OS\":"      \
	"\"linux\",\"Arch\":\"x86_64\",\"AuthToken\":\"a token\",\"Version\":" \
	"\"1.7.0\",\"Hostname\":\"\",\"UserAgent\":\"ngrok-javascript/1.7.0 "  \
	"ngrok-rust/0.18.0\",\"Metadata\":\"meta \\\"x\\\"\",\"Cookie\":\"\"," \
	"\"HeartbeatInterval\":10000000000,\"HeartbeatTolerance\":15000000000" \
	",\"UpdateUnsupportedError\":\"the agent has not defined a callback "  \
	"for this operation\",\"StopUnsupportedError\":\"\","                  \
	"\"RestartUnsupportedError\":\"\",\"ProxyType\":\"\",\"MutualTLS\":"   \
	"false,\"ServiceRun\":false,\"ConfigVersion\":\"\","                   \
	"\"CustomInterface\":false,\"CustomCAs\":false,\"ClientType\":"        \
	"\"ngrok-javascript\"}}"

#define GO_AUTH                                                               \
	"{\"Version\":[\"3\",\"2\"],\"ClientId\":\"c\",\"Extra\":{\"OS\":"    \
	"\"linux\",\"Arch\":\"amd64\",\"Authtoken\":\"a token\",\"Version\":" \
	"\"v2\",\"Cookie\":\"cookie\",\"HeartbeatInterval\":0,"               \
	"\"Fingerprint\":null,\"UpdateUnsupportedError\":null,"               \
	"\"ClientType\":\"ngrok-go\",\"LegNumber\":4294967295}}"

#define LUNETTE_AUTH                                                    \
	"{\"Version\":[\"3\"],\"Extra\":{\"TokenId\":\"AAECAwQFBgc=\"," \
	"\"Proof\":\"AAECAwQFBgcICQoLDA0ODw==\"}}"

#define SDK_BIND(opts, more)                                               \
	"{\"Id\":\"\",\"Proto\":\"tls\",\"ForwardsTo\":\"localhost:1\","   \
	"\"ForwardsProto\":\"\",\"Opts\":{" opts "},\"Extra\":{\"Token\":" \
	"\"\",\"IPPolicyRef\":\"\",\"Metadata\":\"m\",\"Bindings\":[],"    \
	"\"PoolingEnabled\":" more "}}"

#define SDK_PASSTHROUGH                                                      \
	SDK_BIND("\"Domain\":\"app.example.com\",\"Hostname\":\"\","         \
		 "\"Subdomain\":\"\",\"ProxyProto\":0,\"MutualTLSAtAgent\":" \
		 "false,\"MutualTLSAtEdge\":null,\"TLSTermination\":null,"   \
		 "\"IPRestriction\":null,\"TrafficPolicy\":null",            \
	    "false")

#define SDK_TERMINATED                                                       \
	SDK_BIND("\"Domain\":\"a3.example.com\",\"Hostname\":\"\","          \
		 "\"Subdomain\":\"\",\"ProxyProto\":2,\"MutualTLSAtAgent\":" \
		 "true,\"MutualTLSAtEdge\":{\"mutual_tls_ca\":\"Q0E=\"},"    \
		 "\"TLSTermination\":{\"cert\":\"Q1JU\",\"key\":\"S0VZ\"},"  \
		 "\"IPRestriction\":{\"allow_cidrs\":[\"10.0.0.0/8\","       \
		 "\"::/0\"],\"deny_cidrs\":[\"10.1.0.0/16\"]},"              \
		 "\"TrafficPolicy\":null",                                   \
	    "true")

#define LABELLED                                                           \
	"{\"Labels\":{\"b\":\"2\",\"a\":\"1\",\"c\":\"\"},\"ForwardsTo\":" \
	"\"localhost:1\",\"ForwardsProto\":\"\",\"Metadata\":\"m\"}"

static const struct {
	const char *kind, *json;
} message_samples[] = {
	{ "auth", SDK_AUTH },
	{ "auth", GO_AUTH },
	{ "auth", LUNETTE_AUTH },
	{ "auth_response",
	    "{\"Version\":\"3\",\"ClientId\":\"ag_x\",\"Error\":\"no\\n\\n"
	    "ERR_NGROK_107\",\"Extra\":{\"Version\":\"0.1\",\"Region\":\"eu\","
	    "\"Cookie\":\"c\",\"AccountName\":\"a\",\"SessionDuration\":60,"
	    "\"PlanName\":\"p\",\"Banner\":\"b\",\"AgentSessionID\":\"ts_1\","
	    "\"SessionId\":\"AAECAwQFBgcICQoLDA0ODw==\"}}" },
	{ "srv_info_response", "{\"Region\":\"eu\"}" },
	{ "bind", SDK_PASSTHROUGH },
	{ "bind", SDK_TERMINATED },
	{ "bind",
	    "{\"Opts\":{\"URL\":\"tls://x.test\",\"TerminateAt\":\"agent\"},"
	    "\"Extra\":{\"Name\":\"n\",\"Description\":\"d\",\"Token\":\"t\","
	    "\"Bindings\":[\"public\"]}}" },
	{ "bind_response",
	    "{\"Id\":\"i\",\"URL\":\"tls://x.test\",\"Proto\":\"tls\","
	    "\"Opts\":{\"Domain\":\"x.test\",\"ProxyProto\":1,"
	    "\"TerminateAt\":\"edge\",\"MutualTLSAtEdge\":{},"
	    "\"TLSTermination\":{\"cert\":\"\"},\"IPRestriction\":"
	    "{\"allow_cidrs\":[\"::1/128\"]}},\"Error\":\"\","
	    "\"Extra\":{\"Token\":\"t\"}}" },
	{ "unbind", "{\"Id\":\"i\",\"Extra\":null}" },
	{ "start_labelled", LABELLED },
	{ "start_labelled_response", "{\"Id\":\"i\",\"Error\":\"\"}" },
	{ "error_response", "{\"Error\":\"no\"}" },
	{ "update", "{\"Version\":\"2\",\"PermitMajorVersion\":true}" },
	{ "stop_tunnel",
	    "{\"Id\":\"i\",\"Message\":\"m\",\"ErrorCode\":\"e\"}" },
	{ "data_connections",
	    "{\"First\":9007199254740991,\"Count\":1,\"Mode\":1}" },
	{ "data_end", "{\"Counter\":1,\"Reason\":\"agent_lost\"}" },
	{ "moving", "{\"Drain\":30000000000}" },
};

/* --- reading --- */

static char error_storage[MESSAGE_ERROR_SIZE];
static struct text error;
static union any_message message;

static const struct message_kind *
kind_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(message_kinds); i++)
		if (!strcmp(message_kinds[i].name, name))
			return &message_kinds[i];
	ck_abort_msg("no message %s", name);
	return NULL;
}

/* Out of memory of exactly its size. */
static int
read_span(const struct message_kind *kind, struct span json)
{
	uint8_t *copy = exact_copy(json);
	int result;

	memset(&message, 0xee, sizeof(message));
	text_init(&error, error_storage, sizeof(error_storage));
	result = kind->read(span_of(copy, json.len), &message, &error);
	free(copy);
	ck_assert(!error.truncated);
	ck_assert_int_eq(result != 0, error.len > 0);
	return result;
}

static inline void
read_good(const char *kind, const char *json)
{
	int result = read_span(kind_of(kind), span_text(json));

	ck_assert_msg(result == 0, "%s: %s", json, error_storage);
}

#endif

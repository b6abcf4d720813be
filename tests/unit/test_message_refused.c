#include "message_bench.h"

#include <errno.h>
#include <stdio.h>

#define OPTS(text) "{\"Opts\":{" text "}}"
#define EXTRA(text) "{\"Extra\":{" text "}}"
#define NOT_TEXT " must be a text"
#define NOT_BASE64 " must be a text in base64"
#define NOT_BOOL " must be true or false"
#define NOT_OBJECT " must be an object"
#define NOT_TEXTS " must be a list of texts"

static const struct {
	const char *kind, *json, *error;
} refused[] = {
	/* No message at all. */
	{ "auth", "", "the JSON ends too early, near byte 0" },
	{ "auth", "[]", "the message is not a JSON object" },
	{ "auth", "{} {}", "there is something behind the JSON, near byte 4" },
	{ "auth", "{\"secret\"}", "this is not valid JSON, near byte 10" },
	{ "auth", "{'a':1}", "this is not valid JSON, near byte 2" },
	{ "auth", "{\"a\":01}", "this is not valid JSON, near byte 6" },
	{ "auth", "{\"a\":1,}", "this is not valid JSON, near byte 8" },
	{ "auth", "{\"a\":NaN}", "this is not valid JSON, near byte 8" },
	{ "auth", "{\"a\":\"\xff\"}",
	    "the JSON is not valid UTF-8, near byte 6" },
	{ "auth", "{\"a\":\"\\ud800\"}",
	    "this is not valid JSON, near byte 13" },
	{ "auth", "{\"a\":\"x\\u0000\"}",
	    "the JSON has a NUL character, near byte 14" },
	{ "auth", "{\"a\":1,\"a\":2}",
	    "the JSON has a key twice, near byte 10" },
	{ "auth", EXTRA("\"Cookie\":\"a\",\"Cookie\":\"b\""),
	    "the JSON has a key twice, near byte 31" },
	{ "auth", "{\"a\":99999999999999999999}",
	    "the JSON has a number that is too large, near byte 25" },
	{ "auth", EXTRA("\"AuthToken\":\"s3cret\",\"Authtoken\":\"s3cret\""),
	    "Extra.AuthToken is there twice" },

	/* Wrong types: each kind of field with each kind of value. */
	{ "auth", "{\"ClientId\":1}", "ClientId" NOT_TEXT },
	{ "auth", "{\"ClientId\":true}", "ClientId" NOT_TEXT },
	{ "auth", "{\"ClientId\":[]}", "ClientId" NOT_TEXT },
	{ "auth", "{\"ClientId\":{}}", "ClientId" NOT_TEXT },
	{ "auth", "{\"ClientId\":1.5}", "ClientId" NOT_TEXT },
	{ "auth", EXTRA("\"AuthToken\":1"), "Extra.AuthToken" NOT_TEXT },
	{ "auth", EXTRA("\"Authtoken\":1"), "Extra.AuthToken" NOT_TEXT },
	{ "auth", EXTRA("\"StopUnsupportedError\":false"),
	    "Extra.StopUnsupportedError" NOT_TEXT },
	{ "auth", "{\"Version\":\"3\"}", "Version" NOT_TEXTS },
	{ "auth", "{\"Version\":{}}", "Version" NOT_TEXTS },
	{ "auth", "{\"Version\":[3]}", "Version" NOT_TEXT },
	{ "auth", "{\"Version\":[null]}", "Version" NOT_TEXT },
	{ "auth", "{\"Version\":[[]]}", "Version" NOT_TEXT },
	{ "auth", "{\"Extra\":\"\"}", "Extra" NOT_OBJECT },
	{ "auth", "{\"Extra\":[]}", "Extra" NOT_OBJECT },
	{ "auth", EXTRA("\"MutualTLS\":\"true\""), "Extra.MutualTLS" NOT_BOOL },
	{ "auth", EXTRA("\"MutualTLS\":1"), "Extra.MutualTLS" NOT_BOOL },
	{ "auth", EXTRA("\"HeartbeatInterval\":\"10\""),
	    "Extra.HeartbeatInterval must be a whole number from 0 to "
	    "9223372036854775807" },
	{ "auth", EXTRA("\"HeartbeatInterval\":1e10"),
	    "Extra.HeartbeatInterval must be a whole number from 0 to "
	    "9223372036854775807" },
	{ "auth", EXTRA("\"HeartbeatInterval\":-1"),
	    "Extra.HeartbeatInterval must be a whole number from 0 to "
	    "9223372036854775807" },
	{ "auth", EXTRA("\"LegNumber\":4294967296"),
	    "Extra.LegNumber must be a whole number from 0 to 4294967295" },
	{ "auth", EXTRA("\"Proof\":[1]"), "Extra.Proof" NOT_BASE64 },
	{ "auth", EXTRA("\"Proof\":\"s3cret\""), "Extra.Proof" NOT_BASE64 },
	{ "auth", EXTRA("\"Proof\":\"AAAA\""), "Extra.Proof is too short" },
	{ "auth", EXTRA("\"TokenId\":\"AAAAAAAA\""),
	    "Extra.TokenId is too short" },
	{ "auth", EXTRA("\"TokenId\":\"AAAAAAAAAAAA\""),
	    "Extra.TokenId is longer than 8 bytes" },
	{ "auth", EXTRA("\"TokenId\":\"AAAAAAAAAAAAAAAA\""),
	    "Extra.TokenId is longer than 8 bytes" },
	{ "auth_response", EXTRA("\"SessionId\":\"AAAA\""),
	    "Extra.SessionId is too short" },

	{ "bind", OPTS("\"ProxyProto\":3"),
	    "Opts.ProxyProto must be a whole number from 0 to 2" },
	{ "bind", OPTS("\"ProxyProto\":-1"),
	    "Opts.ProxyProto must be a whole number from 0 to 2" },
	{ "bind", OPTS("\"ProxyProto\":\"2\""),
	    "Opts.ProxyProto must be a whole number from 0 to 2" },
	{ "bind", OPTS("\"ProxyProto\":true"),
	    "Opts.ProxyProto must be a whole number from 0 to 2" },
	{ "bind", OPTS("\"TLSTermination\":\"\""),
	    "Opts.TLSTermination" NOT_OBJECT },
	{ "bind", OPTS("\"TLSTermination\":{\"key\":\"s3cret\"}"),
	    "Opts.TLSTermination.key" NOT_BASE64 },
	{ "bind", OPTS("\"TLSTermination\":{\"cert\":\"QQ==\"}"),
	    "Opts.TLSTermination has a cert without a key" },
	{ "bind", OPTS("\"TLSTermination\":{\"key\":\"QQ==\"}"),
	    "Opts.TLSTermination has a key without a cert" },
	{ "bind", OPTS("\"TLSTermination\":{\"sealed_key\":\"QQ==\"}"),
	    "Opts.TLSTermination.sealed_key cannot be opened here" },
	{ "bind", OPTS("\"MutualTLSAtEdge\":{}"),
	    "Opts.MutualTLSAtEdge has no mutual_tls_ca" },
	{ "bind", OPTS("\"MutualTLSAtEdge\":{\"mutual_tls_ca\":\"Zg=\"}"),
	    "Opts.MutualTLSAtEdge.mutual_tls_ca" NOT_BASE64 },
	{ "bind", OPTS("\"MutualTLSAtEdge\":\"-----BEGIN\""),
	    "Opts.MutualTLSAtEdge" NOT_OBJECT },
	{ "bind", OPTS("\"MutualTLSAtAgent\":null,\"IPRestriction\":[]"),
	    "Opts.IPRestriction" NOT_OBJECT },
	{ "bind", OPTS("\"IPRestriction\":{\"allow_cidrs\":\"::/0\"}"),
	    "Opts.IPRestriction.allow_cidrs" NOT_TEXTS },
	{ "bind", OPTS("\"IPRestriction\":{\"deny_cidrs\":[\"::/0\",1]}"),
	    "Opts.IPRestriction.deny_cidrs" NOT_TEXT },
	{ "bind", EXTRA("\"PoolingEnabled\":1"),
	    "Extra.PoolingEnabled" NOT_BOOL },
	{ "bind", EXTRA("\"PoolingEnabled\":true,\"AllowsPooling\":true"),
	    "Extra.PoolingEnabled is there twice" },

	{ "start_labelled", "{\"Labels\":[\"a=b\"]}",
	    "Labels must be texts by name" },
	{ "start_labelled", "{\"Labels\":{\"a\":1}}",
	    "Labels must be texts by name" },
	{ "start_labelled", "{\"Labels\":{\"a\":\"1\",\"\":\"b\"}}",
	    "Labels has an empty name" },
	{ "start_labelled", "{\"Labels\":{\"a=b\":\"c\"}}",
	    "Labels has a name or value with '=' in it" },
	{ "start_labelled", "{\"Labels\":{\"a\":\"b=c\"}}",
	    "Labels has a name or value with '=' in it" },
	{ "update", "{\"PermitMajorVersion\":\"yes\"}",
	    "PermitMajorVersion" NOT_BOOL },

	{ "data_connections", "{}",
	    "First must be a whole number from 1 to 9007199254740991" },
	{ "data_connections", "{\"First\":1}",
	    "Count must be a whole number from 1 to 1024" },
	{ "data_connections", "{\"First\":1,\"Count\":1025}",
	    "Count must be a whole number from 1 to 1024" },
	{ "data_connections", "{\"First\":0,\"Count\":1}",
	    "First must be a whole number from 1 to 9007199254740991" },
	{ "data_connections", "{\"First\":9007199254740992,\"Count\":1}",
	    "First must be a whole number from 1 to 9007199254740991" },
	{ "data_connections", "{\"First\":9007199254740991,\"Count\":2}",
	    "First and Count go beyond the last counter" },
	{ "data_connections", "{\"First\":1,\"Count\":1,\"Mode\":2}",
	    "Mode must be a whole number from 0 to 1" },
	{ "data_end", "{\"Counter\":1,\"Reason\":1}", "Reason" NOT_TEXT },
	{ "moving", "{\"Drain\":-1}",
	    "Drain must be a whole number from 0 to 9223372036854775807" },
};

START_TEST(what_is_wrong_is_named)
{
	int result =
	    read_span(kind_of(refused[_i].kind), span_text(refused[_i].json));
	union any_message nothing;

	ck_assert_int_eq(result, -EPROTO);
	ck_assert_str_eq(error_storage, refused[_i].error);
	ck_assert_ptr_null(strstr(error_storage, "s3cret"));
	/* Nothing is left in it. */
	if (strncmp(refused[_i].kind, "data", 4)) {
		memset(&nothing, 0, sizeof(nothing));
		ck_assert_mem_eq(&message, &nothing, sizeof(void *));
		kind_of(refused[_i].kind)->fini(&message);
	}
}
END_TEST

/* --- limits --- */

static const struct {
	const char *kind, *path; /* "Extra.Metadata" */
	size_t max;
} lengths[] = {
	{ "auth", "ClientId", MESSAGE_ID_MAX },
	{ "auth", "Extra.AuthToken", MESSAGE_TOKEN_MAX },
	{ "auth", "Extra.Cookie", MESSAGE_COOKIE_MAX },
	{ "auth", "Extra.Metadata", MESSAGE_METADATA_MAX },
	{ "auth", "Extra.UserAgent", MESSAGE_LINE_MAX },
	{ "auth_response", "Error", MESSAGE_ERROR_TEXT_MAX },
	{ "bind", "Id", MESSAGE_ID_MAX },
	{ "bind", "Opts.Domain", MESSAGE_LINE_MAX },
	{ "bind", "Extra.Token", MESSAGE_TOKEN_MAX },
	{ "bind", "Extra.Metadata", MESSAGE_METADATA_MAX },
	{ "bind", "Extra.Description", MESSAGE_DESCRIPTION_MAX },
	{ "start_labelled", "Metadata", MESSAGE_METADATA_MAX },
	{ "data_end", "Reason", 63 },
};

/* {"Counter":1,"Extra":{"Metadata":"xxx"}} */
static char *
long_text(const char *path, size_t len)
{
	const char *dot = strchr(path, '.');
	char *value = malloc(len + 1), *json;

	memset(value, 'x', len);
	value[len] = '\0';
	if (asprintf(&json, "{\"Counter\":1,\"%.*s\":%s%s%s\"%s\"%s}",
		dot ? (int)(dot - path) : (int)strlen(path), path,
		dot ? "{\"" : "", dot ? dot + 1 : "", dot ? "\":" : "", value,
		dot ? "}" : "") < 0)
		abort();
	free(value);
	return json;
}

START_TEST(texts_have_limits)
{
	const struct message_kind *kind = kind_of(lengths[_i].kind);
	char *good = long_text(lengths[_i].path, lengths[_i].max);
	char *bad = long_text(lengths[_i].path, lengths[_i].max + 1);
	char expected[128];

	ck_assert_int_eq(read_span(kind, span_text(good)), 0);
	kind->fini(&message);
	ck_assert_int_eq(read_span(kind, span_text(bad)), -EPROTO);
	snprintf(expected, sizeof(expected), "%s is longer than %zu bytes",
	    lengths[_i].path, lengths[_i].max);
	ck_assert_str_eq(error_storage, expected);
	free(good);
	free(bad);
}
END_TEST

/* `count` times `item`, which may have a %zu, between the others. */
static char *
repeated(const char *before, const char *item, size_t count, const char *after)
{
	char *json = NULL;
	size_t size;
	FILE *out = open_memstream(&json, &size);

	fputs(before, out);
	for (size_t i = 0; i < count; i++) {
		const char *at = strchr(item, '#');

		fputs(i > 0 ? "," : "", out);
		if (at)
			fprintf(out, "%.*s%zu%s", (int)(at - item), item, i,
			    at + 1);
		else
			fputs(item, out);
	}
	fputs(after, out);
	fclose(out);
	return json;
}

static const struct {
	const char *kind, *before, *item, *after, *error;
	size_t max;
} counts[] = {
	{ "auth", "{\"Version\":[", "\"3\"", "]}",
	    "Version has more than 16 entries", 16 },
	{ "bind", "{\"Opts\":{\"IPRestriction\":{\"allow_cidrs\":[",
	    "\"10.0.0.0/8\"", "]}}}",
	    "Opts.IPRestriction.allow_cidrs has more than 4096 entries",
	    MESSAGE_MAX_NETWORKS },
	{ "start_labelled", "{\"Labels\":{", "\"#\":\"x\"", "}}",
	    "Labels has more than 64 entries", MESSAGE_MAX_LABELS },
	{ "unbind", "{\"x\":[", "1", "]}", "the message has too many values",
	    MESSAGE_MAX_VALUES - 2 },
};

START_TEST(lists_have_limits)
{
	const struct message_kind *kind = kind_of(counts[_i].kind);
	char *good = repeated(counts[_i].before, counts[_i].item,
	    counts[_i].max, counts[_i].after);
	char *bad = repeated(counts[_i].before, counts[_i].item,
	    counts[_i].max + 1, counts[_i].after);

	ck_assert_int_eq(read_span(kind, span_text(good)), 0);
	kind->fini(&message);
	ck_assert_int_eq(read_span(kind, span_text(bad)), -EPROTO);
	ck_assert_str_eq(error_storage, counts[_i].error);
	free(good);
	free(bad);
}
END_TEST

static int
read_nested(const char *open, const char *close, size_t depth)
{
	char json[64 * 1024];
	struct text t;

	text_init(&t, json, sizeof(json));
	text_add(&t, "{\"x\":");
	for (size_t i = 1; i < depth; i++)
		text_add(&t, open);
	text_add(&t, "1");
	for (size_t i = 1; i < depth; i++)
		text_add(&t, close);
	text_add(&t, "}");
	return read_span(kind_of("unbind"), text_span(&t));
}

START_TEST(depth_has_a_limit)
{
	ck_assert_int_eq(read_nested("[", "]", MESSAGE_MAX_DEPTH), 0);
	unbind_fini(&message.unbind);
	ck_assert_int_eq(read_nested("[", "]", MESSAGE_MAX_DEPTH + 1), -EPROTO);
	ck_assert_str_eq(error_storage, "the message is nested too deeply");
	ck_assert_int_eq(read_nested("{\"a\":", "}", MESSAGE_MAX_DEPTH), 0);
	unbind_fini(&message.unbind);
	ck_assert_int_eq(read_nested("{\"a\":", "}", 5000), -EPROTO);
	/* Brackets in a text are none. */
	read_good("unbind", "{\"x\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[["
			    "\\\\\",\"Id\":\"i\"}");
	ck_assert_str_eq(message.unbind.id, "i");
	unbind_fini(&message.unbind);
}
END_TEST

START_TEST(size_has_a_limit)
{
	uint8_t *json = malloc(MESSAGE_MAX_BYTES + 1);

	memset(json, ' ', MESSAGE_MAX_BYTES + 1);
	json[0] = '{';
	json[1] = '}';
	ck_assert_int_eq(
	    read_span(kind_of("unbind"), span_of(json, MESSAGE_MAX_BYTES)), 0);
	unbind_fini(&message.unbind);
	ck_assert_int_eq(
	    read_span(kind_of("unbind"), span_of(json, MESSAGE_MAX_BYTES + 1)),
	    -EPROTO);
	ck_assert_str_eq(error_storage, "the message is too large");
	free(json);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(
	    tcase, what_is_wrong_is_named, 0, ARRAY_COUNT(refused));
	tcase_add_loop_test(tcase, texts_have_limits, 0, ARRAY_COUNT(lengths));
	tcase_add_loop_test(tcase, lists_have_limits, 0, ARRAY_COUNT(counts));
	tcase_add_test(tcase, depth_has_a_limit);
	tcase_add_test(tcase, size_has_a_limit);
}

UNIT_MAIN_TOGETHER("message_refused", add_tests)

#include "unit.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocations.h"
#include "base/text.h"
#include "bytes.h"
#include "openssl_faults.h"
#include "tunnel/tokens.h"

static char folder[] = "/tmp/test_tokens.XXXXXX";
static char path[64];
static struct problems *problems, *warnings;

static void
setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/tokens.yaml", folder);
	problems = problems_new();
	warnings = problems_new();
}

static void
teardown(void)
{
	problems_free(problems);
	problems_free(warnings);
	unlink(path);
	rmdir(folder);
}

static void
write_file(const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static struct token_set *
read_set(const char *text)
{
	struct token_set *s;

	write_file(text, 0600);
	s = token_set_read(path, problems, warnings);
	ck_assert_msg(s, "%s",
	    problems_count(problems) > 0 ? problems_get(problems, 0) : "");
	return s;
}

/* --- the file --- */

#define ONE "0123456789abcdef"	 /* of 16 bytes */
#define OTHER "fedcba9876543210" /* printf %s ... | sha256sum: */
#define ONE_HASH \
	"9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"
#define ONE_ID "186f2b2caf7c4139"

static const struct {
	const char *text, *lines; /* without "PATH:"; joined by newlines */
} refused[] = {
	{ "{}", "1:1: 'tokens' is missing" },
	{ "tokens: 1", "1:9: 'tokens': expected list of tokens, found a text" },
	{ "tokens: {}",
	    "1:9: 'tokens': expected list of tokens, found keys and values" },
	{ "tokens: [ secret ]",
	    "1:11: 'tokens': expected keys and values, found a text" },
	{ "token: []", "1:1: unknown key 'token'; did you mean 'tokens'?\n"
		       "1:1: 'tokens' is missing" },
	{ "tokens:\n- { name: a }",
	    "2:3: 'token' or 'token_sha256' is missing" },
	{ "tokens:\n- { token: " ONE " }", "2:3: 'name' is missing" },
	{ "tokens:\n- { name: a, tokn: " ONE " }",
	    "2:14: unknown key 'tokn'; did you mean 'token'?\n"
	    "2:3: 'token' or 'token_sha256' is missing" },
	{ "tokens:\n- { name: a, token: " ONE ", token_sha256: " ONE_HASH " }",
	    "2:3: either 'token' or 'token_sha256' is needed, not both" },
	{ "tokens:\n- { name: a, token: " ONE ", id: " ONE_ID " }",
	    "2:39: 'id' is for entries with 'token_sha256' only" },
	{ "tokens:\n- { name: a, token: }", "2:21: 'token' has no value" },
	{ "tokens:\n- { name: a, token: '' }", "2:21: 'token' has no value" },
	{ "tokens:\n- { name: a, token: [secret] }",
	    "2:21: 'token': expected text, found a list" },
	{ "tokens:\n- { name: a, token: \"a secret\\tof somebody\" }",
	    "2:21: 'token' has a control character" },
	{ "tokens:\n- { name: a, token_sha256: secret }",
	    "2:28: 'token_sha256' must be 64 hexadecimal digits" },
	{ "tokens:\n- { name: a, token_sha256: " ONE_HASH "0 }",
	    "2:28: 'token_sha256' must be 64 hexadecimal digits" },
	{ "tokens:\n- { name: a, token_sha256: " ONE_HASH ", id: 0 }",
	    "2:98: 'id' must be 16 hexadecimal digits" },
	{ "tokens:\n- { name: a, token: " ONE ", acl: '*' }",
	    "2:44: 'acl': expected list of rules, found a text" },
	{ "tokens:\n- { name: a, token: " ONE ", acl: ['*', bnd:x, ''] }",
	    "2:50: 'acl': 'bnd:x' is no rule: a rule is '*' or begins with "
	    "'bind:'\n2:57: 'acl' has no value" },
	{ "tokens:\n- { name: a, token: " ONE ", acl: ['bind:a..b'] }",
	    "2:45: 'acl': 'bind:a..b' is no rule: a label of the name is "
	    "empty" },
	{ "tokens:\n- { name: a, token: " ONE " }\n- { name: a, token: " OTHER
	  " }",
	    "3:11: 'name': entry 1 has this name too" },
	{ "tokens:\n- { name: a, token: " ONE " }\n- { name: b, token: " ONE
	  " }",
	    "3:3: entry 1 has the same token" },
	{ "tokens:\n- { name: a, token: " ONE
	  " }\n- { name: b, token_sha256: " ONE_HASH " }",
	    "3:3: entry 1 has the same token" },
	{ "tokens:\n- { name: \"a\\nb\", token: " ONE " }",
	    "2:11: 'name' must be one line of text" },
	{ "tokens: [ {name: a, token: " ONE ", token: " OTHER "} ]",
	    "1:46: duplicate key 'token' (the first is in line 1)" },
};

/* All lines, without the path and the colon in front. */
static char *
all_lines(void)
{
	static char lines[4096];
	struct text t;

	text_init(&t, lines, sizeof(lines));
	for (size_t i = 0; i < problems_count(problems); i++) {
		const char *line = problems_get(problems, i);

		ck_assert_msg(!strncmp(line, path, strlen(path)), "%s", line);
		text_addf(
		    &t, "%s%s", i > 0 ? "\n" : "", line + strlen(path) + 1);
	}
	return lines;
}

START_TEST(what_is_wrong_is_told)
{
	struct token_set *s;
	const char *lines;

	write_file(refused[_i].text, 0600);
	s = token_set_read(path, problems, warnings);
	ck_assert_ptr_null(s);
	lines = all_lines();
	ck_assert_msg(!strcmp(lines, refused[_i].lines), "%s\n%s\n%s",
	    refused[_i].text, lines, refused[_i].lines);
	ck_assert_ptr_null(strstr(lines, "secret"));
	ck_assert_ptr_null(strstr(lines, ONE));
	ck_assert_ptr_null(strstr(lines, OTHER));
}
END_TEST

START_TEST(only_its_owner_may_have_access)
{
	static const mode_t modes[] = { 0640, 0604, 0620, 0610, 0666 };

	for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
		write_file("tokens: []", modes[i]);
		ck_assert_ptr_null(token_set_read(path, problems, NULL));
		ck_assert_ptr_nonnull(strstr(problems_get(problems, i),
		    "cannot be read: it holds secrets, but not only its owner "
		    "has access (chmod 600)"));
	}
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_ptr_null(token_set_read(path, problems, NULL));
	ck_assert_ptr_nonnull(strstr(
	    problems_get(problems, 5), "tokens.yaml: cannot be read: No such"));
}
END_TEST

/* What it leads to is judged, not the link. */
START_TEST(a_symbolic_link_is_followed)
{
	char target[64];
	struct token_set *s;

	snprintf(target, sizeof(target), "%s/target", folder);
	write_file("tokens: [ { name: a, token: " ONE " } ]", 0600);
	ck_assert_int_eq(rename(path, target), 0);
	ck_assert_int_eq(symlink("target", path), 0);
	s = token_set_read(path, problems, warnings);
	ck_assert_ptr_nonnull(s);
	token_set_put(s);
	ck_assert_int_eq(chmod(target, 0644), 0);
	ck_assert_ptr_null(token_set_read(path, problems, warnings));
	ck_assert_int_eq(unlink(target), 0);
}
END_TEST

START_TEST(a_short_token_warns)
{
	struct token_set *s = read_set("tokens:\n- { name: a, token: short }\n"
				       "- { name: b, token: " ONE " }");
	struct credential *c;

	ck_assert_uint_eq(problems_count(warnings), 1);
	ck_assert_ptr_nonnull(strstr(problems_get(warnings, 0),
	    ":2:21: 'token' is shorter than 16 bytes"));
	ck_assert_int_eq(token_set_find(s, BYTES("short"), &c), 0);
	credential_put(c);
	token_set_put(s);
}
END_TEST

START_TEST(a_token_has_at_most_256_bytes)
{
	char token[TOKEN_MAX_BYTES + 2], text[512];
	struct token_set *s;

	memset(token, 'x', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	snprintf(text, sizeof(text), "tokens: [ { name: a, token: %s } ]",
	    token + 1);
	s = read_set(text);
	token_set_put(s);
	snprintf(
	    text, sizeof(text), "tokens: [ { name: a, token: %s } ]", token);
	write_file(text, 0600);
	ck_assert_ptr_null(token_set_read(path, problems, warnings));
	ck_assert_str_eq(all_lines(), "1:29: 'token' is longer than 256 bytes");
}
END_TEST

START_TEST(there_may_be_none)
{
	struct token_set *s = read_set("tokens: []");
	struct credential *c;

	ck_assert_uint_eq(token_set_count(s), 0);
	ck_assert_int_eq(token_set_find(s, BYTES(ONE), &c), -EACCES);
	ck_assert_ptr_null(c);
	token_set_put(s);
	token_set_put(NULL);
	credential_put(NULL);
}
END_TEST

/* --- finding --- */

static struct credential *
find(struct token_set *s, const char *token)
{
	struct credential *c;
	int result = token_set_find(s, span_text(token), &c);

	ck_assert(result == (c ? 0 : -EACCES));
	return c;
}

START_TEST(a_token_is_found_by_itself)
{
	struct token_set *s =
	    read_set("tokens:\n- { name: one, token_sha256: " ONE_HASH " }\n"
		     "- { name: other, token: " OTHER " }");
	struct credential *c = find(s, ONE), *d = find(s, OTHER);

	ck_assert_uint_eq(token_set_count(s), 2);
	ck_assert_str_eq(credential_name(c), "one");
	ck_assert_str_eq(credential_name(d), "other");
	/* Python: b32encode(sha256(b"lunette credential\0one")[:16]) */
	ck_assert_str_eq(credential_id(c), "cr_jtbvacejqh6vof4wa46xx4jgd4");
	ck_assert_uint_eq(strlen(credential_id(c)), CREDENTIAL_ID_SIZE - 1);
	ck_assert_str_ne(credential_id(c), credential_id(d));
	ck_assert_ptr_null(find(s, ""));
	ck_assert_ptr_null(find(s, "0123456789abcde"));
	ck_assert_ptr_null(find(s, "0123456789abcdef "));
	ck_assert_ptr_null(find(s, "0123456789abcdeg"));
	ck_assert_ptr_null(find(s, ONE_HASH));
	/* It outlives its set. */
	token_set_put(token_set_get(s));
	token_set_put(s);
	ck_assert_str_eq(credential_name(c), "one");
	credential_put(credential_get(c));
	credential_put(c);
	credential_put(d);
}
END_TEST

static uint8_t binding[TOKEN_BINDING_BYTES] = { 1, 2, 3 };

/* As Lunette's agent would. */
static int
prove(struct token_set *s, const char *token, bool with_id,
    struct credential **out)
{
	uint8_t proof[TOKEN_MAX_BYTES], id[TOKEN_ID_BYTES];
	struct span t = span_text(token);

	ck_assert_int_eq(token_prove(binding, t, proof), 0);
	ck_assert_int_eq(token_id(t, id), 0);
	return token_set_prove(s, span_of(id, with_id ? sizeof(id) : 0),
	    span_of(proof, t.len), binding, out);
}

/* Plain in the file, as a hash with its id, and as a hash alone. */
static const char *const forms[] = { "token: " ONE,
	"token_sha256: " ONE_HASH ", id: " ONE_ID, "token_sha256: " ONE_HASH };

START_TEST(a_token_is_found_by_its_proof)
{
	char text[512];
	struct credential *c;
	struct token_set *s;

	snprintf(text, sizeof(text),
	    "tokens:\n- { name: x, token: another-long-enough }\n"
	    "- { name: one, %s }\n- { name: y, token_sha256: %064d }",
	    forms[_i], 1);
	s = read_set(text);
	ck_assert_int_eq(prove(s, ONE, true, &c), 0);
	ck_assert_str_eq(credential_name(c), "one");
	credential_put(c);
	ck_assert_int_eq(prove(s, OTHER, true, &c), -EACCES);
	ck_assert_ptr_null(c);
	/* Without an id only entries that have none are tried. */
	ck_assert_int_eq(prove(s, ONE, false, &c), _i == 2 ? 0 : -EACCES);
	credential_put(c);
	ck_assert_int_eq(token_set_prove(s, span_of(NULL, 0),
			     span_of(binding, 15), binding, &c),
	    -EACCES);
	token_set_put(s);
}
END_TEST

START_TEST(a_wrong_id_in_the_file_does_not_fit)
{
	struct token_set *s =
	    read_set("tokens:\n- { name: one, token_sha256: " ONE_HASH
		     ", id: 0000000000000000 }");
	struct credential *c;

	ck_assert_int_eq(prove(s, ONE, true, &c), -EACCES);
	token_set_put(s);
}
END_TEST

static char *
many_entries(size_t count)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fputs("tokens:\n", f);
	for (size_t i = 0; i < count; i++)
		fprintf(f, "- { name: n%zu, token_sha256: %064zx }\n", i, i);
	fclose(f);
	return text;
}

START_TEST(how_many_are_tried_has_a_limit)
{
	char *good = many_entries(TOKENS_MAX_TRIED);
	char *bad = many_entries(TOKENS_MAX_TRIED + 2);

	token_set_put(read_set(good));
	write_file(bad, 0600);
	ck_assert_ptr_null(token_set_read(path, problems, warnings));
	ck_assert_str_eq(all_lines(),
	    "1026:3: more than 1024 entries have 'token_sha256' without 'id'");
	free(good);
	free(bad);
}
END_TEST

/* --- reload --- */

START_TEST(a_reload_revokes_what_is_gone)
{
	struct token_set *s =
	    read_set("tokens:\n- { name: one, token: " ONE ", acl: [] }\n"
		     "- { name: other, token: " OTHER " }");
	struct credential *one = find(s, ONE), *other = find(s, OTHER), *now;
	struct host name;

	ck_assert_int_eq(host_parse(BYTES("a.test"), &name, NULL), 0);
	token_set_put(s);
	s = read_set("tokens: [ { name: new, token_sha256: " ONE_HASH " } ]");
	now = token_set_current(s, one);
	ck_assert_str_eq(credential_name(now), "new");
	ck_assert(credential_may_bind(now, &name));
	ck_assert(!credential_may_bind(one, &name));
	credential_put(now);
	ck_assert_ptr_null(token_set_current(s, other));
	ck_assert_ptr_null(token_set_current(NULL, one));
	token_set_put(s);
	credential_put(one);
	credential_put(other);
}
END_TEST

START_TEST(a_name_keeps_its_id_with_another_token)
{
	struct token_set *s =
	    read_set("tokens: [ { name: one, token: " ONE " } ]");
	struct credential *before = find(s, ONE), *after;

	token_set_put(s);
	s = read_set("tokens: [ { name: one, token: " OTHER " } ]");
	after = find(s, OTHER);
	ck_assert_ptr_null(token_set_current(s, before));
	ck_assert_str_eq(credential_id(before), credential_id(after));
	token_set_put(s);
	credential_put(before);
	credential_put(after);
}
END_TEST

/* --- rules --- */

static const struct {
	const char *acl;
	bool name, label;
} rules[] = {
	{ "", true, true },
	{ ", acl: []", false, false },
	{ ", acl: ['*']", true, true },
	{ ", acl: ['bind:a.test']", true, false },
	{ ", acl: ['bind:*.test']", true, false },
	{ ", acl: ['bind:b.test']", false, false },
	{ ", acl: ['bind:k=*']", false, true },
	{ ", acl: ['bind:k=w', 'bind:b.test', 'bind:a.test']", true, false },
};

START_TEST(rules_are_obeyed)
{
	char text[256];
	struct token_set *s;
	struct credential *c;
	struct host name;

	snprintf(text, sizeof(text), "tokens: [ { name: a, token: %s%s } ]",
	    ONE, rules[_i].acl);
	s = read_set(text);
	c = find(s, ONE);
	ck_assert_int_eq(host_parse(BYTES("a.test"), &name, NULL), 0);
	ck_assert_int_eq(credential_may_bind(c, &name), rules[_i].name);
	ck_assert_int_eq(credential_may_label(c, "k", "v"), rules[_i].label);
	credential_put(c);
	token_set_put(s);
}
END_TEST

START_TEST(a_rule_can_be_checked_alone)
{
	const char *why;

	ck_assert_int_eq(credential_check_rule(BYTES("bind:a.test"), &why), 0);
	ck_assert_int_eq(credential_check_rule(BYTES("x"), &why), -EINVAL);
	ck_assert_str_eq(why, "a rule is '*' or begins with 'bind:'");
}
END_TEST

static const struct {
	const char *token;
	bool good;
} shapes[] = {
	{ "", false },
	{ "x", true },
	{ "with blank and \xc3\xa9", true },
	{ "tab\t", false },
	{ "del\x7f", false },
};

START_TEST(tokens_have_a_shape)
{
	ck_assert_int_eq(
	    token_is_well_formed(span_text(shapes[_i].token)), shapes[_i].good);
	ck_assert(!token_is_well_formed(BYTES("nul\0inside")));
}
END_TEST

/* --- without memory --- */

static const char several[] =
    "tokens:\n- { name: one, token: " ONE ", acl: [ '*', 'bind:k=v',\n"
    "    'bind:a.test', 'bind:b.test', 'bind:c.test' ] }\n"
    "- { name: other, token_sha256: " ONE_ID ONE_ID ONE_ID ONE_ID " }\n";

START_TEST(any_allocation_may_fail)
{
	unsigned total = 1, failures = 0;

	/* What OpenSSL does once is done before. */
	token_set_put(read_set(several));
	for (unsigned n = 0; n <= total; n++) {
		struct problems *p = problems_new();
		struct token_set *s;

		allocations_begin(n);
		s = token_set_read(path, p, NULL);
		if (n == 0)
			total = allocations_end();
		else
			allocations_end();
		ck_assert(n > 0 || s);
		ck_assert_int_eq(s == NULL, problems_count(p) > 0);
		failures += !s;
		token_set_put(s);
		problems_free(p);
	}
	/* OpenSSL can do without a few of its own. */
	ck_assert_uint_gt(failures, 30);
	ck_assert_uint_ge(failures + 5, total);
}
END_TEST

static int
find_result(struct token_set *s)
{
	struct credential *c;
	int result = token_set_find(s, BYTES(ONE), &c);

	credential_put(c);
	return result;
}

static int
prove_result(struct token_set *s, struct span proof)
{
	struct credential *c;
	int result = token_set_prove(s, span_of(NULL, 0), proof, binding, &c);

	credential_put(c);
	return result;
}

START_TEST(openssl_may_have_no_memory)
{
	struct token_set *s =
	    read_set("tokens: [ { name: one, token_sha256: " ONE_HASH " } ]");
	uint8_t proof[TOKEN_MAX_BYTES];

	ck_assert_int_eq(token_prove(binding, BYTES(ONE), proof), 0);
	CHECK_WITHOUT_MEMORY(find_result(s), "", 0, 1);
	CHECK_WITHOUT_MEMORY(
	    prove_result(s, span_of(proof, strlen(ONE))), "", 0, 3);
	token_set_put(s);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_loop_test(
	    tcase, what_is_wrong_is_told, 0, ARRAY_COUNT(refused));
	tcase_add_test(tcase, only_its_owner_may_have_access);
	tcase_add_test(tcase, a_symbolic_link_is_followed);
	tcase_add_test(tcase, a_short_token_warns);
	tcase_add_test(tcase, a_token_has_at_most_256_bytes);
	tcase_add_test(tcase, there_may_be_none);
	tcase_add_test(tcase, a_token_is_found_by_itself);
	tcase_add_loop_test(
	    tcase, a_token_is_found_by_its_proof, 0, ARRAY_COUNT(forms));
	tcase_add_test(tcase, a_wrong_id_in_the_file_does_not_fit);
	tcase_add_test(tcase, how_many_are_tried_has_a_limit);
	tcase_add_test(tcase, a_reload_revokes_what_is_gone);
	tcase_add_test(tcase, a_name_keeps_its_id_with_another_token);
	tcase_add_loop_test(tcase, rules_are_obeyed, 0, ARRAY_COUNT(rules));
	tcase_add_test(tcase, a_rule_can_be_checked_alone);
	tcase_add_loop_test(tcase, tokens_have_a_shape, 0, ARRAY_COUNT(shapes));
	tcase_add_test(tcase, any_allocation_may_fail);
	tcase_add_test(tcase, openssl_may_have_no_memory);
}

UNIT_MAIN("tokens", add_tests)

#include "unit.h"

#include <errno.h>

#include "tunnel/acl.h"

static struct acl acl;
static const char *why;

/* Rules with blanks between. */
static void
add_rules(const char *rules)
{
	while (*rules != '\0') {
		size_t len = strcspn(rules, " ");

		ck_assert_msg(acl_add(&acl, span_of(rules, len), &why) == 0,
		    "%s: %s", rules, why);
		rules += len + (rules[len] == ' ');
	}
}

static const struct {
	const char *rules, *name;
	bool allowed;
} names[] = {
	{ "", "a.test", false },
	{ "*", "a.test", true },
	{ "*", "*.a.test", true },
	{ "bind:*", "a.test", true },
	{ "bind:*", "*.a.test", true },

	{ "bind:a.test", "a.test", true },
	{ "bind:A.Test.", "a.test", true },
	{ "bind:a.test", "b.test", false },
	{ "bind:a.test", "x.a.test", false },
	{ "bind:a.test", "xa.test", false },
	{ "bind:a.test", "a.testx.test", false },
	{ "bind:a.test", "*.a.test", false },
	{ "bind:a.test", "test", false },

	{ "bind:*.a.test", "a.test", false },
	{ "bind:*.a.test", "x.a.test", true },
	{ "bind:*.a.test", "y.x.a.test", true },
	{ "bind:*.a.test", "xa.test", false },
	{ "bind:*.a.test", "*.a.test", true },
	{ "bind:*.a.test", "*.x.a.test", true },
	{ "bind:*.a.test", "*.test", false },
	{ "bind:*.a.test", "a.test.x.test", false },
	{ "bind:x.a.test", "*.a.test", false },

	{ "bind:b.test bind:*.a.test", "x.a.test", true },
	{ "bind:b.test bind:*.a.test", "b.test", true },
	{ "bind:b.test bind:*.a.test", "c.test", false },
	{ "bind:k=v", "a.test", false },
	{ "bind:*=*", "a.test", false },
	{ "bind:k=v *", "a.test", true },
};

START_TEST(rules_for_names)
{
	struct host name;

	add_rules(names[_i].rules);
	ck_assert_int_eq(
	    host_parse_pattern(span_text(names[_i].name), &name, &why), 0);
	ck_assert_msg(acl_allows_name(&acl, &name) == names[_i].allowed,
	    "%s: %s", names[_i].rules, names[_i].name);
	acl_fini(&acl);
}
END_TEST

static const struct {
	const char *rules, *key, *value;
	bool allowed;
} labels[] = {
	{ "", "k", "v", false },
	{ "*", "k", "v", true },
	{ "bind:*", "k", "v", true },
	{ "bind:k=v", "k", "v", true },
	{ "bind:k=v", "k", "w", false },
	{ "bind:k=v", "l", "v", false },
	{ "bind:k=v", "K", "v", false },
	{ "bind:k=v", "k", "vv", false },
	{ "bind:k=*", "k", "w", true },
	{ "bind:k=*", "k", "", true },
	{ "bind:k=*", "l", "w", false },
	{ "bind:*=v", "l", "v", true },
	{ "bind:*=v", "l", "w", false },
	{ "bind:*=*", "l", "w", true },
	{ "bind:k=", "k", "", true },
	{ "bind:k=", "k", "v", false },
	{ "bind:k=v bind:l=*", "l", "w", true },
	{ "bind:a.test", "a.test", "", false },
	{ "bind:*.a.test", "x.a.test", "v", false },
	/* In a rule only a star by itself is any. */
	{ "bind:k=v*", "k", "vw", false },
};

START_TEST(rules_for_labels)
{
	add_rules(labels[_i].rules);
	ck_assert_msg(acl_allows_label(&acl, labels[_i].key,
			  labels[_i].value) == labels[_i].allowed,
	    "%s: %s=%s", labels[_i].rules, labels[_i].key, labels[_i].value);
	acl_fini(&acl);
}
END_TEST

static const struct {
	const char *rule, *why;
} bad[] = {
	{ "", "a rule is '*' or begins with 'bind:'" },
	{ "**", "a rule is '*' or begins with 'bind:'" },
	{ "bind", "a rule is '*' or begins with 'bind:'" },
	{ "Bind:*", "a rule is '*' or begins with 'bind:'" },
	{ "allow:a.test", "a rule is '*' or begins with 'bind:'" },
	{ "a.test", "a rule is '*' or begins with 'bind:'" },
	{ " bind:*", "a rule is '*' or begins with 'bind:'" },
	{ "bind:", "the name is empty" },
	{ "bind:*.", "the name is empty" },
	{ "bind:**", "the name has a character that host names do not have" },
	{ "bind:a.*.test",
	    "the name has a character that host names do not have" },
	{ "bind:*a.test",
	    "the name has a character that host names do not have" },
	{ "bind:a.test:443",
	    "the name has a character that host names do not have" },
	{ "bind:tls://a.test",
	    "the name has a character that host names do not have" },
	{ "bind: a.test",
	    "the name has a character that host names do not have" },
	{ "bind:a..test", "a label of the name is empty" },
	{ "bind:192.0.2.1", "an IP address, or a name that ends in a number, "
			    "is no host name" },
	{ "bind:=v", "the label's key is empty" },
	{ "bind:=", "the label's key is empty" },
	{ "bind:k=v=w", "a label has only one '='" },
	{ "bind:k==", "a label has only one '='" },
};

START_TEST(what_is_no_rule_is_refused)
{
	ck_assert_int_eq(acl_add(&acl, span_text(bad[_i].rule), &why), -EINVAL);
	ck_assert_str_eq(why, bad[_i].why);
	ck_assert_uint_eq(acl.count, 0);
	ck_assert_int_eq(acl_add(&acl, span_of("bind:k=\0", 8), &why), -EINVAL);
	ck_assert_str_eq(why, "there is a NUL in it");
	acl_fini(&acl);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, rules_for_names, 0, ARRAY_COUNT(names));
	tcase_add_loop_test(tcase, rules_for_labels, 0, ARRAY_COUNT(labels));
	tcase_add_loop_test(
	    tcase, what_is_no_rule_is_refused, 0, ARRAY_COUNT(bad));
}

UNIT_MAIN_TOGETHER("acl", add_tests)

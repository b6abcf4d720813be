#include "engine/pairs.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "faults.h"
#include "renewal_bench.h"

FAULT(malloc);
FAULT(calloc);
FAULT(realloc);
FAULT(strdup);

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fault_hits(&calloc_fault) ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t size)
{
	return fault_hits(&realloc_fault) ? NULL : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *s)
{
	return fault_hits(&strdup_fault) ? NULL : __real_strdup(s);
}

static const atomic_bool go_on = false;

#define REPLACED "msg=\"certificate replaced\""
#define ADDED "msg=\"certificate added\""
#define STAYS "msg=\"certificate not replaced, the old one stays\""
#define NOT_LOADED "msg=\"certificate not loaded\""

/* A bench with one pair, "a" for a.test. */
struct one {
	struct bench bench;
	struct made *old, *new;
	size_t id;
	struct stapler *stapler;
	struct pairs *pairs;
};

static void
setup(struct one *o)
{
	renewal_bench_init(&o->bench);
	o->old = renewal_bench_leaf(&o->bench, "a.test");
	o->new = renewal_bench_leaf(&o->bench, "a.test");
	o->id = renewal_bench_add(&o->bench, "a", o->old);
	o->stapler = stapler_new();
	o->pairs = pairs_new(&o->bench.snapshot, o->stapler);
	ck_assert_ptr_nonnull(o->pairs);
	ck_assert_uint_eq(o->pairs->count, 1);
}

static void
teardown(struct one *o)
{
	pairs_free(o->pairs);
	stapler_free(o->stapler);
	renewal_bench_fini(&o->bench);
}

static void
read_first(struct one *o)
{
	o->pairs->list[0].due = true;
	pairs_read(o->pairs, &go_on);
}

START_TEST(a_pair_is_replaced)
{
	struct one o;

	setup(&o);
	pairs_read(o.pairs, &go_on);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	renewal_bench_write(&o.bench, "a", o.new);
	pairs_read(o.pairs, &go_on);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.new));
	ck_assert_str_eq(serves_name(&o.bench, "a.test"), fingerprint(o.new));
	ck_assert_uint_eq(logged(&o.bench, REPLACED, fingerprint(o.new)), 1);
	ck_assert_uint_eq(logged(&o.bench, REPLACED, fingerprint(o.old)), 1);
	ck_assert_uint_eq(logged(&o.bench, REPLACED, "a.crt"), 1);
	ck_assert_uint_eq(logged(&o.bench, REPLACED, "not_after="), 1);
	teardown(&o);
}
END_TEST

START_TEST(the_same_pair_makes_no_noise)
{
	struct one o;

	setup(&o);
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	ck_assert_uint_eq(logged(&o.bench, REPLACED, NULL), 0);
	ck_assert_uint_eq(logged(&o.bench, "level=info", NULL), 0);
	teardown(&o);
}
END_TEST

START_TEST(half_a_pair_waits_for_the_other)
{
	struct one o;
	const char *both;

	setup(&o);
	both = join(o.new->crt, o.bench.ca->crt, NULL);
	renewal_bench_write_file(&o.bench, "a.crt", both);
	for (int i = 0; i < 3; i++) {
		read_first(&o);
		ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	}
	ck_assert_uint_eq(logged(&o.bench, STAYS, "a.crt"), 1);
	renewal_bench_write_file(&o.bench, "a.key", o.new->key_pem);
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.new));
	/* After a success it is worth telling again. */
	renewal_bench_write_file(&o.bench, "a.key", o.old->key_pem);
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.new));
	ck_assert_uint_eq(logged(&o.bench, STAYS, "a.crt"), 2);
	teardown(&o);
}
END_TEST

START_TEST(no_key_is_told)
{
	struct one o;

	setup(&o);
	renewal_bench_write_file(&o.bench, "a.crt", o.new->crt);
	read_first(&o);
	renewal_bench_write_file(&o.bench, "a.key", "no key");
	read_first(&o);
	ck_assert_uint_eq(logged(&o.bench, "PRIVATE KEY", NULL), 0);
	ck_assert_uint_eq(logged(&o.bench, "no key", "no key\\n"), 0);
	teardown(&o);
}
END_TEST

START_TEST(files_that_have_gone_serve_on)
{
	struct one o;

	setup(&o);
	ck_assert_int_eq(unlink(path_of("a.crt")), 0);
	read_first(&o);
	ck_assert_int_eq(unlink(path_of("a.key")), 0);
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	ck_assert_uint_ge(logged(&o.bench, STAYS, "a.crt"), 1);
	ck_assert(o.pairs->list[0].failed);
	renewal_bench_write(&o.bench, "a", o.new);
	ck_assert(!o.pairs->list[0].due);
	pairs_try_failed(o.pairs);
	pairs_read(o.pairs, &go_on);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.new));
	ck_assert(!o.pairs->list[0].failed);
	pairs_try_failed(o.pairs);
	ck_assert(!o.pairs->list[0].due);
	teardown(&o);
}
END_TEST

/* --- folders --- */

static bool
look_into(struct one *o, const char *path)
{
	char copy[600];
	struct certificate_folder folder = { .path = copy, .ocsp_off = true };

	snprintf(copy, sizeof(copy), "%s", path);
	return pairs_look_into(o->pairs, &folder);
}

START_TEST(a_folder_has_new_pairs)
{
	struct one o;
	struct made *b, *c;

	setup(&o);
	b = renewal_bench_leaf(&o.bench, "b.test");
	c = renewal_bench_leaf(&o.bench, "*.c.test");
	ck_assert(!look_into(&o, o.bench.folder));
	ck_assert_ptr_null(serves_name(&o.bench, "b.test"));
	renewal_bench_write(&o.bench, "b", b);
	renewal_bench_write_file(
	    &o.bench, "c.pem", join(c->key_pem, c->crt, o.bench.ca->crt, NULL));
	renewal_bench_write_file(&o.bench, ".hidden.pem", c->crt);
	renewal_bench_write_file(&o.bench, "notes.txt", "not ours");
	ck_assert(look_into(&o, o.bench.folder));
	ck_assert_uint_eq(o.pairs->count, 3);
	pairs_read(o.pairs, &go_on);
	ck_assert_str_eq(serves_name(&o.bench, "b.test"), fingerprint(b));
	ck_assert_str_eq(serves_name(&o.bench, "x.c.test"), fingerprint(c));
	ck_assert_uint_eq(logged(&o.bench, ADDED, NULL), 2);
	ck_assert_uint_eq(logged(&o.bench, ADDED, fingerprint(b)), 1);
	ck_assert(!look_into(&o, o.bench.folder));
	/* From now on it is a pair like the others. */
	renewal_bench_write(&o.bench, "b", o.new);
	o.pairs->list[1].due = true;
	pairs_read(o.pairs, &go_on);
	ck_assert_ptr_null(serves_name(&o.bench, "b.test"));
	ck_assert_uint_eq(logged(&o.bench, REPLACED, "b.crt"), 1);
	teardown(&o);
}
END_TEST

START_TEST(a_folder_has_half_a_pair)
{
	struct one o;
	struct made *b;

	setup(&o);
	b = renewal_bench_leaf(&o.bench, "b.test");
	renewal_bench_write_file(&o.bench, "b.crt", b->crt);
	ck_assert(look_into(&o, o.bench.folder));
	pairs_read(o.pairs, &go_on);
	ck_assert_ptr_null(serves_name(&o.bench, "b.test"));
	ck_assert_uint_eq(logged(&o.bench, NOT_LOADED, "b.crt"), 1);
	renewal_bench_write_file(&o.bench, "b.key", b->key_pem);
	ck_assert(look_into(&o, o.bench.folder));
	ck_assert_uint_eq(o.pairs->count, 2);
	pairs_read(o.pairs, &go_on);
	ck_assert_str_eq(serves_name(&o.bench, "b.test"), fingerprint(b));
	teardown(&o);
}
END_TEST

/* Listed by itself with a key from elsewhere: the folder's own key beside it
 * does not count. */
START_TEST(a_listed_pair_keeps_its_key)
{
	struct one o;
	struct pair *pair;

	setup(&o);
	pair = &o.pairs->list[0];
	free(pair->key);
	pair->key = strdup("/elsewhere/a.key");
	ck_assert(!look_into(&o, o.bench.folder));
	ck_assert_str_eq(pair->key, "/elsewhere/a.key");
	free(pair->key);
	pair->key = NULL;
	pair->label = strdup("label");
	ck_assert(!look_into(&o, o.bench.folder));
	ck_assert_ptr_null(pair->key);
	teardown(&o);
}
END_TEST

START_TEST(a_folder_has_gone)
{
	struct one o;

	setup(&o);
	ck_assert(!look_into(&o, path_of("nowhere")));
	ck_assert_uint_eq(
	    logged(&o.bench, "cannot read the folder", "nowhere"), 1);
	ck_assert_uint_eq(o.pairs->count, 1);
	teardown(&o);
}
END_TEST

/* What the configuration says of a folder holds for what comes into it. */
START_TEST(new_pairs_are_stapled_as_the_folder_says)
{
	struct one o;

	setup(&o);
	renewal_bench_write(
	    &o.bench, "b", renewal_bench_leaf(&o.bench, "b.test"));
	ck_assert(look_into(&o, o.bench.folder));
	ck_assert(!o.pairs->list[0].ocsp_off);
	ck_assert(o.pairs->list[1].ocsp_off);
	ck_assert(!o.pairs->list[1].ocsp_fetch);
	teardown(&o);
}
END_TEST

/* --- many --- */

START_TEST(a_thousand_are_replaced)
{
	static struct bench b;
	struct stapler *stapler;
	struct pairs *pairs;
	struct made *leaf;
	atomic_bool stop = false;
	char name[16];

	renewal_bench_init(&b);
	leaf = renewal_bench_leaf(&b, "old.test");
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		renewal_bench_add(&b, name, leaf);
	}
	stapler = stapler_new();
	pairs = pairs_new(&b.snapshot, stapler);
	leaf = renewal_bench_leaf(&b, "new.test");
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		renewal_bench_write(&b, name, leaf);
		pairs->list[i].due = true;
	}
	atomic_store(&stop, true);
	pairs_read(pairs, &stop);
	ck_assert_uint_eq(logged(&b, REPLACED, NULL), 0);
	atomic_store(&stop, false);
	pairs_read(pairs, &stop);
	ck_assert_uint_eq(logged(&b, REPLACED, fingerprint(leaf)), 1000);
	for (size_t i = 0; i < 1000; i++)
		QUICK_ASSERT(!strcmp(serves(&b, i), fingerprint(leaf)));
	ck_assert_ptr_null(serves_name(&b, "old.test"));
	pairs_free(pairs);
	stapler_free(stapler);
	renewal_bench_fini(&b);
}
END_TEST

/* --- staples from files --- */

static void
write_answer(const struct bench *b, const struct made *leaf, int life_s)
{
	struct span answer = make_answer(b, leaf, life_s);
	FILE *f = fopen(path_of("a.ocsp"), "w");

	ck_assert_uint_eq(fwrite(answer.data, 1, answer.len, f), answer.len);
	ck_assert_int_eq(fclose(f), 0);
	OPENSSL_free((void *)(uintptr_t)answer.data);
}

#define NOT_STAPLED "msg=\"OCSP response not stapled\""

START_TEST(a_staple_comes_from_a_file)
{
	struct one o;
	struct pair *pair;

	setup(&o);
	pair = &o.pairs->list[0];
	pair->ocsp_file = strdup(path_of("a.ocsp"));
	pair->staple_due = true;
	pairs_read(o.pairs, &go_on);
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 1);
	ck_assert(!is_stapled(&o.bench, o.id));
	write_answer(&o.bench, o.old, 3600);
	pair->staple_due = true;
	pairs_read(o.pairs, &go_on);
	ck_assert(is_stapled(&o.bench, o.id));
	/* An empty file is a mistake, not the wish to have none. */
	renewal_bench_write_file(&o.bench, "a.ocsp", "");
	pair->staple_due = true;
	pairs_read(o.pairs, &go_on);
	ck_assert(is_stapled(&o.bench, o.id));
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 2);
	teardown(&o);
}
END_TEST

START_TEST(a_staple_follows_its_certificate)
{
	struct one o;
	struct pair *pair;

	setup(&o);
	pair = &o.pairs->list[0];
	pair->ocsp_file = strdup(path_of("a.ocsp"));
	write_answer(&o.bench, o.old, 3600);
	read_first(&o);
	ck_assert(is_stapled(&o.bench, o.id));
	/* The answer is about the old one still. */
	renewal_bench_write(&o.bench, "a", o.new);
	read_first(&o);
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.new));
	ck_assert(!is_stapled(&o.bench, o.id));
	write_answer(&o.bench, o.new, 3600);
	pair->staple_due = true;
	pairs_read(o.pairs, &go_on);
	ck_assert(is_stapled(&o.bench, o.id));
	teardown(&o);
}
END_TEST

START_TEST(a_staple_is_complained_of_once)
{
	struct one o;
	struct pair *pair;

	setup(&o);
	pair = &o.pairs->list[0];
	pair->ocsp_file = strdup(path_of("a.ocsp"));
	pair->staple_due = true;
	pairs_read(o.pairs, &go_on);
	/* The pair itself is fine, which does not make that news. */
	read_first(&o);
	read_first(&o);
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 1);
	/* For another certificate it is, and so it is after a success. */
	renewal_bench_write(&o.bench, "a", o.new);
	read_first(&o);
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 2);
	write_answer(&o.bench, o.new, 3600);
	read_first(&o);
	ck_assert(is_stapled(&o.bench, o.id));
	ck_assert_int_eq(unlink(path_of("a.ocsp")), 0);
	read_first(&o);
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 3);
	teardown(&o);
}
END_TEST

START_TEST(odd_files_are_no_staples)
{
	struct one o;
	struct pair *pair;
	char *large = malloc(70000);

	setup(&o);
	pair = &o.pairs->list[0];
	pair->ocsp_file = strdup(path_of("a.ocsp"));
	memset(large, 'x', 69999);
	large[69999] = '\0';
	renewal_bench_write_file(&o.bench, "a.ocsp", large);
	read_first(&o);
	ck_assert_int_eq(unlink(path_of("a.ocsp")), 0);
	ck_assert_int_eq(mkfifo(path_of("a.ocsp"), 0600), 0);
	read_first(&o);
	ck_assert_int_eq(unlink(path_of("a.ocsp")), 0);
	ck_assert_int_eq(mkdir(path_of("a.ocsp"), 0700), 0);
	read_first(&o);
	ck_assert_uint_eq(logged(&o.bench, NOT_STAPLED, "a.ocsp"), 3);
	ck_assert(!is_stapled(&o.bench, o.id));
	ck_assert_str_eq(serves(&o.bench, o.id), fingerprint(o.old));
	free(large);
	teardown(&o);
}
END_TEST

/* --- who asks a responder --- */

START_TEST(who_asks)
{
	struct one o;
	struct made *plain, *url, *must;
	struct certificate *c;

	setup(&o);
	plain = renewal_bench_leaf(&o.bench, "a.test");
	url = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .ocsp_url = "http://127.0.0.1:1/" });
	must = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:a.test",
	    .must_staple = true,
	    .ocsp_url = "http://127.0.0.1:1/" });
	struct made *all[] = { plain, url, must };
	/* fetch, auto, off, file */
	bool expected[][4] = { { false, false, false, false },
		{ true, false, false, false }, { true, true, false, false } };

	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		char storage[512];
		struct text error;

		text_init(&error, storage, sizeof(storage));
		c = certificate_parse(
		    span_text(all[i]->crt), span_text(all[i]->key_pem), &error);
		ck_assert_msg(c != NULL, "%s", error.data);
		ck_assert_int_eq(
		    pair_asks_responder(true, false, NULL, c), expected[i][0]);
		ck_assert_int_eq(
		    pair_asks_responder(false, false, NULL, c), expected[i][1]);
		ck_assert_int_eq(
		    pair_asks_responder(false, true, NULL, c), expected[i][2]);
		ck_assert_int_eq(
		    pair_asks_responder(false, false, "x", c), expected[i][3]);
		certificate_put(c);
	}
	teardown(&o);
}
END_TEST

/* --- without memory --- */

/* One more allocation succeeds each time, until all do. */
START_TEST(no_memory_changes_nothing)
{
	struct one o;
	struct pairs *pairs;
	unsigned replaced = 0;
	char path[600];
	struct certificate_folder folder = { .path = path };

	setup(&o);
	snprintf(path, sizeof(path), "%s", o.bench.folder);
	renewal_bench_write(&o.bench, "a", o.new);
	renewal_bench_write(
	    &o.bench, "b", renewal_bench_leaf(&o.bench, "b.test"));
	for (unsigned every = 1; every < 60; every++) {
		fault_set(&malloc_fault, every, ENOMEM);
		fault_set(&calloc_fault, every, ENOMEM);
		fault_set(&realloc_fault, every, ENOMEM);
		fault_set(&strdup_fault, every, ENOMEM);
		UNDER_FAULTS(pairs = pairs_new(&o.bench.snapshot, o.stapler));
		if (!pairs)
			continue;
		UNDER_FAULTS(pairs_look_into(pairs, &folder));
		pairs->list[0].due = true;
		UNDER_FAULTS(pairs_read(pairs, &go_on));
		replaced += !strcmp(serves(&o.bench, o.id), fingerprint(o.new));
		pairs_free(pairs);
	}
	ck_assert_uint_gt(replaced, 0);
	teardown(&o);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, a_pair_is_replaced);
	tcase_add_test(t, the_same_pair_makes_no_noise);
	tcase_add_test(t, half_a_pair_waits_for_the_other);
	tcase_add_test(t, no_key_is_told);
	tcase_add_test(t, files_that_have_gone_serve_on);
	tcase_add_test(t, a_folder_has_new_pairs);
	tcase_add_test(t, a_folder_has_half_a_pair);
	tcase_add_test(t, a_listed_pair_keeps_its_key);
	tcase_add_test(t, a_folder_has_gone);
	tcase_add_test(t, new_pairs_are_stapled_as_the_folder_says);
	tcase_add_test(t, a_thousand_are_replaced);
	tcase_add_test(t, a_staple_comes_from_a_file);
	tcase_add_test(t, a_staple_follows_its_certificate);
	tcase_add_test(t, a_staple_is_complained_of_once);
	tcase_add_test(t, odd_files_are_no_staples);
	tcase_add_test(t, who_asks);
	tcase_add_test(t, no_memory_changes_nothing);
}

UNIT_MAIN("pairs", add_tests)

#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "faults.h"
#include "tls/keyring.h"
#include "tls_support.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

FAULT(memory);

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
	return fault_hits(&memory_fault) ? NULL : __real_realloc(old, size);
}

static struct certificate *
certificate_of(struct recipe r)
{
	struct made *m = make(r);
	char storage[256];
	struct text error;
	struct certificate *c;

	text_init(&error, storage, sizeof(storage));
	c = certificate_parse(span_text(m->crt), span_text(m->key_pem), &error);
	ck_assert_msg(c != NULL, "%s", storage);
	return c;
}

static struct certificate *
named(const char *names)
{
	return certificate_of((struct recipe){ .names = names });
}

static size_t
add(struct keyring *k, const char *label, struct certificate *c)
{
	size_t id = SIZE_MAX;

	ck_assert_int_eq(keyring_add(k, label, c, &id), 0);
	return id;
}

static bool
is_empty(const struct key_choice *choice)
{
	for (int i = 0; i < KEY_KIND_COUNT; i++)
		if (choice->by_kind[i])
			return false;
	return true;
}

/* The one certificate of its kind for a name; borrowed from the keyring. */
static const struct certificate *
found(struct keyring *k, const char *name, enum key_kind kind)
{
	struct key_choice choice;
	const struct certificate *c;

	if (!keyring_find(k, span_text(name), time(NULL), &choice)) {
		ck_assert(is_empty(&choice));
		return NULL;
	}
	ck_assert(!is_empty(&choice));
	c = choice.by_kind[kind];
	key_choice_put(&choice);
	ck_assert(is_empty(&choice));
	return c;
}

START_TEST(exact_before_wildcard)
{
	struct keyring *k = keyring_new();
	struct certificate *exact = named("DNS:a.x.test,DNS:*.y.test");
	struct certificate *wild = named("DNS:*.x.test");

	ck_assert_uint_eq(add(k, NULL, wild), 0);
	ck_assert_uint_eq(add(k, NULL, exact), 1);
	ck_assert_ptr_eq(found(k, "a.x.test", KEY_ECDSA), exact);
	ck_assert_ptr_eq(found(k, "b.x.test", KEY_ECDSA), wild);
	ck_assert_ptr_eq(found(k, "b.y.test", KEY_ECDSA), exact);
	ck_assert_ptr_null(found(k, "c.b.x.test", KEY_ECDSA));
	ck_assert_ptr_null(found(k, "x.test", KEY_ECDSA));
	ck_assert_ptr_null(found(k, "*.x.test", KEY_ECDSA));
	ck_assert_ptr_null(found(k, ".x.test", KEY_ECDSA));
	ck_assert_ptr_null(found(k, "test", KEY_ECDSA));
	ck_assert_ptr_null(found(k, "", KEY_ECDSA));
	ck_assert_uint_eq(keyring_count(k), 2);
	keyring_put(k);
}
END_TEST

START_TEST(a_certificate_of_each_kind)
{
	struct keyring *k = keyring_new();
	struct certificate *rsa = certificate_of(
	    (struct recipe){ .kind = MADE_RSA2048, .names = "DNS:a.test" });
	struct certificate *ed = certificate_of(
	    (struct recipe){ .kind = MADE_ED25519, .names = "DNS:a.test" });
	struct certificate *ec = named("DNS:a.test,DNS:*.test");

	add(k, NULL, rsa);
	add(k, NULL, ed);
	add(k, NULL, ec);
	ck_assert_ptr_eq(found(k, "a.test", KEY_RSA), rsa);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ED25519), ed);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), ec);
	/* A wildcard adds nothing to an exact name. */
	ck_assert_ptr_null(found(k, "b.test", KEY_RSA));
	ck_assert_ptr_eq(found(k, "b.test", KEY_ECDSA), ec);
	keyring_put(k);
}
END_TEST

static struct certificate *
lasting(int64_t from, int64_t to)
{
	return certificate_of((struct recipe){
	    .names = "DNS:a.test", .not_before = from, .not_after = to });
}

START_TEST(the_best_of_one_kind)
{
	struct keyring *k = keyring_new();
	struct certificate *expired = lasting(-9 * MADE_DAY, -MADE_DAY);
	struct certificate *future = lasting(MADE_DAY, 90 * MADE_DAY);
	struct certificate *shorter = lasting(-MADE_DAY, MADE_DAY);
	struct certificate *longer = lasting(-MADE_DAY, 9 * MADE_DAY);

	add(k, NULL, expired);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), expired);
	add(k, NULL, future);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), future);
	add(k, NULL, shorter);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), shorter);
	add(k, NULL, longer);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), longer);
	/* The same again: the first added of equals. */
	add(k, NULL, certificate_get(longer));
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), longer);
	keyring_put(k);
}
END_TEST

START_TEST(labels)
{
	struct keyring *k = keyring_new();
	struct certificate *one = named("DNS:a.test");
	struct certificate *rsa = certificate_of(
	    (struct recipe){ .kind = MADE_RSA2048, .names = "DNS:b.test" });
	struct key_choice choice;
	char label[] = "app";

	add(k, label, one);
	add(k, label, rsa);
	label[0] = 'x';
	add(k, NULL, named("DNS:c.test"));
	ck_assert(keyring_labelled(k, "app", time(NULL), &choice));
	ck_assert_ptr_eq(choice.by_kind[KEY_ECDSA], one);
	ck_assert_ptr_eq(choice.by_kind[KEY_RSA], rsa);
	key_choice_put(&choice);
	ck_assert(!keyring_labelled(k, "xpp", time(NULL), &choice));
	ck_assert(is_empty(&choice));
	ck_assert(!keyring_labelled(k, "a.test", time(NULL), &choice));
	keyring_put(k);
}
END_TEST

START_TEST(replaced_in_its_place)
{
	struct keyring *k = keyring_new();
	struct certificate *old = named("DNS:a.test,DNS:old.test,DNS:a.test");
	struct certificate *beside = named("DNS:b.test");
	struct certificate *new = named("DNS:a.test,DNS:new.test");
	size_t id = add(k, "app", old);
	struct certificate *at;
	struct key_choice choice;

	add(k, NULL, beside);
	ck_assert(keyring_find(k, span_text("a.test"), 0, &choice));
	ck_assert_int_eq(keyring_replace(k, id, new), 0);
	/* A handshake that has begun keeps the one it began with. */
	ck_assert_str_eq(
	    certificate_name(choice.by_kind[KEY_ECDSA], 1), "old.test");
	key_choice_put(&choice);
	ck_assert_ptr_eq(found(k, "a.test", KEY_ECDSA), new);
	ck_assert_ptr_eq(found(k, "new.test", KEY_ECDSA), new);
	ck_assert_ptr_null(found(k, "old.test", KEY_ECDSA));
	ck_assert_ptr_eq(found(k, "b.test", KEY_ECDSA), beside);
	ck_assert(keyring_labelled(k, "app", 0, &choice));
	ck_assert_ptr_eq(choice.by_kind[KEY_ECDSA], new);
	key_choice_put(&choice);
	at = keyring_at(k, id);
	ck_assert_ptr_eq(at, new);
	certificate_put(at);
	ck_assert_uint_eq(keyring_count(k), 2);
	keyring_put(k);
}
END_TEST

START_TEST(many_names)
{
	EVP_PKEY *key = make_key(MADE_P256);
	struct keyring *k = keyring_new();
	struct certificate *all[300];
	char name[64];

	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		snprintf(name, sizeof(name), "DNS:h%zu.test", i);
		all[i] = certificate_of(
		    (struct recipe){ .key = key, .names = name });
		ck_assert_uint_eq(add(k, name, all[i]), i);
	}
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		snprintf(name, sizeof(name), "h%zu.test", i);
		ck_assert_ptr_eq(found(k, name, KEY_ECDSA), all[i]);
	}
	ck_assert_ptr_null(found(k, "h300.test", KEY_ECDSA));
	keyring_put(k);
}
END_TEST

START_TEST(references)
{
	struct keyring *k = keyring_new();

	add(k, NULL, named("DNS:a.test"));
	ck_assert_ptr_eq(keyring_get(k), k);
	keyring_put(k);
	ck_assert_ptr_nonnull(found(k, "a.test", KEY_ECDSA));
	keyring_put(k);
	keyring_put(NULL);
}
END_TEST

START_TEST(no_keyring_without_memory)
{
	struct keyring *k;

	fault_set(&memory_fault, 1, ENOMEM);
	UNDER_FAULTS(k = keyring_new());
	ck_assert_ptr_null(k);
}
END_TEST

/* Whichever allocation fails, nothing is taken. */
START_TEST(nothing_is_added_without_memory)
{
	struct certificate *c = named("DNS:a.test,DNS:b.test");
	int result = -ENOMEM;
	unsigned n;

	for (n = 1; result < 0; n++) {
		struct keyring *k = keyring_new();
		size_t id;

		fault_set(&memory_fault, n, ENOMEM);
		UNDER_FAULTS(
		    result = keyring_add(k, "app", certificate_get(c), &id));
		if (result < 0) {
			ck_assert_int_eq(result, -ENOMEM);
			ck_assert_ptr_null(found(k, "a.test", KEY_ECDSA));
			ck_assert_uint_eq(keyring_count(k), 0);
			certificate_put(c);
		}
		keyring_put(k);
	}
	ck_assert_uint_gt(n, 4);
	certificate_put(c);
}
END_TEST

/* What was there stays. So many names that the index must grow. */
START_TEST(nothing_is_replaced_without_memory)
{
	const char *names = "DNS:a.test";
	struct certificate *c = named("DNS:a.test,DNS:b.test"), *other;
	int result = -ENOMEM;
	unsigned n;

	for (int i = 0; i < 100; i++)
		names = join(names, ",DNS:", i % 2 ? "c" : "d", ".test", NULL);
	other = named(names);
	for (n = 1; result < 0; n++) {
		struct keyring *k = keyring_new();
		size_t id = add(k, NULL, certificate_get(c));

		fault_set(&memory_fault, n, ENOMEM);
		UNDER_FAULTS(
		    result = keyring_replace(k, id, certificate_get(other)));
		fault_set(&memory_fault, 0, 0);
		if (result < 0) {
			ck_assert_ptr_eq(found(k, "b.test", KEY_ECDSA), c);
			certificate_put(other);
		}
		keyring_put(k);
	}
	ck_assert_uint_gt(n, 2);
	certificate_put(c);
	certificate_put(other);
}
END_TEST

/* --- threads --- */

struct race {
	struct keyring *keyring;
	atomic_bool stop;
	atomic_uint failures;
};

static void *
find_often(void *arg)
{
	struct race *r = arg;
	struct key_choice choice;

	while (!atomic_load(&r->stop)) {
		if (!keyring_find(
			r->keyring, span_text("a.test"), 0, &choice) ||
		    !certificate_covers(
			choice.by_kind[KEY_ECDSA], span_text("a.test")))
			atomic_fetch_add(&r->failures, 1);
		key_choice_put(&choice);
		if (keyring_find(r->keyring, span_text("b.test"), 0, &choice))
			key_choice_put(&choice);
	}
	return NULL;
}

START_TEST(replaced_while_threads_find)
{
	struct certificate *versions[] = { named("DNS:a.test,DNS:b.test"),
		named("DNS:*.b.test,DNS:a.test") };
	struct race r = { .keyring = keyring_new() };
	size_t id = add(r.keyring, "app", certificate_get(versions[0]));
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, find_often, &r), 0);
	for (size_t i = 1; i <= 5000; i++) {
		struct certificate *next = certificate_get(versions[i % 2]);

		QUICK_ASSERT(keyring_replace(r.keyring, id, next) == 0);
	}
	atomic_store(&r.stop, true);
	for (size_t i = 0; i < ARRAY_COUNT(threads); i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(atomic_load(&r.failures), 0);
	keyring_put(r.keyring);
	certificate_put(versions[0]);
	certificate_put(versions[1]);
}
END_TEST

START_TEST(files)
{
	EVP_PKEY *key = make_key(MADE_P256);
	struct keyring_file all[40] = { { .crt = NULL } };
	char name[64];

	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		struct made *m;

		snprintf(name, sizeof(name), "DNS:h%zu.test", i);
		m = make((struct recipe){ .key = key, .names = name });
		snprintf(name, sizeof(name), "%zu.pem", i);
		all[i].crt = make_file(name, join(m->crt, m->key_pem, NULL));
	}
	all[7].crt = path_of("missing");
	all[8].key = all[9].crt;
	keyring_read_files(all, ARRAY_COUNT(all));
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		if (i == 7) {
			ck_assert_ptr_null(all[i].loaded);
			ck_assert_ptr_nonnull(strstr(all[i].error, "missing"));
			continue;
		}
		ck_assert_msg(all[i].loaded != NULL, "%s", all[i].error);
		ck_assert_str_eq(all[i].error, "");
		snprintf(name, sizeof(name), "h%zu.test", i);
		ck_assert_str_eq(certificate_name(all[i].loaded, 0), name);
		certificate_put(all[i].loaded);
	}
	keyring_read_files(NULL, 0);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, exact_before_wildcard);
	tcase_add_test(tcase, a_certificate_of_each_kind);
	tcase_add_test(tcase, the_best_of_one_kind);
	tcase_add_test(tcase, labels);
	tcase_add_test(tcase, replaced_in_its_place);
	tcase_add_test(tcase, many_names);
	tcase_add_test(tcase, references);
	tcase_add_test(tcase, no_keyring_without_memory);
	tcase_add_test(tcase, nothing_is_added_without_memory);
	tcase_add_test(tcase, nothing_is_replaced_without_memory);
	tcase_add_test(tcase, replaced_while_threads_find);
	tcase_add_test(tcase, files);
}

UNIT_MAIN("keyring", add_tests)

#include "engine/renewal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "faults.h"
#include "renewal_bench.h"
#include "tls/private.h"

/*
 * Time runs fifty times as fast here: what settles for half a second has done
 * so after ten milliseconds, and a minute takes little more than one second.
 */
#define FAST 50

uint64_t __real_clock_ms(void);
uint64_t __wrap_clock_ms(void);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap___poll_chk(
    struct pollfd *fds, nfds_t count, int timeout_ms, size_t size);
int __real_inotify_init1(int flags);
int __wrap_inotify_init1(int flags);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_eventfd(unsigned value, int flags);
int __wrap_eventfd(unsigned value, int flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*main)(void *), void *arg);

static atomic_bool no_inotify, no_eventfd, no_thread;
static _Atomic uint64_t passed_ms;
static _Atomic uint64_t stopped_ms; /* where time stands still; 0: it runs */

uint64_t
__wrap_clock_ms(void)
{
	uint64_t stopped = atomic_load(&stopped_ms);

	return stopped > 0 ? stopped
			   : __real_clock_ms() * FAST + atomic_load(&passed_ms);
}

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

/* The threads of the renewal have no memory, or no descriptors for files. */
static atomic_bool threads_are_short, threads_cannot_open;

static bool
is_short(void)
{
	return atomic_load(&threads_are_short) && gettid() != getpid();
}

int
__wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list list;

	if (atomic_load(&threads_cannot_open) && gettid() != getpid()) {
		errno = EMFILE;
		return -1;
	}
	va_start(list, flags);
	if (flags & O_CREAT)
		mode = va_arg(list, mode_t);
	va_end(list);
	return __real_open(path, flags, mode);
}

void *
__wrap_malloc(size_t size)
{
	return fault_hits(&malloc_fault) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return is_short() || fault_hits(&calloc_fault) ? NULL
						       : __real_calloc(n, size);
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

int
__wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	return __real_poll(
	    fds, count, timeout_ms <= 0 ? timeout_ms : timeout_ms / FAST + 1);
}

/* What FORTIFY makes of it. */
int
__wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout_ms, size_t size)
{
	(void)size;
	return __wrap_poll(fds, count, timeout_ms);
}

int
__wrap_inotify_init1(int flags)
{
	if (!atomic_load(&no_inotify))
		return __real_inotify_init1(flags);
	errno = EMFILE;
	return -1;
}

int
__wrap_eventfd(unsigned value, int flags)
{
	if (!atomic_load(&no_eventfd))
		return __real_eventfd(value, flags);
	errno = EMFILE;
	return -1;
}

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*main)(void *), void *arg)
{
	if (!atomic_load(&no_thread))
		return __real_pthread_create(thread, attr, main, arg);
	return EAGAIN;
}

#define REPLACED "msg=\"certificate replaced\""

struct one {
	struct bench bench;
	struct tickets *tickets;
	struct renewal *renewal;
	struct made *old, *new;
	size_t id;
};

static void
setup(struct one *o)
{
	renewal_bench_init(&o->bench);
	o->tickets = tickets_new();
	ck_assert_ptr_nonnull(o->tickets);
	o->old = renewal_bench_leaf(&o->bench, "a.test");
	o->new = renewal_bench_leaf(&o->bench, "a.test");
	o->id = renewal_bench_add(&o->bench, "a", o->old);
	o->renewal = NULL;
}

static void
start(struct one *o)
{
	o->renewal =
	    renewal_new(o->bench.journal, o->tickets, &o->bench.generation);
	ck_assert_ptr_nonnull(o->renewal);
}

static void
teardown(struct one *o)
{
	renewal_free(o->renewal);
	tickets_free(o->tickets);
	renewal_bench_fini(&o->bench);
}

static bool
serves_leaf(const struct one *o, const struct made *leaf)
{
	return !strcmp(serves(&o->bench, o->id), fingerprint(leaf));
}

START_TEST(a_pair_is_replaced_by_rename)
{
	struct one o;

	setup(&o);
	start(&o);
	renewal_bench_write(&o.bench, "a", o.new);
	WAIT_FOR(serves_leaf(&o, o.new));
	WAIT_FOR(logged(&o.bench, REPLACED, fingerprint(o.new)) == 1);
	/* And back. */
	renewal_bench_write(&o.bench, "a", o.old);
	WAIT_FOR(serves_leaf(&o, o.old));
	teardown(&o);
}
END_TEST

static void
write_in_place(const char *path, const char *text)
{
	FILE *f = fopen(path, "r+");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	fflush(f);
	ck_assert_int_eq(ftruncate(fileno(f), (off_t)strlen(text)), 0);
	fclose(f);
}

START_TEST(a_pair_is_written_in_place)
{
	struct one o;

	setup(&o);
	start(&o);
	write_in_place(
	    path_of("a.crt"), join(o.new->crt, o.bench.ca->crt, NULL));
	/* Now the key is another one's, if not half of the file is. */
	WAIT_FOR(logged(&o.bench, "the old one stays", "a.crt") >= 1);
	ck_assert(serves_leaf(&o, o.old));
	write_in_place(path_of("a.key"), o.new->key_pem);
	WAIT_FOR(serves_leaf(&o, o.new));
	teardown(&o);
}
END_TEST

/* Between reading the files and watching them. */
START_TEST(a_pair_is_replaced_before_it_is_watched)
{
	struct one o;

	setup(&o);
	renewal_bench_write(&o.bench, "a", o.new);
	start(&o);
	WAIT_FOR(serves_leaf(&o, o.new));
	teardown(&o);
}
END_TEST

START_TEST(links_are_swapped)
{
	struct one o;
	char crt[600], key[600];

	setup(&o);
	renewal_bench_write(&o.bench, "first", o.old);
	renewal_bench_write(&o.bench, "second", o.new);
	ck_assert_int_eq(unlink(path_of("a.crt")), 0);
	ck_assert_int_eq(unlink(path_of("a.key")), 0);
	ck_assert_int_eq(symlink("first.crt", path_of("a.crt")), 0);
	ck_assert_int_eq(symlink("first.key", path_of("a.key")), 0);
	start(&o);
	snprintf(crt, sizeof(crt), "%s", path_of("draft.crt"));
	snprintf(key, sizeof(key), "%s", path_of("draft.key"));
	ck_assert_int_eq(symlink("second.crt", crt), 0);
	ck_assert_int_eq(symlink("second.key", key), 0);
	ck_assert_int_eq(rename(crt, path_of("a.crt")), 0);
	ck_assert_int_eq(rename(key, path_of("a.key")), 0);
	WAIT_FOR(serves_leaf(&o, o.new));
	/* And what the new links lead to. */
	renewal_bench_write(&o.bench, "second", o.old);
	WAIT_FOR(serves_leaf(&o, o.old));
	teardown(&o);
}
END_TEST

START_TEST(files_go_and_come_again)
{
	struct one o;

	setup(&o);
	start(&o);
	ck_assert_int_eq(unlink(path_of("a.crt")), 0);
	ck_assert_int_eq(unlink(path_of("a.key")), 0);
	WAIT_FOR(logged(&o.bench, "the old one stays", "a.crt") >= 1);
	ck_assert(serves_leaf(&o, o.old));
	renewal_bench_write(&o.bench, "a", o.new);
	WAIT_FOR(serves_leaf(&o, o.new));
	teardown(&o);
}
END_TEST

/* What fails once is tried again, even if nothing on the disk changes: it may
 * have been for want of descriptors. */
START_TEST(a_failure_is_not_for_ever)
{
	struct one o;
	struct made *other;

	setup(&o);
	renewal_bench_trust(&o.bench, "cas.pem");
	other = make((struct recipe){ .ca = true, .common_name = "other" });
	renewal_bench_write(&o.bench, "a", o.new);
	renewal_bench_write_file(
	    &o.bench, "cas.pem", join(o.bench.ca->crt, other->crt, NULL));
	atomic_store(&threads_cannot_open, true);
	start(&o);
	WAIT_FOR(logged(&o.bench, "the old one stays", "a.crt") == 1);
	WAIT_FOR(
	    logged(&o.bench, "CAs and CRLs not read again", "cas.pem") == 1);
	atomic_store(&threads_cannot_open, false);
	WAIT_FOR(serves_leaf(&o, o.new));
	WAIT_FOR(logged(&o.bench, "CAs and CRLs replaced", "cas=2") == 1);
	teardown(&o);
}
END_TEST

START_TEST(there_is_no_inotify)
{
	struct one o;

	setup(&o);
	atomic_store(&no_inotify, true);
	start(&o);
	WAIT_FOR(logged(&o.bench, "cannot be watched", NULL) == 1);
	for (int i = 0; i < 3; i++) {
		renewal_bench_write(&o.bench, "a", o.new);
		WAIT_FOR(serves_leaf(&o, o.new));
		renewal_bench_write(&o.bench, "a", o.old);
		WAIT_FOR(serves_leaf(&o, o.old));
	}
	ck_assert_uint_eq(logged(&o.bench, "cannot be watched", NULL), 1);
	teardown(&o);
}
END_TEST

START_TEST(a_folder_is_watched)
{
	struct one o;
	struct made *b;
	char folder[600];

	setup(&o);
	b = renewal_bench_leaf(&o.bench, "b.test");
	snprintf(folder, sizeof(folder), "%s", path_of("folder"));
	o.bench.folders[0].path = folder;
	o.bench.snapshot.certificate_folder_count = 1;
	start(&o);
	/* It does not even exist yet. */
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	renewal_bench_write(&o.bench, "folder/b", b);
	WAIT_FOR(serves_name(&o.bench, "b.test") != NULL);
	ck_assert_str_eq(serves_name(&o.bench, "b.test"), fingerprint(b));
	/* What came into it is watched too. */
	b = renewal_bench_leaf(&o.bench, "c.test");
	renewal_bench_write(&o.bench, "folder/b", b);
	WAIT_FOR(serves_name(&o.bench, "c.test") != NULL);
	ck_assert_ptr_null(serves_name(&o.bench, "b.test"));
	/* And goes on serving when it has gone. */
	ck_assert_int_eq(unlink(path_of("folder/b.crt")), 0);
	WAIT_FOR(logged(&o.bench, "the old one stays", "b.crt") >= 1);
	ck_assert_ptr_nonnull(serves_name(&o.bench, "c.test"));
	teardown(&o);
}
END_TEST

START_TEST(a_thousand_at_once)
{
	static struct one o;
	struct made *leaf;
	char name[16];

	setup(&o);
	leaf = renewal_bench_leaf(&o.bench, "old.test");
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		renewal_bench_add(&o.bench, name, leaf);
	}
	leaf = renewal_bench_leaf(&o.bench, "new.test");
	start(&o);
	/* While they are written nothing settles: on a busy machine the fast
	 * clock would have all of them looked at after every few. */
	atomic_store(&stopped_ms, clock_ms());
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		renewal_bench_write(&o.bench, name, leaf);
	}
	atomic_store(&stopped_ms, 0);
	for (size_t i = 0; i < 1000; i++)
		WAIT_FOR(!strcmp(serves(&o.bench, 1 + i), fingerprint(leaf)));
	ck_assert_ptr_null(serves_name(&o.bench, "old.test"));
	ck_assert(serves_leaf(&o, o.old));
	teardown(&o);
}
END_TEST

START_TEST(trust_is_read_again)
{
	struct one o;
	struct trust *t;
	uint8_t before[TRUST_DIGEST_BYTES], after[TRUST_DIGEST_BYTES];
	struct made *other;

	setup(&o);
	t = renewal_bench_trust(&o.bench, "cas.pem");
	trust_digest(t, before);
	other = make((struct recipe){ .ca = true, .common_name = "other" });
	start(&o);
	renewal_bench_write_file(&o.bench, "cas.pem", "nonsense");
	WAIT_FOR(
	    logged(&o.bench, "CAs and CRLs not read again", "cas.pem") == 1);
	trust_digest(t, after);
	ck_assert_mem_eq(before, after, sizeof(before));
	renewal_bench_write_file(
	    &o.bench, "cas.pem", join(o.bench.ca->crt, other->crt, NULL));
	WAIT_FOR(logged(&o.bench, "CAs and CRLs replaced", "cas=2") == 1);
	trust_digest(t, after);
	ck_assert_mem_ne(before, after, sizeof(before));
	teardown(&o);
}
END_TEST

/* One bundle for two endpoints is read once, and a complaint made once. */
START_TEST(trust_is_shared)
{
	struct one o;
	struct bench *b = &o.bench;
	struct made *other;

	setup(&o);
	renewal_bench_trust(b, "other.pem");
	b->endpoints[1].upstream_tls.trust = renewal_bench_trust(b, "cas.pem");
	b->endpoints[0].upstream_tls.trust = b->endpoints[1].termination.trust;
	other = make((struct recipe){ .ca = true, .common_name = "other" });
	start(&o);
	renewal_bench_write_file(b, "cas.pem", "nonsense");
	WAIT_FOR(logged(b, "CAs and CRLs not read again", "cas.pem") == 1);
	renewal_bench_write_file(b, "cas.pem", "nonsense");
	renewal_bench_write(b, "a", o.new);
	WAIT_FOR(serves_leaf(&o, o.new));
	renewal_bench_write_file(
	    b, "cas.pem", join(b->ca->crt, other->crt, NULL));
	WAIT_FOR(logged(b, "CAs and CRLs replaced", "cas=2") == 1);
	ck_assert_uint_eq(logged(b, "CAs and CRLs replaced", NULL), 1);
	ck_assert_uint_eq(
	    logged(b, "CAs and CRLs not read again", "cas.pem"), 1);
	teardown(&o);
}
END_TEST

/* --- ticket keys --- */

static void
write_ticket_key(char fill)
{
	char key[TICKET_KEY_BYTES];
	FILE *f = fopen(path_of("draft"), "w");

	memset(key, fill, sizeof(key));
	ck_assert_int_eq(fchmod(fileno(f), 0600), 0);
	ck_assert_uint_eq(fwrite(key, 1, sizeof(key), f), sizeof(key));
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(rename(path_of("draft"), path_of("tickets")), 0);
}

/* The name of the key that seals now. */
static void
sealing_name(struct one *o, unsigned char name[16])
{
	unsigned char iv[EVP_MAX_IV_LENGTH];
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);

	ck_assert_int_eq(
	    tickets_key(o->tickets, name, iv, cipher, mac, true), 1);
	EVP_CIPHER_CTX_free(cipher);
	EVP_MAC_CTX_free(mac);
	EVP_MAC_free(hmac);
}

static bool
seals_otherwise(struct one *o, const unsigned char before[16])
{
	unsigned char name[16];

	sealing_name(o, name);
	return memcmp(before, name, sizeof(name)) != 0;
}

static int
sealing_key(struct one *o)
{
	unsigned char name[16];

	sealing_name(o, name);
	return name[0];
}

START_TEST(ticket_keys_are_read_again)
{
	struct one o;
	char path[600];

	setup(&o);
	snprintf(path, sizeof(path), "%s", path_of("tickets"));
	o.bench.snapshot.ticket_keys = path;
	write_ticket_key(1);
	start(&o);
	WAIT_FOR(sealing_key(&o) == 1);
	write_ticket_key(2);
	WAIT_FOR(sealing_key(&o) == 2);
	renewal_bench_write_file(&o.bench, "tickets", "too short");
	/* A change that comes while files are looked at may be told twice. */
	WAIT_FOR(logged(&o.bench, "ticket keys not replaced", NULL) >= 1);
	ck_assert_int_eq(sealing_key(&o), 2);
	ck_assert_uint_eq(logged(&o.bench, "too short", NULL), 0);
	teardown(&o);
}
END_TEST

START_TEST(ticket_keys_are_rotated)
{
	struct one o;
	unsigned char before[16];

	setup(&o);
	sealing_name(&o, before);
	start(&o);
	/* The first round is over when the second pair has been looked at. */
	renewal_bench_write(&o.bench, "a", o.new);
	WAIT_FOR(serves_leaf(&o, o.new));
	ck_assert(!seals_otherwise(&o, before));
	atomic_store(&passed_ms, UINT64_C(1000) * (TICKET_ROTATION_S + 60));
	WAIT_FOR(seals_otherwise(&o, before));
	teardown(&o);
}
END_TEST

/* --- reload --- */

START_TEST(a_reload_switches)
{
	struct one o;
	struct bench next, last;

	setup(&o);
	start(&o);
	renewal_bench_copy(&o.bench, &next);
	renewal_switch(o.renewal, &next.generation);
	renewal_bench_copy(&o.bench, &last);
	renewal_switch(o.renewal, &last.generation);
	renewal_bench_write(&o.bench, "a", o.new);
	WAIT_FOR(!strcmp(serves(&last, o.id), fingerprint(o.new)));
	/* The older ones are let go. */
	WAIT_FOR(atomic_load(&o.bench.generation.refs) == 1);
	ck_assert_uint_eq(atomic_load(&next.generation.refs), 1);
	renewal_free(o.renewal);
	o.renewal = NULL;
	renewal_bench_copy_fini(&next);
	renewal_bench_copy_fini(&last);
	teardown(&o);
}
END_TEST

/* One that comes when the other is not yet seen. */
START_TEST(many_reloads)
{
	struct one o;
	struct bench next;

	setup(&o);
	start(&o);
	renewal_bench_copy(&o.bench, &next);
	for (int i = 0; i < 100; i++) {
		renewal_switch(o.renewal, &o.bench.generation);
		renewal_switch(o.renewal, &next.generation);
	}
	renewal_free(o.renewal);
	o.renewal = NULL;
	renewal_bench_copy_fini(&next);
	teardown(&o);
}
END_TEST

/* One that must be stapled, with a responder to ask. */
static struct made *
leaf_to_staple(const struct one *o, const struct responder *r)
{
	return make((struct recipe){ .issuer = o->bench.ca,
	    .names = "DNS:b.test",
	    .must_staple = true,
	    .ocsp_url = r->url });
}

static bool
serves_stapled(const struct bench *b, size_t id, const struct made *leaf)
{
	return !strcmp(serves(b, id), fingerprint(leaf)) && is_stapled(b, id);
}

/* The second question is about another leaf: if the first leaf had been due
 * again it would have been its turn before. */
static void
nobody_asks_again(
    struct one *o, struct responder *r, const struct bench *b, size_t id)
{
	struct made *leaf = leaf_to_staple(o, r);

	renewal_bench_write(&o->bench, "b", leaf);
	WAIT_FOR(serves_stapled(b, id, leaf));
	ck_assert_uint_eq(atomic_load(&r->asked), 2);
}

START_TEST(staples_outlive_a_reload)
{
	struct one o;
	struct bench next;
	struct responder r;
	size_t id;

	setup(&o);
	responder_init(&r, &o.bench);
	id = renewal_bench_add(&o.bench, "b", leaf_to_staple(&o, &r));
	start(&o);
	WAIT_FOR(is_stapled(&o.bench, id));
	WAIT_FOR(logged(&o.bench, "OCSP answer stapled", NULL) == 1);
	renewal_bench_copy(&o.bench, &next);
	ck_assert(!is_stapled(&next, id));
	renewal_switch(o.renewal, &next.generation);
	ck_assert(is_stapled(&next, id));
	nobody_asks_again(&o, &r, &next, id);
	renewal_free(o.renewal);
	o.renewal = NULL;
	renewal_bench_copy_fini(&next);
	responder_fini(&r);
	teardown(&o);
}
END_TEST

/* A label more for a pair. */
static size_t
add_label(struct bench *b, char *label, size_t id)
{
	struct keyring *k = b->snapshot.keyring;
	struct certificate_settings *pair =
	    &b->pairs[b->snapshot.certificate_count++];

	*pair = (struct certificate_settings){
		.label = label,
		.crt = strdup(path_of("b.crt")),
		.key = strdup(path_of("b.key")),
	};
	ck_assert_int_eq(
	    keyring_add(k, label, keyring_at(k, id), &pair->id), 0);
	return pair->id;
}

/* Two labels for one pair share its certificate, and its staple. */
START_TEST(one_certificate_is_asked_for_once)
{
	struct one o;
	struct responder r;
	char label[] = "second";
	size_t id, second;

	setup(&o);
	responder_init(&r, &o.bench);
	id = renewal_bench_add(&o.bench, "b", leaf_to_staple(&o, &r));
	second = add_label(&o.bench, label, id);
	start(&o);
	WAIT_FOR(is_stapled(&o.bench, second));
	WAIT_FOR(logged(&o.bench, "OCSP answer stapled", NULL) == 1);
	renewal_switch(o.renewal, &o.bench.generation);
	nobody_asks_again(&o, &r, &o.bench, second);
	renewal_free(o.renewal);
	o.renewal = NULL;
	ck_assert_uint_eq(atomic_load(&r.asked), 2);
	responder_fini(&r);
	teardown(&o);
}
END_TEST

START_TEST(who_is_replaced_is_stapled_anew)
{
	struct one o;
	struct responder r;
	struct made *leaf;
	size_t id;

	setup(&o);
	responder_init(&r, &o.bench);
	id = renewal_bench_add(&o.bench, "b", leaf_to_staple(&o, &r));
	start(&o);
	WAIT_FOR(is_stapled(&o.bench, id));
	leaf = leaf_to_staple(&o, &r);
	renewal_bench_write(&o.bench, "b", leaf);
	WAIT_FOR(serves_stapled(&o.bench, id, leaf));
	WAIT_FOR(logged(&o.bench, REPLACED, "b.crt") == 1);
	renewal_free(o.renewal);
	o.renewal = NULL;
	ck_assert_uint_eq(atomic_load(&r.asked), 2);
	responder_fini(&r);
	teardown(&o);
}
END_TEST

START_TEST(a_file_of_a_staple_is_read_again)
{
	struct one o;
	char path[600];
	struct span answer;
	FILE *f;

	setup(&o);
	snprintf(path, sizeof(path), "%s", path_of("a.ocsp"));
	o.bench.pairs[0].ocsp_file = path;
	start(&o);
	WAIT_FOR(logged(&o.bench, "OCSP response not stapled", "a.ocsp") == 1);
	answer = make_answer(&o.bench, o.old, 3600);
	f = fopen(path_of("draft"), "w");
	ck_assert_uint_eq(fwrite(answer.data, 1, answer.len, f), answer.len);
	ck_assert_int_eq(fclose(f), 0);
	OPENSSL_free((void *)(uintptr_t)answer.data);
	ck_assert_int_eq(rename(path_of("draft"), path), 0);
	WAIT_FOR(is_stapled(&o.bench, o.id));
	ck_assert_uint_eq(
	    logged(&o.bench, "OCSP response not stapled", NULL), 1);
	teardown(&o);
}
END_TEST

/* --- the rounds --- */

START_TEST(who_runs_out_is_told_of)
{
	struct one o;
	struct made *leaf;
	struct bench next;

	setup(&o);
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:b.test",
	    .not_before = -MADE_DAY,
	    .not_after = 5 * MADE_DAY });
	renewal_bench_add(&o.bench, "b", leaf);
	start(&o);
	WAIT_FOR(told("certificate_expiring.v0", fingerprint(leaf)) == 1);
	renewal_bench_copy(&o.bench, &next);
	renewal_switch(o.renewal, &next.generation);
	WAIT_FOR(atomic_load(&o.bench.generation.refs) == 1);
	/* One that comes later is found by the next round. */
	leaf = make((struct recipe){ .issuer = o.bench.ca,
	    .names = "DNS:b.test",
	    .not_before = -MADE_DAY,
	    .not_after = 2 * MADE_DAY });
	renewal_bench_write(&next, "b", leaf);
	WAIT_FOR(told("certificate_expiring.v0", fingerprint(leaf)) == 1);
	ck_assert_uint_eq(told("certificate_expiring.v0", NULL), 2);
	renewal_free(o.renewal);
	o.renewal = NULL;
	renewal_bench_copy_fini(&next);
	teardown(&o);
}
END_TEST

START_TEST(a_reload_without_memory)
{
	struct one o;
	struct bench next;

	setup(&o);
	start(&o);
	renewal_bench_copy(&o.bench, &next);
	atomic_store(&threads_are_short, true);
	renewal_switch(o.renewal, &next.generation);
	WAIT_FOR(logged(&o.bench, "no memory to keep the new", NULL) > 0);
	atomic_store(&threads_are_short, false);
	/* It is tried again without being told. */
	renewal_bench_write(&o.bench, "a", o.new);
	WAIT_FOR(!strcmp(serves(&next, o.id), fingerprint(o.new)));
	renewal_free(o.renewal);
	o.renewal = NULL;
	renewal_bench_copy_fini(&next);
	teardown(&o);
}
END_TEST

START_TEST(it_starts_without_memory)
{
	struct one o;
	struct responder responder;
	struct renewal *r;
	unsigned started = 0;
	struct bench next;

	setup(&o);
	responder_init(&responder, &o.bench);
	renewal_bench_trust(&o.bench, "cas.pem");
	renewal_bench_add(&o.bench, "b", leaf_to_staple(&o, &responder));
	renewal_bench_copy(&o.bench, &next);
	for (unsigned every = 1; every < 40; every++) {
		fault_set(&malloc_fault, every, ENOMEM);
		fault_set(&calloc_fault, every, ENOMEM);
		fault_set(&realloc_fault, every, ENOMEM);
		fault_set(&strdup_fault, every, ENOMEM);
		UNDER_FAULTS(r = renewal_new(o.bench.journal, o.tickets,
				 &o.bench.generation));
		if (!r)
			continue;
		started++;
		UNDER_FAULTS(renewal_switch(r, &next.generation));
		renewal_free(r);
	}
	ck_assert_uint_gt(started, 0);
	ck_assert_uint_lt(started, 39);
	responder_fini(&responder);
	renewal_bench_copy_fini(&next);
	teardown(&o);
}
END_TEST

static unsigned
open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned count = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

START_TEST(it_cannot_start)
{
	struct one o;
	unsigned before;

	setup(&o);
	before = open_descriptors();
	atomic_store(&no_eventfd, true);
	ck_assert_ptr_null(
	    renewal_new(o.bench.journal, o.tickets, &o.bench.generation));
	atomic_store(&no_eventfd, false);
	atomic_store(&no_thread, true);
	ck_assert_ptr_null(
	    renewal_new(o.bench.journal, o.tickets, &o.bench.generation));
	atomic_store(&no_thread, false);
	ck_assert_uint_eq(open_descriptors(), before);
	start(&o);
	renewal_free(o.renewal);
	o.renewal = NULL;
	ck_assert_uint_eq(open_descriptors(), before);
	teardown(&o);
}
END_TEST

static void
add_tests(TCase *t)
{
	tcase_add_test(t, a_pair_is_replaced_by_rename);
	tcase_add_test(t, a_pair_is_written_in_place);
	tcase_add_test(t, a_pair_is_replaced_before_it_is_watched);
	tcase_add_test(t, links_are_swapped);
	tcase_add_test(t, files_go_and_come_again);
	tcase_add_test(t, a_failure_is_not_for_ever);
	tcase_add_test(t, there_is_no_inotify);
	tcase_add_test(t, a_folder_is_watched);
	tcase_add_test(t, a_thousand_at_once);
	tcase_add_test(t, trust_is_read_again);
	tcase_add_test(t, trust_is_shared);
	tcase_add_test(t, ticket_keys_are_read_again);
	tcase_add_test(t, ticket_keys_are_rotated);
	tcase_add_test(t, a_reload_switches);
	tcase_add_test(t, many_reloads);
	tcase_add_test(t, staples_outlive_a_reload);
	tcase_add_test(t, one_certificate_is_asked_for_once);
	tcase_add_test(t, who_is_replaced_is_stapled_anew);
	tcase_add_test(t, a_file_of_a_staple_is_read_again);
	tcase_add_test(t, who_runs_out_is_told_of);
	tcase_add_test(t, a_reload_without_memory);
	tcase_add_test(t, it_starts_without_memory);
	tcase_add_test(t, it_cannot_start);
}

UNIT_MAIN("renewal", add_tests)

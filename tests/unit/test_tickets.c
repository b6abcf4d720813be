#include "unit.h"

#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "config.h"
#include "faults.h"
#include "tls/private.h"
#include "tls_support.h"

#define HOUR 3600

FAULT(mmap);
FAULT(mlock);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__real_mmap(void *, size_t, int, int, int, off_t);
int __wrap_mlock(const void *, size_t);
int __real_mlock(const void *, size_t);

static void *last_mapped;

void *
__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fault_hits(&mmap_fault))
		return MAP_FAILED;
	last_mapped = __real_mmap(at, len, prot, flags, fd, offset);
	return last_mapped;
}

int
__wrap_mlock(const void *at, size_t len)
{
	return fault_hits(&mlock_fault) ? -1 : __real_mlock(at, len);
}

static char message[512];
static struct text error;

static int
use_file(struct tickets *t, const char *path)
{
	text_init(&error, message, sizeof(message));
	return tickets_use_file(t, path, &error);
}

/* A ticket of its own kind: what libssl makes of the callback's work. */
struct sealed {
	unsigned char name[16], iv[EVP_MAX_IV_LENGTH], mac[32];
	unsigned char body[64];
	int body_len;
};

static void
authenticate(EVP_MAC_CTX *mac, const struct sealed *s, unsigned char out[32])
{
	size_t len = 0;

	QUICK_ASSERT(EVP_MAC_update(mac, s->name, sizeof(s->name)));
	QUICK_ASSERT(EVP_MAC_update(mac, s->iv, sizeof(s->iv)));
	QUICK_ASSERT(EVP_MAC_update(mac, s->body, (size_t)s->body_len));
	QUICK_ASSERT(EVP_MAC_final(mac, out, &len, 32));
	QUICK_ASSERT(len == 32);
}

struct tools {
	EVP_MAC *hmac;
	EVP_MAC_CTX *mac;
	EVP_CIPHER_CTX *cipher;
};

static struct tools
tools_new(void)
{
	struct tools t = { .hmac = EVP_MAC_fetch(NULL, "HMAC", NULL) };

	t.mac = EVP_MAC_CTX_new(t.hmac);
	t.cipher = EVP_CIPHER_CTX_new();
	QUICK_ASSERT(t.mac && t.cipher);
	return t;
}

static void
tools_free(struct tools *t)
{
	EVP_MAC_CTX_free(t->mac);
	EVP_MAC_free(t->hmac);
	EVP_CIPHER_CTX_free(t->cipher);
}

static struct sealed
seal(struct tickets *t)
{
	struct tools tools = tools_new();
	struct sealed s = { 0 };
	int len;

	QUICK_ASSERT(
	    tickets_key(t, s.name, s.iv, tools.cipher, tools.mac, true) == 1);
	QUICK_ASSERT(EVP_EncryptUpdate(tools.cipher, s.body, &s.body_len,
	    (const unsigned char *)"the session", 11));
	QUICK_ASSERT(
	    EVP_EncryptFinal_ex(tools.cipher, s.body + s.body_len, &len));
	s.body_len += len;
	authenticate(tools.mac, &s, s.mac);
	tools_free(&tools);
	return s;
}

/* What the callback said; a ticket that it opens must be whole. */
static int
unseal(struct tickets *t, struct sealed s)
{
	struct tools tools = tools_new();
	unsigned char mac[32], text[64];
	int said = tickets_key(t, s.name, s.iv, tools.cipher, tools.mac, false);
	int len, more;

	if (said > 0) {
		authenticate(tools.mac, &s, mac);
		QUICK_ASSERT(!memcmp(mac, s.mac, sizeof(mac)));
		QUICK_ASSERT(EVP_DecryptUpdate(
		    tools.cipher, text, &len, s.body, s.body_len));
		QUICK_ASSERT(
		    EVP_DecryptFinal_ex(tools.cipher, text + len, &more));
		QUICK_ASSERT(len + more == 11);
		QUICK_ASSERT(!memcmp(text, "the session", 11));
	}
	tools_free(&tools);
	return said;
}

static int64_t
now_s(void)
{
	return (int64_t)(clock_ms() / 1000);
}

START_TEST(what_is_sealed_can_be_opened)
{
	struct tickets *t = tickets_new(), *other = tickets_new();
	struct sealed one = seal(t), two = seal(t), changed = one;

	ck_assert_int_eq(unseal(t, one), 1);
	ck_assert_int_eq(unseal(t, two), 1);
	ck_assert_mem_eq(one.name, two.name, sizeof(one.name));
	ck_assert_mem_ne(one.iv, two.iv, sizeof(one.iv));
	changed.name[15] ^= 1;
	ck_assert_int_eq(unseal(t, changed), 0);
	ck_assert_int_eq(unseal(other, one), 0);
	tickets_free(t);
	tickets_free(other);
	tickets_free(NULL);
}
END_TEST

START_TEST(two_old_keys_still_open)
{
	struct tickets *t = tickets_new();
	struct sealed first = seal(t), second, third, fourth;
	int64_t now = now_s();

	tickets_rotate(t, now + 12 * HOUR - 60);
	ck_assert_int_eq(unseal(t, first), 1);
	tickets_rotate(t, now + 12 * HOUR + 60);
	ck_assert_int_eq(unseal(t, first), 2);
	second = seal(t);
	ck_assert_int_eq(unseal(t, second), 1);
	tickets_rotate(t, now + 13 * HOUR);
	ck_assert_int_eq(unseal(t, second), 1);
	tickets_rotate(t, now + 25 * HOUR);
	third = seal(t);
	ck_assert_int_eq(unseal(t, first), 2);
	ck_assert_int_eq(unseal(t, second), 2);
	ck_assert_int_eq(unseal(t, third), 1);
	tickets_rotate(t, now + 40 * HOUR);
	fourth = seal(t);
	ck_assert_int_eq(unseal(t, first), 0);
	ck_assert_int_eq(unseal(t, second), 2);
	ck_assert_int_eq(unseal(t, third), 2);
	ck_assert_int_eq(unseal(t, fourth), 1);
	tickets_free(t);
}
END_TEST

struct raw_key {
	uint8_t bytes[TICKET_KEY_BYTES];
};

static struct raw_key
random_key(void)
{
	struct raw_key k;

	ck_assert_int_eq(RAND_bytes(k.bytes, sizeof(k.bytes)), 1);
	k.bytes[0] = 0; /* never base64 */
	return k;
}

/* As `openssl base64` writes it, in lines of `width`. */
static const char *
in_lines(struct raw_key k, size_t width)
{
	char line[128], out[256];
	size_t len = 0;

	EVP_EncodeBlock((unsigned char *)line, k.bytes, sizeof(k.bytes));
	for (size_t at = 0; at < strlen(line); at += width)
		len += (size_t)snprintf(out + len, sizeof(out) - len, "%.*s\n",
		    (int)width, line + at);
	return join(out, NULL);
}

static const char *
raw_file(const struct raw_key *keys, size_t count)
{
	const char *path = make_file("keys", "");
	FILE *f = fopen(path, "w");

	ck_assert_uint_eq(fwrite(keys, sizeof(*keys), count, f), count);
	fclose(f);
	return path;
}

/* Which of these keys a set seals with. */
static int
index_of_sealing(struct tickets *t, const struct raw_key *keys, int count)
{
	struct sealed s = seal(t);

	for (int i = 0; i < count; i++)
		if (!memcmp(s.name, keys[i].bytes, sizeof(s.name)))
			return i;
	return -1;
}

START_TEST(keys_of_a_file)
{
	struct raw_key k[5] = { random_key(), random_key(), random_key(),
		random_key(), random_key() };
	struct tickets *t = tickets_new(), *other = tickets_new();
	struct sealed own = seal(t), s;

	ck_assert_int_eq(use_file(t, raw_file(k, 1)), 0);
	ck_assert_int_eq(index_of_sealing(t, k, 5), 0);
	ck_assert_int_eq(unseal(t, own), 0);
	ck_assert_int_eq(use_file(t, raw_file(k, 2)), 0);
	ck_assert_int_eq(index_of_sealing(t, k, 5), 0);
	s = seal(t);
	ck_assert_int_eq(use_file(other, raw_file(k, 4)), 0);
	ck_assert_int_eq(index_of_sealing(other, k, 5), 2);
	ck_assert_int_eq(unseal(other, s), 0); /* only the last three */
	s = seal(other);
	ck_assert_int_eq(use_file(t, raw_file(k, 5)), 0);
	ck_assert_int_eq(index_of_sealing(t, k, 5), 3);
	ck_assert_int_eq(unseal(t, s), 2);
	/* An edge that has the newer file is understood by one that has not. */
	ck_assert_int_eq(unseal(other, seal(t)), 1);
	tickets_rotate(t, now_s() + 100 * HOUR);
	ck_assert_int_eq(index_of_sealing(t, k, 5), 3);
	tickets_free(t);
	tickets_free(other);
}
END_TEST

START_TEST(keys_in_base64)
{
	struct raw_key k[3] = { random_key(), random_key(), random_key() };
	struct tickets *t = tickets_new(), *raw = tickets_new();

	ck_assert_int_eq(use_file(raw, raw_file(k, 3)), 0);
	ck_assert_int_eq(
	    use_file(t,
		make_file("text", join(in_lines(k[0], 108), in_lines(k[1], 64),
				      "\r\n", in_lines(k[2], 76), NULL))),
	    0);
	ck_assert_int_eq(index_of_sealing(t, k, 3), 1);
	ck_assert_int_eq(unseal(t, seal(raw)), 1);
	ck_assert_int_eq(unseal(raw, seal(t)), 1);
	tickets_free(t);
	tickets_free(raw);
}
END_TEST

static void
check_bad(struct tickets *t, const char *path, const char *words)
{
	struct sealed before = seal(t);

	ck_assert_int_eq(use_file(t, path), -1);
	ck_assert_msg(strstr(message, words) != NULL, "%s", message);
	ck_assert_ptr_null(strchr(message, '\n'));
	ck_assert_int_eq(unseal(t, before), 1);
}

START_TEST(files_that_are_refused)
{
	static const char not_keys[] = "not made of ticket keys of 80 bytes";
	struct raw_key k[2] = { random_key(), random_key() };
	struct tickets *t = tickets_new();
	const char *line = in_lines(k[0], 108), *path = raw_file(k, 2);
	char *changed = strdup(line);

	check_bad(t, path_of("missing"), "/missing: cannot be read: No such");
	ck_assert_int_eq(chmod(path, 0640), 0);
	check_bad(t, path, "not only its owner has access (chmod 600)");
	ck_assert_int_eq(chmod(path, 0604), 0);
	check_bad(t, path, "not only its owner has access (chmod 600)");
	check_bad(t, make_file("f", ""), "/f: no ticket key in it");
	check_bad(t, make_file("f", " \n"), "/f: no ticket key in it");
	check_bad(t, make_file("f", "#\n"), not_keys);
	check_bad(t, make_file("f", join(line, "AAAA", NULL)), not_keys);
	changed[50] = '=';
	check_bad(t, make_file("f", changed), not_keys);
	memset(changed, 'A', 108);
	check_bad(t, make_file("f", changed), not_keys);
	memcpy(changed, line, 106);
	memcpy(changed + 106, "==", 2);
	check_bad(t, make_file("f", changed), not_keys);
	ck_assert_int_eq(truncate(raw_file(k, 2), 159), 0);
	check_bad(t, path, not_keys);
	ck_assert_int_eq(truncate(raw_file(k, 2), 48), 0);
	check_bad(t, path, not_keys);
	/* Nothing of the contents is told. */
	ck_assert_int_eq(
	    use_file(t, make_file("f", join(line, "c2VjcmV0", NULL))), -1);
	ck_assert_ptr_null(strstr(message, "c2Vj"));
	free(changed);
	tickets_free(t);
}
END_TEST

START_TEST(keys_of_our_own_again)
{
	struct raw_key k = random_key();
	struct tickets *t = tickets_new();
	struct sealed own = seal(t), shared;

	ck_assert_int_eq(use_file(t, NULL), 0);
	ck_assert_int_eq(unseal(t, own), 1);
	ck_assert_int_eq(use_file(t, raw_file(&k, 1)), 0);
	shared = seal(t);
	ck_assert_int_eq(use_file(t, NULL), 0);
	ck_assert_int_eq(unseal(t, shared), 0);
	ck_assert_int_eq(unseal(t, seal(t)), 1);
	tickets_rotate(t, now_s() + 13 * HOUR);
	ck_assert_int_ne(index_of_sealing(t, &k, 1), 0);
	tickets_free(t);
}
END_TEST

/* A flag of the mapping that holds an address: "lo" locked, "dd" not dumped. */
static bool
has_vm_flag(const void *address, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to, at = (unsigned long)address;
	bool inside = false, found = false;
	char line[512];

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= at && at < to;
		if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line + 8, flag) != NULL;
	}
	fclose(f);
	return found;
}

START_TEST(the_keys_stay_out_of_swap_and_cores)
{
	struct tickets *t = tickets_new();

	ck_assert(has_vm_flag(last_mapped, " dd"));
#ifndef SANITIZED /* they make mlock a function that does nothing */
	ck_assert(has_vm_flag(last_mapped, " lo"));
#endif
	tickets_free(t);
}
END_TEST

START_TEST(without_locked_memory_it_works)
{
	struct tickets *t;

	fault_set(&mlock_fault, 1, ENOMEM);
	UNDER_FAULTS(t = tickets_new());
	ck_assert_uint_eq(mlock_fault.hits, 1);
	ck_assert_int_eq(unseal(t, seal(t)), 1);
	tickets_free(t);
}
END_TEST

START_TEST(without_memory_there_is_none)
{
	struct tickets *t;

	fault_set(&mmap_fault, 1, ENOMEM);
	UNDER_FAULTS(t = tickets_new());
	ck_assert_ptr_null(t);
}
END_TEST

#define SEALERS 4

struct sealers {
	struct tickets *tickets;
	atomic_bool stop;
	atomic_uint sealed;
};

static void *
seal_until_stopped(void *arg)
{
	struct sealers *all = arg;

	while (!atomic_load(&all->stop)) {
		/* One rotation may come between, or a file's keys. */
		QUICK_ASSERT(unseal(all->tickets, seal(all->tickets)) >= 0);
		atomic_fetch_add(&all->sealed, 1);
	}
	return NULL;
}

START_TEST(rotated_while_four_threads_seal)
{
	struct sealers all = { .tickets = tickets_new() };
	struct raw_key k = random_key();
	pthread_t threads[SEALERS];
	const char *path = raw_file(&k, 1);

	for (int i = 0; i < SEALERS; i++)
		pthread_create(&threads[i], NULL, seal_until_stopped, &all);
	for (int turn = 1; turn <= 40; turn++) {
		unsigned seen = atomic_load(&all.sealed);

		if (turn % 4 == 0)
			ck_assert_int_eq(use_file(all.tickets, path), 0);
		else if (turn % 4 == 1)
			ck_assert_int_eq(use_file(all.tickets, NULL), 0);
		tickets_rotate(all.tickets, now_s() + turn * 13 * HOUR);
		while (atomic_load(&all.sealed) < seen + SEALERS)
			sched_yield();
	}
	atomic_store(&all.stop, true);
	for (int i = 0; i < SEALERS; i++)
		pthread_join(threads[i], NULL);
	tickets_free(all.tickets);
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_test(tcase, what_is_sealed_can_be_opened);
	tcase_add_test(tcase, two_old_keys_still_open);
	tcase_add_test(tcase, keys_of_a_file);
	tcase_add_test(tcase, keys_in_base64);
	tcase_add_test(tcase, files_that_are_refused);
	tcase_add_test(tcase, keys_of_our_own_again);
	tcase_add_test(tcase, the_keys_stay_out_of_swap_and_cores);
	tcase_add_test(tcase, without_locked_memory_it_works);
	tcase_add_test(tcase, without_memory_there_is_none);
	tcase_add_test(tcase, rotated_while_four_threads_seal);
}

UNIT_MAIN("tickets", add_tests)

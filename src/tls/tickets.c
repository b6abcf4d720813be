#include "tls/tickets.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "tls/file.h"
#include "tls/private.h"

#define NAME_BYTES 16
#define HALF_BYTES 32
/* 80 bytes in base64: 106 digits and two thirds, and one '=' */
#define BASE64_DIGITS 107
#define BASE64_BYTES 108

struct key {
	uint8_t name[NAME_BYTES];
	uint8_t mac[HALF_BYTES];
	uint8_t cipher[HALF_BYTES];
};
_Static_assert(sizeof(struct key) == TICKET_KEY_BYTES, "as files hold them");

/* Oldest first, alone on its pages. */
struct keys {
	size_t count;
	size_t seals; /* the one that seals */
	struct key key[TICKET_KEYS_KEPT];
};

struct tickets {
	/* Handshakes only read, so they do not wait for each other. */
	pthread_rwlock_t lock;
	struct keys *keys;
	EVP_CIPHER *cipher;
	bool are_from_file;
	int64_t newest_s; /* monotonic: when the newest was made */
};

/* Neither swapped out nor in core files. */
static struct keys *
keys_map(void)
{
	struct keys *k = mmap(NULL, sizeof(*k), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (k == MAP_FAILED)
		return NULL;
	if (mlock(k, sizeof(*k)) < 0)
		LOG_WARN("the memory of session ticket keys cannot be locked "
			 "(RLIMIT_MEMLOCK), it may be swapped out",
		    LOG_ERRNO(errno));
	(void)madvise(k, sizeof(*k), MADV_DONTDUMP);
	return k;
}

static void
keys_unmap(struct keys *k)
{
	if (!k)
		return;
	explicit_bzero(k, sizeof(*k));
	munmap(k, sizeof(*k));
}

/* One key more, which seals from now on; the oldest goes. */
static void
keys_add_own(struct keys *k)
{
	if (k->count == TICKET_KEYS_KEPT)
		memmove(&k->key[0], &k->key[1], sizeof(k->key[0]) * --k->count);
	random_bytes(&k->key[k->count], sizeof(k->key[0]));
	k->seals = k->count++;
}

struct tickets *
tickets_new(void)
{
	struct tickets *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_rwlock_init(&t->lock, NULL);
	t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	t->keys = keys_map();
	if (!t->cipher || !t->keys) {
		ERR_clear_error();
		tickets_free(t);
		return NULL;
	}
	keys_add_own(t->keys);
	t->newest_s = (int64_t)(clock_ms() / 1000);
	return t;
}

void
tickets_free(struct tickets *t)
{
	if (!t)
		return;
	keys_unmap(t->keys);
	EVP_CIPHER_free(t->cipher);
	pthread_rwlock_destroy(&t->lock);
	free(t);
}

/* The last ones, as a file grows at its end. */
static void
take_key(struct keys *k, const uint8_t bytes[TICKET_KEY_BYTES])
{
	if (k->count == TICKET_KEYS_KEPT)
		memmove(&k->key[0], &k->key[1], sizeof(k->key[0]) * --k->count);
	memcpy(&k->key[k->count++], bytes, TICKET_KEY_BYTES);
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Everything in it is base64 and blanks; 80 random bytes never are. */
static bool
is_text(struct span s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz"
				     "0123456789+/=";

	for (size_t i = 0; i < s.len; i++)
		if (!is_blank(s.data[i]) &&
		    !memchr(digits, s.data[i], sizeof(digits) - 1))
			return false;
	return true;
}

/* The one '=' that 80 bytes have must stand last: OpenSSL takes it anywhere. */
static bool
take_base64(struct keys *k, const uint8_t text[BASE64_BYTES])
{
	uint8_t bytes[BASE64_BYTES / 4 * 3];
	bool ok =
	    memchr(text, '=', BASE64_BYTES) == text + BASE64_DIGITS &&
	    EVP_DecodeBlock(bytes, text, BASE64_BYTES) == (int)sizeof(bytes);

	if (ok)
		take_key(k, bytes);
	explicit_bzero(bytes, sizeof(bytes));
	return ok;
}

/* Lines may be broken anywhere: `openssl rand -base64 80` makes two. */
static bool
read_base64(struct span s, struct keys *k)
{
	uint8_t text[BASE64_BYTES];
	size_t len = 0;
	bool ok = true;

	for (size_t i = 0; ok && i < s.len; i++) {
		if (is_blank(s.data[i]))
			continue;
		text[len++] = s.data[i];
		if (len < sizeof(text))
			continue;
		ok = take_base64(k, text);
		len = 0;
	}
	explicit_bzero(text, sizeof(text));
	return ok && len == 0;
}

static bool
read_raw(struct span s, struct keys *k)
{
	if (s.len % TICKET_KEY_BYTES != 0)
		return false;
	for (size_t at = 0; at < s.len; at += TICKET_KEY_BYTES)
		take_key(k, s.data + at);
	return true;
}

static int
read_keys(const char *path, struct keys *k, struct text *error)
{
	struct span bytes;
	bool ok;

	if (file_read(path, FILE_SECRET, &bytes, error) < 0)
		return -1;
	ok = is_text(bytes) ? read_base64(bytes, k) : read_raw(bytes, k);
	file_wipe(&bytes);
	if (ok && k->count > 0) {
		/* The newest may not have reached the other edges yet. */
		k->seals = k->count > 1 ? k->count - 2 : 0;
		return 0;
	}
	text_addf(error, "%s: %s", path,
	    ok ? "no ticket key in it"
	       : "not made of ticket keys of 80 bytes, raw or in base64 "
		 "(openssl rand -base64 80)");
	return -1;
}

int
tickets_use_file(struct tickets *t, const char *path, struct text *error)
{
	struct keys fresh = { 0 };
	int result = 0;

	if (path)
		result = read_keys(path, &fresh, error);
	else
		keys_add_own(&fresh);
	pthread_rwlock_wrlock(&t->lock);
	if (result == 0 && (path || t->are_from_file)) {
		*t->keys = fresh;
		t->are_from_file = path != NULL;
		t->newest_s = (int64_t)(clock_ms() / 1000);
	}
	pthread_rwlock_unlock(&t->lock);
	explicit_bzero(&fresh, sizeof(fresh));
	return result;
}

void
tickets_rotate(struct tickets *t, int64_t now_s)
{
	pthread_rwlock_wrlock(&t->lock);
	if (!t->are_from_file && now_s - t->newest_s >= TICKET_ROTATION_S) {
		keys_add_own(t->keys);
		t->newest_s = now_s;
	}
	pthread_rwlock_unlock(&t->lock);
}

static bool
set_mac(const struct key *key, EVP_MAC_CTX *mac)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(
				    OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end() };

	return EVP_MAC_init(mac, key->mac, sizeof(key->mac), params) == 1;
}

static int
seal(const struct tickets *t, unsigned char name[NAME_BYTES],
    unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac)
{
	const struct key *key = &t->keys->key[t->keys->seals];

	memcpy(name, key->name, NAME_BYTES);
	if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(t->cipher)) != 1 ||
	    EVP_EncryptInit_ex2(cipher, t->cipher, key->cipher, iv, NULL) !=
		1 ||
	    !set_mac(key, mac))
		return -1;
	return 1;
}

static int
unseal(const struct tickets *t, const unsigned char name[NAME_BYTES],
    const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	/* From the newest on: most tickets are young. */
	for (size_t i = t->keys->count; i-- > 0;) {
		const struct key *key = &t->keys->key[i];

		if (memcmp(name, key->name, NAME_BYTES) != 0)
			continue;
		if (EVP_DecryptInit_ex2(
			cipher, t->cipher, key->cipher, iv, NULL) != 1 ||
		    !set_mac(key, mac))
			return -1;
		return i >= t->keys->seals ? 1 : 2;
	}
	return 0;
}

int
tickets_key(struct tickets *t, unsigned char name[16],
    unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, bool do_seal)
{
	int result;

	pthread_rwlock_rdlock(&t->lock);
	result = do_seal ? seal(t, name, iv, cipher, mac)
			 : unseal(t, name, iv, cipher, mac);
	pthread_rwlock_unlock(&t->lock);
	return result;
}

#include "tls/stream_private.h"

#include <stdlib.h>
#include <time.h>

/*
 * Sessions of upstreams, for one thread. A key stands for all that must be the
 * same (client.c); of each the newest are kept, and of the keys those that were
 * used last. One of TLS 1.3 is used once and comes back at the end of that
 * handshake, so there must be as many as handshakes are under way at a time:
 * with four of them a quarter of 32 clients' connections did without.
 */
#define KEYS_MAX 256
#define SESSIONS_PER_KEY 32

struct entry {
	uint8_t key[SESSION_KEY_BYTES];
	uint64_t used; /* when, by the order of uses */
	SSL_SESSION *sessions[SESSIONS_PER_KEY]; /* oldest first */
	unsigned count;
};

struct sessions {
	uint64_t uses;
	size_t
	    len; /* entries in use; the memory of the others is not touched */
	struct entry entries[KEYS_MAX];
};

struct sessions *
sessions_new(void)
{
	return calloc(1, sizeof(struct sessions));
}

static void
clear_entry(struct entry *e)
{
	while (e->count > 0)
		SSL_SESSION_free(e->sessions[--e->count]);
}

void
sessions_clear(struct sessions *all)
{
	for (size_t i = 0; i < all->len; i++)
		clear_entry(&all->entries[i]);
	all->len = 0;
}

void
sessions_free(struct sessions *all)
{
	if (!all)
		return;
	sessions_clear(all);
	free(all);
}

static struct entry *
find(struct sessions *all, const uint8_t key[SESSION_KEY_BYTES])
{
	for (size_t i = 0; i < all->len; i++)
		if (!memcmp(all->entries[i].key, key, SESSION_KEY_BYTES))
			return &all->entries[i];
	return NULL;
}

/* A new one, or the one whose last use is longest ago. */
static struct entry *
replace(struct sessions *all, const uint8_t key[SESSION_KEY_BYTES])
{
	struct entry *oldest = &all->entries[0];

	if (all->len < KEYS_MAX)
		oldest = &all->entries[all->len++];
	else
		for (size_t i = 1; i < KEYS_MAX; i++)
			if (all->entries[i].used < oldest->used)
				oldest = &all->entries[i];
	clear_entry(oldest);
	memcpy(oldest->key, key, SESSION_KEY_BYTES);
	return oldest;
}

static void
drop(struct entry *e, unsigned i)
{
	SSL_SESSION_free(e->sessions[i]);
	e->count--;
	for (; i < e->count; i++)
		e->sessions[i] = e->sessions[i + 1];
}

void
sessions_add(struct sessions *all, const uint8_t key[SESSION_KEY_BYTES],
    SSL_SESSION *session)
{
	struct entry *e = find(all, key);

	if (!e)
		e = replace(all, key);
	if (e->count == SESSIONS_PER_KEY)
		drop(e, 0);
	e->used = ++all->uses;
	e->sessions[e->count++] = session;
}

/* The session and the certificate that was verified for it. */
static bool
is_expired(const SSL_SESSION *session, int64_t now)
{
	X509 *leaf = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
	time_t when = (time_t)now;

	if (now - SSL_SESSION_get_time(session) >=
	    SSL_SESSION_get_timeout(session))
		return true;
	return leaf && X509_cmp_time(X509_get0_notAfter(leaf), &when) <= 0;
}

static void
drop_expired(struct entry *e, int64_t now)
{
	for (unsigned i = e->count; i-- > 0;)
		if (is_expired(e->sessions[i], now))
			drop(e, i);
}

SSL_SESSION *
sessions_take(
    struct sessions *all, const uint8_t key[SESSION_KEY_BYTES], int64_t now)
{
	struct entry *e = find(all, key);
	SSL_SESSION *session;

	if (!e)
		return NULL;
	drop_expired(e, now);
	if (e->count == 0)
		return NULL;
	e->used = ++all->uses;
	session = e->sessions[e->count - 1];
	/* One of TLS 1.3 is used once: who sees it twice can link the two. */
	if (SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION)
		e->count--;
	else
		SSL_SESSION_up_ref(session);
	return session;
}

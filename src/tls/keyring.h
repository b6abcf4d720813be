/*
 * The keyring: certificates by name. Found in constant time; exact names before
 * wildcards; for one name up to one certificate of each kind of key, of which
 * the handshake takes what the client offers.
 *
 * Counted; any thread. A pair may be replaced while it is in use: handshakes
 * that have begun keep the one they began with.
 */
#ifndef TLS_KEYRING_H
#define TLS_KEYRING_H

#include "tls/certificate.h"

struct keyring;

/* What one handshake may choose from; each counted, NULL: none of that kind. */
struct key_choice {
	struct certificate *by_kind[KEY_KIND_COUNT];
};

void key_choice_put(struct key_choice *choice); /* gives all back, empties */

struct keyring *keyring_new(void); /* NULL without memory */
struct keyring *keyring_get(struct keyring *k);
void keyring_put(struct keyring *k); /* NULL is harmless */

/*
 * Adds a certificate and takes the caller's reference; `id` gets its place, 0
 * upward. `label` (NULL: none) is the configuration's name for it, several may
 * share one. 0 or -ENOMEM (then nothing is taken).
 */
int keyring_add(struct keyring *k, const char *label, struct certificate *c,
    size_t *id) MUST_CHECK;

/* Puts another certificate in a place; takes the reference. 0 or -ENOMEM. */
int keyring_replace(
    struct keyring *k, size_t id, struct certificate *c) MUST_CHECK;

size_t keyring_count(struct keyring *k);
/* The one in a place, with a reference. */
struct certificate *keyring_at(struct keyring *k, size_t id);

/*
 * Those for a name: exact ones, or if there are none those of the wildcard one
 * label up. Of several of one kind the one that is valid at `now` and lasts
 * longest, the first added of equals. False: none, and `out` is empty.
 */
bool keyring_find(
    struct keyring *k, struct span name, int64_t now, struct key_choice *out);

/* Those with a label. */
bool keyring_labelled(
    struct keyring *k, const char *label, int64_t now, struct key_choice *out);

/* Files to load, and what became of them. */
struct keyring_file {
	const char *label;	    /* NULL: none */
	const char *crt, *key;	    /* key NULL: in crt */
	struct certificate *loaded; /* NULL: failed */
	char error[256];
};

/* Loads all files on as many threads as there are cores; fills `loaded` (a
 * reference each) or `error`. May block on the disk. */
void keyring_read_files(struct keyring_file *files, size_t count);

#endif

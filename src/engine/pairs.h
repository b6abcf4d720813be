/*
 * The pairs of files behind a keyring: certificate and key, and the staple if
 * that is a file. They are read again while the edge runs, and what loads takes
 * its place in the keyring; what does not is told of once, and the certificate
 * from before goes on serving. So do those whose files have gone.
 *
 * Belongs to one thread; reading blocks on the disk.
 */
#ifndef ENGINE_PAIRS_H
#define ENGINE_PAIRS_H

#include "config/snapshot.h"
#include "engine/stapler.h"

#define PAIR_NO_PLACE SIZE_MAX

struct pair {
	char *label;	 /* NULL: none */
	char *crt, *key; /* key NULL: in crt */
	char *ocsp_file; /* NULL: none */
	bool ocsp_fetch, ocsp_off;
	size_t id;	 /* its place in the keyring, or PAIR_NO_PLACE */
	bool due;	 /* to be read */
	bool staple_due; /* its staple's file is to be read */
	bool failed;	 /* the last reading did */
	/* Hashes of the complaints that were made last. */
	uint64_t told_of, staple_told_of;
};

struct pairs {
	struct keyring *keyring; /* counted */
	struct stapler *stapler; /* borrowed */
	struct pair *list;
	size_t count, room;
	struct index *by_crt; /* paths to places in the list */
};

/* Those of the snapshot. Staples from files are due. NULL without memory. */
struct pairs *pairs_new(const struct snapshot *s, struct stapler *stapler);
void pairs_free(struct pairs *p); /* NULL is harmless */

/* Looks for pairs in a folder that are not known yet; new ones are due, and so
 * are known ones whose key is in another file than before. True: there are
 * other paths now than before. */
bool pairs_look_into(struct pairs *p, const struct certificate_folder *folder);

/* Reads what is due, and stops early if `stop` becomes true. */
void pairs_read(struct pairs *p, const atomic_bool *stop);

/* What failed is due again. */
void pairs_try_failed(struct pairs *p);

/* Whether a certificate is to be stapled with its responder's answer. */
bool pair_asks_responder(
    bool fetch, bool off, const char *file, const struct certificate *c);

#endif

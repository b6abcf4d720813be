/*
 * Session ticket keys: shared by all workers, so that a session that one gave
 * is known to the others; kept over reloads; rotated; two old ones still open
 * what they sealed. Or read from a file that several edges share.
 *
 * The keys lie in memory that is locked and left out of core files, and are
 * wiped at the end. Any thread.
 *
 * Sources: RFC 5077, RFC 8446 section 4.6.1.
 */
#ifndef TLS_TICKETS_H
#define TLS_TICKETS_H

#include "base/text.h"

struct tickets;

/* Name 16, HMAC key 32, AES-256 key 32: as HAProxy's and nginx's 80 bytes. */
#define TICKET_KEY_BYTES 80
#define TICKET_KEYS_KEPT 3
#define TICKET_ROTATION_S (12 * 3600)

struct tickets *tickets_new(void); /* a random key. NULL without memory */
void tickets_free(struct tickets *t);

/*
 * Takes the keys of a file from now on: 80-byte keys one after another, raw or
 * in base64. The last TICKET_KEYS_KEPT open tickets and the last but one seals
 * them (or the only one), as in HAProxy: so a key can be appended to the file
 * of each edge in turn before any of them uses it. Nobody but the file's owner
 * may have access to it. 0, or -1 with one line in `error` and the keys as they
 * were. NULL: keys of our own again, if they were a file's.
 */
int tickets_use_file(
    struct tickets *t, const char *path, struct text *error) MUST_CHECK;

/* A new key if the newest is TICKET_ROTATION_S old; not for a file's keys.
 * `now_s` is monotonic. */
void tickets_rotate(struct tickets *t, int64_t now_s);

#endif

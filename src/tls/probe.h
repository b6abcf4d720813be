/*
 * A probe: one handshake with a server, as a client that takes any certificate,
 * to see what it shows. Nothing is said after the handshake.
 *
 * Values: probe_fini gives back what they hold. The calling thread blocks.
 * Sources: RFC 8446, RFC 5246.
 */
#ifndef TLS_PROBE_H
#define TLS_PROBE_H

#include "base/text.h"
#include "tls/stream.h"

#define PROBE_NAME_SIZE 256

struct probe_settings {
	/* SNI: a host name; or an IP literal, and none is sent. */
	struct span server_name;
	struct span alpn;     /* offered: ProtocolNameList; empty: none */
	uint16_t max_version; /* enum tls_version; 0: the newest */
	uint64_t deadline_ms; /* of clock_ms */
};

struct probe {
	bool done; /* the handshake; else `fault` and `detail` say why */
	enum tls_fault fault; /* NONE, and the deadline has passed */
	uint8_t alert;	      /* sent or received; 0: none */
	char detail[128];

	uint16_t version; /* enum tls_version; 0: not agreed */
	char alpn[64];	  /* selected, escaped; "": none */

	/* The leaf, once the server has proved to have its key. That can be
	 * without `done`: where a client certificate is asked for, TLS 1.2
	 * fails for the lack of it, but not before the proof. */
	bool has_leaf;
	char fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
	char subject[PROBE_NAME_SIZE], issuer[PROBE_NAME_SIZE];
	int64_t not_before, not_after; /* Unix seconds */

	struct probe_chain *chain; /* what was sent; NULL: nothing */
};

/* Shakes hands over a connected, non-blocking socket, which stays the caller's.
 * 0, or -ENOMEM with zeros in `out`. */
int probe_run(int fd, const struct probe_settings *settings,
    struct probe *out) MUST_CHECK;
void probe_fini(struct probe *p); /* harmless twice */

/* Whether the chain that was sent is good now for a server of this name (empty:
 * whoever it is for). 0, or -1 with the reason in `error`. */
int probe_check(const struct probe *p, struct trust *t, struct span name,
    struct text *error) MUST_CHECK;

#endif

/*
 * A decision: what a policy says to do with one connection. A value that owns
 * its strings; decision_fini frees what it holds.
 */
#ifndef POLICY_DECISION_H
#define POLICY_DECISION_H

#include "base/compiler.h"
#include "base/span.h"
#include "tls/trust.h"

enum deny_close { DENY_ALERT, DENY_CLOSE, DENY_RESET, DENY_TARPIT };

#define DECISION_MAX_TLVS 16
#define DECISION_MAX_TAGS 32

struct decision_tlv {
	uint8_t type; /* 0xE0 to 0xEF */
	struct span value;
};

struct decision_tag {
	char *name, *value;
};

/* How TLS is to be terminated: in a decision and in conn:terminate. */
struct decision_termination {
	char *certificate;		   /* label; NULL: the endpoint's */
	uint16_t min_version, max_version; /* enum tls_version; 0: the
					      endpoint's */
	bool has_alpn;
	struct span alpn;    /* ProtocolNameList without its length */
	int auth;	     /* enum client_auth; -1: the endpoint's */
	struct trust *trust; /* counted; with auth but NONE */
};

/* How a `tls://` upstream is to be spoken to. */
struct decision_upstream_tls {
	int verify;	     /* 0, 1; -1: the endpoint's */
	struct trust *trust; /* counted; NULL: the endpoint's */
	char *server_name;   /* NULL: the endpoint's */
	char *certificate;   /* label; NULL: the endpoint's */
};

struct decision {
	bool allow;
	enum deny_close close;
	uint8_t alert;	  /* 49 unless the script says otherwise */
	char *reason;	  /* NULL: none */
	char *endpoint;	  /* URL; NULL: the one that the SNI matches */
	char *upstream;	  /* address; NULL: the endpoint's */
	int terminate_at; /* enum terminate_at, or -1: the endpoint's */
	struct decision_termination termination;
	struct decision_upstream_tls upstream_tls;
	int proxy_proto; /* 0, 1, 2, or -1 */
	int proxy_tlvs;	 /* bits of enum proxy_tlv_choice, or -1 */
	struct decision_tlv tlvs[DECISION_MAX_TLVS];
	size_t tlv_count;
	struct decision_tag tags[DECISION_MAX_TAGS];
	size_t tag_count;
	int64_t connect_ms;	  /* -1: the endpoint's */
	int64_t idle_ms;	  /* -1: the endpoint's */
	int64_t bytes_per_second; /* -1: the endpoint's; 0: no limit */
	/* Where it was made; where its function begins, if that was left by a
	 * tail call; 0: unknown. */
	int line;
	void *storage; /* where the strings live; freed by decision_fini */
};

/* All defaults: allow, nothing overridden. */
void decision_init(struct decision *d);
void decision_fini(struct decision *d);

const char *deny_close_name(enum deny_close c);

#endif

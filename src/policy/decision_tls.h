/*
 * The keys about TLS: those that decisions and conn:terminate share, and
 * upstream_tls.
 */
#ifndef POLICY_DECISION_TLS_H
#define POLICY_DECISION_TLS_H

#include "policy/decision_reader.h"

/* X(key, read function): how TLS is terminated; all conn:terminate takes. */
#define TERMINATION_KEY_TABLE(X)         \
	X(certificate, read_certificate) \
	X(min_version, read_min_version) \
	X(max_version, read_max_version) \
	X(alpn, read_termination_alpn)   \
	X(mutual_tls, read_mutual_tls)

#define DECLARE_TERMINATION_KEY(name, read) read_function read;
TERMINATION_KEY_TABLE(DECLARE_TERMINATION_KEY)
#undef DECLARE_TERMINATION_KEY

read_function read_upstream_tls;

extern const struct key_table termination_keys, mutual_tls_keys,
    upstream_tls_keys;

/* What can be judged only when all keys are read. */
bool termination_is_consistent(struct reader *r);

#endif

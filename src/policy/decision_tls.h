/*
 * The keys about TLS: those that decisions and conn:terminate share, and
 * upstream_tls.
 */
#ifndef POLICY_DECISION_TLS_H
#define POLICY_DECISION_TLS_H

#include "policy/decision_reader.h"

/* X(key, read function): how TLS is terminated; all conn:terminate takes. */
#define TERMINATION_KEY_TABLE(X)             \
	X(certificate, decision_certificate) \
	X(min_version, decision_min_version) \
	X(max_version, decision_max_version) \
	X(alpn, decision_alpn)               \
	X(mutual_tls, decision_mutual_tls)

#define DECLARE_TERMINATION_KEY(name, read) read_function read;
TERMINATION_KEY_TABLE(DECLARE_TERMINATION_KEY)
#undef DECLARE_TERMINATION_KEY

read_function decision_upstream_tls;

extern const struct key_table decision_termination_keys,
    decision_mutual_tls_keys, decision_upstream_tls_keys;

/* What can be judged only when all keys are read. */
bool decision_termination_fits(struct reader *r);

#endif

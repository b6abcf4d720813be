/*
 * The configuration that the flags of `lunette tls` stand for, as the tree that
 * a file would give: an edge's, or with --edge an agent's.
 */
#ifndef CMD_TLS_TREE_H
#define CMD_TLS_TREE_H

#include "cmd/authtoken.h"
#include "cmd/flags.h"
#include "config/snapshot.h"

struct tls_command {
	const struct flags *flags;
	bool through_edge;	/* --edge: this process is an agent */
	enum terminate_at end;	/* as it was asked for */
	bool ends_here;		/* TLS */
	bool screen;		/* standard output is taken by it */
	struct authtoken token; /* of an agent */
};

/* NULL without memory. The token is not in it. */
struct tree *tls_tree_new(const struct tls_command *c);

#endif

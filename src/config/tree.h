/*
 * A configuration as a tree of nodes, each with the place where it was written:
 * file, line and column for YAML, the flag's name for a command line. So one
 * schema and one set of messages serve both.
 *
 * tree_parse reads YAML 1.1 through libyaml with hard limits: 16 MiB of text,
 * 64 levels, 1,000,000 nodes, 64 KiB a scalar; aliases and anchors, tags,
 * several documents, duplicate keys, tabs as indentation, a byte order mark and
 * control characters are refused. Every error carries line and column.
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "base/compiler.h"
#include "base/span.h"
#include "config/problems.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	struct origin origin;
	bool quoted; /* a quoted scalar is a string whatever it says */
	char *key;   /* in a map: the entry's name, else NULL */
	struct origin key_origin;
	char *text;	     /* scalar; NUL-terminated, no NUL inside */
	struct node **items; /* list and map, in the order written */
	size_t item_count;
};

struct tree;

/* NULL and at least one problem when it cannot be read. */
struct tree *tree_read_file(const char *path, struct problems *p);
struct tree *tree_parse(const char *name, struct span text, struct problems *p);

/* An empty map, to be filled from flags. */
struct tree *tree_new(void);
void tree_free(struct tree *t);
struct node *tree_root(struct tree *t);

/* The entry of a map, or NULL. */
struct node *node_get(const struct node *map, const char *key);

/*
 * For flags: sets the scalar at a dotted path such as "endpoints.0.proxy_proto"
 * (numbers index lists; "+" appends), making what is missing on the way. Copies
 * all it is given. Returns 0 or -ENOMEM.
 */
int tree_set(struct tree *t, const char *path, struct span value,
    const char *flag) MUST_CHECK;

#endif

/*
 * YAML text to nodes: the part of the tree that knows libyaml. Inside config/
 * only; everybody else uses tree.h, which says what is refused.
 */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include "config/tree.h"

#define TREE_MAX_BYTES (16 << 20)
#define TREE_MAX_DEPTH 64
#define TREE_MAX_NODES 1000000
#define TREE_MAX_SCALAR_BYTES 65536

/* The root, always a map; or NULL with at least one problem more. `source` is
 * borrowed by every node. */
struct node *yaml_read(
    const char *source, struct span text, struct problems *p);

/* NULL without memory. */
struct node *node_new(enum node_kind kind, const struct origin *where);
void node_free(struct node *n); /* and all below it */

/* Takes `child` if it returns 0; -ENOMEM leaves it to the caller. */
int node_append(struct node *parent, struct node *child) MUST_CHECK;

#endif

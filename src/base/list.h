/*
 * Intrusive doubly linked lists: a node inside each member, a node as the head.
 * No allocation; a member that is not on a list has a node that is `unlinked`
 * (list_init on the node), so that removing it twice is harmless.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
	struct list *next, *prev;
};

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* The loop body may unlink `node` when the SAFE form is used. */
#define LIST_FOREACH(node, head)                               \
	for (struct list *node = (head)->next; node != (head); \
	     node = node->next)
#define LIST_FOREACH_SAFE(node, head)                                     \
	for (struct list *node = (head)->next, *node##_next = node->next; \
	     node != (head); node = node##_next, node##_next = node->next)

static inline void
list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool
list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void
list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* Takes the node off its list, if it is on one. */
static inline void
list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Takes the first node off; NULL when there is none. */
static inline struct list *
list_shift(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

#endif

#include "base/slab.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(at, len) __asan_poison_memory_region(at, len)
#define UNPOISON(at, len) __asan_unpoison_memory_region(at, len)
#else
#define POISON(at, len) ((void)(at), (void)(len))
#define UNPOISON(at, len) ((void)(at), (void)(len))
#endif

/* From this size on malloc maps a chunk of its own (M_MMAP_THRESHOLD), so that
 * what a burst of connections needed goes back to the system when it is over.
 */
#define CHUNK_BYTES (128 * 1024)
#define CHUNK_CELLS_MIN 8

/* Stands before each cell. Free: the next free one; used: whose cell it is. */
union cell_head {
	alignas(max_align_t) union cell_head *next_free;
	struct slab_chunk *chunk;
};

struct slab_chunk {
	struct slab_chunk *next, **link; /* `link`: what points at this one */
	union cell_head *first_free;
	size_t used_count, cell_count;
	union cell_head cells[];
};

static size_t
round_up(size_t bytes)
{
	size_t to = alignof(max_align_t);

	return (bytes + to - 1) / to * to;
}

static void
push(struct slab_chunk **list, struct slab_chunk *c)
{
	c->next = *list;
	c->link = list;
	if (c->next)
		c->next->link = &c->next;
	*list = c;
}

static void
unlink_chunk(struct slab_chunk *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
}

void
slab_keep_mapping(void)
{
	mallopt(M_MMAP_THRESHOLD, CHUNK_BYTES);
}

void
slab_init(struct slab *s, size_t cell_bytes)
{
	ASSERT(cell_bytes > 0 && cell_bytes < SIZE_MAX / 2 / CHUNK_CELLS_MIN);
	*s = (struct slab){ .cell_bytes = round_up(cell_bytes) };
}

void
slab_fini(struct slab *s)
{
	ASSERT(s->used_count == 0 && !s->partial && !s->full);
	free(s->spare);
	s->spare = NULL;
}

static struct slab_chunk *
make_chunk(const struct slab *s)
{
	size_t stride = sizeof(union cell_head) + s->cell_bytes;
	size_t count = (CHUNK_BYTES - sizeof(struct slab_chunk)) / stride;
	size_t bytes = CHUNK_BYTES;
	struct slab_chunk *c;
	char *at;

	if (count < CHUNK_CELLS_MIN) {
		count = CHUNK_CELLS_MIN;
		bytes = sizeof(*c) + count * stride;
	}
	c = malloc(bytes);
	if (!c)
		return NULL;
	*c = (struct slab_chunk){ .cell_count = count };
	at = (char *)c->cells + count * stride;
	for (size_t i = 0; i < count; i++) {
		union cell_head *head = (void *)(at -= stride);

		head->next_free = c->first_free;
		c->first_free = head;
		POISON(head + 1, s->cell_bytes);
	}
	return c;
}

/* A chunk with a free cell, first on the list of partial ones. */
static struct slab_chunk *
chunk_with_room(struct slab *s)
{
	struct slab_chunk *c = s->partial;

	if (c)
		return c;
	c = s->spare ? s->spare : make_chunk(s);
	s->spare = NULL;
	if (c)
		push(&s->partial, c);
	return c;
}

void *
slab_alloc(struct slab *s)
{
	struct slab_chunk *c = chunk_with_room(s);
	union cell_head *head;

	if (!c)
		return NULL;
	head = c->first_free;
	c->first_free = head->next_free;
	head->chunk = c;
	if (++c->used_count == c->cell_count) {
		unlink_chunk(c);
		push(&s->full, c);
	}
	s->used_count++;
	UNPOISON(head + 1, s->cell_bytes);
	return memset(head + 1, 0, s->cell_bytes);
}

static void
give_back_chunk(struct slab *s, struct slab_chunk *c)
{
	unlink_chunk(c);
	if (!s->spare) {
		s->spare = c;
		return;
	}
	UNPOISON(c->cells,
	    c->cell_count * (sizeof(union cell_head) + s->cell_bytes));
	free(c);
}

void
slab_free(struct slab *s, void *cell)
{
	union cell_head *head = (union cell_head *)cell - 1;
	struct slab_chunk *c = head->chunk;

	ASSERT(s->used_count > 0 && c->used_count > 0);
	if (c->used_count == c->cell_count) {
		unlink_chunk(c);
		push(&s->partial, c);
	}
	head->next_free = c->first_free;
	c->first_free = head;
	POISON(cell, s->cell_bytes);
	c->used_count--;
	s->used_count--;
	if (c->used_count == 0)
		give_back_chunk(s, c);
}

/*
 * Slabs: cells of one size for objects that come and go with connections.
 *
 * Chunks are taken from the heap and given back when all their cells are free
 * (but for one that is kept, against thrashing). One thread only. A cell comes
 * back zeroed.
 */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

struct slab {
	size_t cell_bytes;
	size_t used_count;
	struct slab_chunk *partial, *full, *spare;
};

/*
 * Has malloc map each chunk by itself for good; by default its threshold moves
 * up with the first one that is freed. Once a process, before its threads.
 */
void slab_keep_mapping(void);

void slab_init(struct slab *s, size_t cell_bytes);
void slab_fini(struct slab *s);	  /* every cell must have been freed */
void *slab_alloc(struct slab *s); /* NULL without memory */
void slab_free(struct slab *s, void *cell);

#endif

/*
 * Pipes of 1 MiB for splice(2), lent to directions that move a lot.
 *
 * One budget a process (an ordinary user gets 64 such pipes and then EPERM), a
 * free list a worker. A pipe that is given back with bytes inside is closed,
 * not reused: no connection may ever see another's bytes.
 */
#ifndef SYS_PIPES_H
#define SYS_PIPES_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/list.h"

#define PIPE_BYTES (1024 * 1024)
#define PIPES_MAX 32
#define PIPES_FREE_MAX 4 /* kept idle by a worker; more would starve others */

struct pipe_budget {
	atomic_int open_count; /* pipes open in the process */
};

struct pipe {
	struct list node;
	int read_fd, write_fd;
	size_t bytes; /* inside now; the borrower keeps count */
};

struct pipes { /* one worker's */
	struct pipe_budget *budget;
	struct list free;
	int free_count;
};

void pipes_init(struct pipes *p, struct pipe_budget *budget);
void pipes_fini(struct pipes *p); /* all must have been given back */

/* NULL when the budget is used up or the kernel refuses: copy instead. */
struct pipe *pipes_borrow(struct pipes *p);
void pipes_return(struct pipes *p, struct pipe *pipe);

#endif

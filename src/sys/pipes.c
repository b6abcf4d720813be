#include "sys/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/compiler.h"

void
pipes_init(struct pipes *p, struct pipe_budget *budget)
{
	p->budget = budget;
	p->free_count = 0;
	list_init(&p->free);
}

static bool
reserve(struct pipe_budget *budget)
{
	if (atomic_fetch_add(&budget->open_count, 1) < PIPES_MAX)
		return true;
	atomic_fetch_sub(&budget->open_count, 1);
	return false;
}

static void
close_pipe(struct pipes *p, struct pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
	atomic_fetch_sub(&p->budget->open_count, 1);
}

void
pipes_fini(struct pipes *p)
{
	struct list *node;

	while ((node = list_shift(&p->free)))
		close_pipe(p, LIST_ENTRY(node, struct pipe, node));
	p->free_count = 0;
}

/* A pipe of the full size or none: a small one is slower than copying. */
static struct pipe *
open_pipe(void)
{
	struct pipe *pipe = calloc(1, sizeof(*pipe));
	int fds[2];

	if (!pipe)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	if (fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES) < PIPE_BYTES) {
		close(fds[0]);
		close(fds[1]);
		free(pipe);
		return NULL;
	}
	list_init(&pipe->node);
	pipe->read_fd = fds[0];
	pipe->write_fd = fds[1];
	return pipe;
}

struct pipe *
pipes_borrow(struct pipes *p)
{
	struct list *node = list_shift(&p->free);
	struct pipe *pipe;

	if (node) {
		p->free_count--;
		return LIST_ENTRY(node, struct pipe, node);
	}
	if (!reserve(p->budget))
		return NULL;
	pipe = open_pipe();
	if (!pipe)
		atomic_fetch_sub(&p->budget->open_count, 1);
	return pipe;
}

void
pipes_return(struct pipes *p, struct pipe *pipe)
{
	if (pipe->bytes > 0 || p->free_count >= PIPES_FREE_MAX) {
		close_pipe(p, pipe);
		return;
	}
	list_append(&p->free, &pipe->node);
	p->free_count++;
}

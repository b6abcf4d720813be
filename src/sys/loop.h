/*
 * The event loop of one thread: epoll, edge-triggered.
 *
 * A watch is registered once, for everything, and never modified: readiness is
 * a fact that its owner remembers, not an interest to be negotiated. One thread
 * owns a loop; nothing here may be called from another.
 */
#ifndef SYS_LOOP_H
#define SYS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define WATCH_MAGIC 0x57a7c4ed

struct watch {
	uint32_t magic; /* checked when it comes back from the kernel */
	int fd;		/* borrowed: the owner closes it after loop_remove */
	uint64_t added_turn; /* an event older than this is not for us */
	/* `events` are EPOLL bits. May remove any watch, its own too; memory of
	 * a removed watch must stay valid until the turn ends, because a later
	 * event of the same batch may still point at it (it is skipped). */
	void (*on_ready)(struct watch *w, uint32_t events);
};

struct loop {
	int epoll_fd;
	uint64_t turn; /* batches delivered so far */
	/* Called when the wait is over, before its batch; NULL: nobody. For the
	 * owner's clock: the wait may have been long. */
	void (*on_woken)(struct loop *l);
};

int loop_init(struct loop *l) MUST_CHECK; /* 0 or -errno */
void loop_fini(struct loop *l);

/* EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET. 0 or -errno. */
int loop_add(struct loop *l, struct watch *w, int fd,
    void (*on_ready)(struct watch *, uint32_t)) MUST_CHECK;

/* Forgets the watch; the descriptor stays open. Harmless when not added. */
void loop_remove(struct loop *l, struct watch *w);

/* Waits (timeout in milliseconds, -1 for ever) and delivers one batch. */
void loop_turn(struct loop *l, int timeout_ms);

#endif

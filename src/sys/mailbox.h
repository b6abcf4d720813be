/*
 * A mailbox: how threads speak to a thread that runs a loop. A mutex-guarded
 * list and an eventfd signalled only when the list was empty, so a busy
 * receiver costs its senders no system call.
 *
 * A mail owns what it carries. It is delivered on the receiver's thread,
 * exactly once, or handed to its `discard` when the mailbox goes away first.
 */
#ifndef SYS_MAILBOX_H
#define SYS_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct mail {
	struct mail *next;
	/* Both take the mail and free it or keep it. */
	void (*deliver)(struct mail *m, void *receiver);
	void (*discard)(struct mail *m);
};

struct mailbox {
	int event_fd; /* readable: something may be inside; goes into a loop */
	pthread_mutex_t lock;
	struct mail *first, **last;
	uint32_t count;
	uint32_t limit;
	bool closed;
};

/* `limit` bounds mailbox_try_post only. 0 or -errno. */
int mailbox_init(struct mailbox *m, uint32_t limit) MUST_CHECK;

/* Discards what is inside; later posts are discarded too. mailbox_fini frees
 * the rest and needs every sender to be gone. */
void mailbox_close(struct mailbox *m);
void mailbox_fini(struct mailbox *m);

/* Any thread; takes the mail. A closed mailbox discards it at once. */
void mailbox_post(struct mailbox *m, struct mail *mail);

/* As mailbox_post, but false (the mail stays the caller's) when `limit` mails
 * wait already or the mailbox is closed. */
bool mailbox_try_post(struct mailbox *m, struct mail *mail) MUST_CHECK;

/* The receiver's thread: delivers all that is inside now. */
void mailbox_deliver(struct mailbox *m, void *receiver);

#endif

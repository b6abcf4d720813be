/*
 * Names to addresses, asynchronously, through c-ares in a thread of its own.
 *
 * Answers are cached for their TTL (1 s to 1 h; failures 5 s), the least
 * recently asked of 10,000 names is forgotten, concurrent questions for one
 * name are asked once, and the channel is rebuilt when /etc/resolv.conf
 * changes. /etc/hosts is honoured. At most 32 addresses of an answer are kept,
 * IPv6 and IPv4 as the system orders them (RFC 6724).
 */
#ifndef SYS_RESOLVER_H
#define SYS_RESOLVER_H

#include "base/addr.h"
#include "sys/mailbox.h"
#include "wire/host.h"

#define RESOLVER_MAX_ADDRS 32
#define RESOLVER_MAX_NAMES 10000

struct resolver;

struct resolver_settings {
	const char *servers; /* "127.0.0.1:5353,..." or NULL: the system's */
	uint64_t timeout_ms; /* of one question in all; 0: 5000 */
	const char *resolv_conf; /* NULL: /etc/resolv.conf */
};

struct resolver_answer {
	int error; /* 0, -ENOENT no such name or no address, -ETIMEDOUT, -EIO */
	size_t count;
	struct addr addrs[RESOLVER_MAX_ADDRS]; /* port 0 */
};

/* A question; the asker embeds it. While asked, it belongs to the resolver. */
struct resolver_query {
	struct mail mail; /* how it travels back */
	struct mailbox *return_to;
	struct host name;
	struct resolver_answer answer;
	/* On the asker's thread. An asker that has lost interest keeps the
	 * query alive until this call and then frees it. */
	void (*on_answer)(struct resolver_query *q, void *receiver);
	/* Instead of on_answer when `return_to` was closed first: the asker's
	 * thread is leaving. On any thread, so it may do no more than free the
	 * query. NULL: somebody else frees it after resolver_free. */
	void (*on_discard)(struct resolver_query *q);
};

/* NULL with `*error` a negative errno; -EINVAL: `servers` does not parse. */
struct resolver *resolver_new(
    const struct resolver_settings *settings, int *error);

/* Answers what is open with -EIO, so mailboxes must outlive it (closed ones
 * will do). No thread may ask any more. */
void resolver_free(struct resolver *r);

/*
 * Answers from the cache at once (true, `answer` is filled, nothing is posted)
 * or asks (false: on_answer or on_discard follows, exactly once). With all
 * names of the cache in the air it answers -EIO at once. Any thread.
 */
bool resolver_ask(struct resolver *r, struct resolver_query *q) MUST_CHECK;

#endif

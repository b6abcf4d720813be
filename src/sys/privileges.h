/*
 * What the process may do: descriptors, dumps, user. Main thread, at start, in
 * the order of this header.
 */
#ifndef SYS_PRIVILEGES_H
#define SYS_PRIVILEGES_H

#include "base/text.h"

/* Raises the soft limit of descriptors to the hard one and tells it. 0 or
 * -errno; then the old limit stays and is told. */
int privileges_raise_descriptors(uint64_t *limit);

/* No core dumps and no reading of our memory by other processes of the same
 * user: names, addresses and policies are in it. Nothing in sanitizer builds,
 * whose reports need both. */
void privileges_hide_memory(void);

/* Refuses privileges that exec could bring (PR_SET_NO_NEW_PRIVS). Before the
 * first thread, since each thread has its own. */
void privileges_refuse_new(void);

/*
 * Becomes `user` with its groups, for good: all threads, and it is checked that
 * root cannot be had back. The calling thread alone keeps CAP_NET_BIND_SERVICE,
 * so that a reload can listen on a low port. When the process is `user` already
 * nothing is done. 0, or -errno with one line in `error`; the caller must end
 * then, since the state may be half way.
 */
int privileges_become(const char *user, struct text *error) MUST_CHECK;

/*
 * Gives a file that was just made as root to `user`, so that it can be opened
 * again after the change. Regular files that belong to root only, and no
 * symbolic link is followed. Nothing when not root. 0 or -errno.
 */
int privileges_give_file(const char *path, const char *user) MUST_CHECK;

/* Whether there is such a user. 0 or -ENOENT or another -errno. */
int privileges_user_exists(const char *user) MUST_CHECK;

#endif

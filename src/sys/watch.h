/*
 * A watch: tells which of a set of files and folders have changed.
 *
 * What tells is stat(2): a path has changed when what it leads to is another
 * file than before, or the same one with other times or another size. inotify
 * only says when to look. It watches every folder on the way to a path, those
 * of symbolic links too, so that a file may be written in place or replaced by
 * rename, a link swapped (Kubernetes' `..data`, certbot's `live`), a folder
 * removed and made again, and a path come into being later. Where the kernel
 * gives no watch (limits, rights) or is told nothing (network file systems) the
 * clock makes it look.
 *
 * Life: watch_new, watch_add for each path, then watch_step whenever watch_fd
 * is readable or watch_timeout_ms has passed. Belongs to one thread; does not
 * block on more than the file system. Sources: inotify(7).
 */
#ifndef SYS_WATCH_H
#define SYS_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* A change is told after so much quiet, or so long after the first one. */
#define WATCH_SETTLE_MS 500
#define WATCH_SETTLE_MAX_MS 5000
/* Looks by the clock: without inotify somewhere, and with it everywhere. */
#define WATCH_BLIND_LOOK_MS 10000
#define WATCH_LOOK_MS 60000

struct watch;

enum watch_kind {
	WATCH_FILE,
	WATCH_FOLDER, /* changed: entries came, went or were renamed */
};

/* What has changed since `since_us` (wall clock) or is not there is told first:
 * whoever makes the watch has read the files before. NULL without memory. */
struct watch *watch_new(int64_t since_us);
void watch_free(struct watch *w); /* NULL is harmless */

/* One more path, which is copied; they count from 0 upward. It need not exist.
 * 0 or -ENOMEM. Not from within a watch_changed_fn. */
int watch_add(
    struct watch *w, const char *path, enum watch_kind kind) MUST_CHECK;

/* To be polled for reading; another one after each step. -1: none. */
int watch_fd(const struct watch *w);
/* How long a step may wait if the descriptor stays silent. */
int watch_timeout_ms(const struct watch *w, uint64_t now_ms);

typedef void watch_changed_fn(void *context, size_t path);

/* Takes in what happened; calls `changed` for each path that has changed and
 * come to rest. `now_ms` is monotonic. */
void watch_step(
    struct watch *w, uint64_t now_ms, watch_changed_fn *changed, void *context);

/* Whether it depends on the clock somewhere. */
bool watch_is_blind(const struct watch *w);

#endif

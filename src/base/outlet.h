/*
 * Writing to a descriptor whose reader may stand still: a pipe, a terminal.
 *
 * Standard output and error are shared with others, so they cannot be made
 * non-blocking. But where poll(2) finds room, a write of up to PIPE_BUF bytes
 * does not block (pipe(7)), as long as one thread writes at a time: the caller
 * sees to that.
 */
#ifndef BASE_OUTLET_H
#define BASE_OUTLET_H

#include "base/compiler.h"
#include "base/span.h"

/* How much may be written in one go: all of it to a regular file, PIPE_BUF to
 * anything else. */
size_t outlet_piece(int fd);

/*
 * Writes all of `s`, in pieces, waiting up to `wait_ms` for room each time. 0,
 * or -errno (-EAGAIN: no room came) with what went out through `done`.
 */
int outlet_write(
    int fd, size_t piece, struct span s, int wait_ms, size_t *done) MUST_CHECK;

#endif

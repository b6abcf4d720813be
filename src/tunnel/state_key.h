/*
 * The key in the state folder from which names and cookies are derived: a file
 * `tunnel.key` of 32 random bytes that only its owner may read.
 */
#ifndef TUNNEL_STATE_KEY_H
#define TUNNEL_STATE_KEY_H

#include "base/text.h"

#define STATE_KEY_BYTES 32
#define STATE_KEY_NAME "tunnel.key"

/*
 * Reads the key; makes folder and file when they are not there. The file
 * appears whole or not at all, and of processes that start together one's file
 * stays and all read that. 0, or -1 with "PATH: why" in `error` and zeros in
 * `key`. Blocks on the disk; main thread.
 */
int state_key_open(const char *folder, uint8_t key[STATE_KEY_BYTES],
    struct text *error) MUST_CHECK;

#endif

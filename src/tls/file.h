/*
 * Files of certificates and keys, read whole. Whoever reads one wipes it: a key
 * may be in any of them. May block on the disk; any thread.
 */
#ifndef TLS_FILE_H
#define TLS_FILE_H

#include "base/span.h"
#include "base/text.h"

#define FILE_MAX_BYTES (64u << 20)

enum file_secrecy {
	FILE_PUBLIC,
	FILE_SECRET, /* refused if its group or others may read or write it */
};

/*
 * Reads a regular file of at most FILE_MAX_BYTES. 0, or -1 with "PATH: why" in
 * `error` and `out` empty. `out` is given back with file_wipe.
 */
int file_read(const char *path, enum file_secrecy secrecy, struct span *out,
    struct text *error) MUST_CHECK;

/* Overwrites and frees what file_read gave; empty is harmless. */
void file_wipe(struct span *bytes);

/* As mkdir -p -m 700. 0 if the folder is there then, or -errno. */
int file_make_folders(const char *path) MUST_CHECK;

#endif

/*
 * The pairs of files in a folder of `certificates`: NAME.crt or NAME.pem, with
 * NAME.key beside it or the key inside. Hidden files are left out. Any thread;
 * may block on the disk.
 */
#ifndef CONFIG_FOLDER_PAIRS_H
#define CONFIG_FOLDER_PAIRS_H

#include <stddef.h>

#include "base/compiler.h"

struct folder_pair {
	char *crt, *key; /* paths; key NULL: in crt */
};

/* All of them by their names, to be given back with folder_pairs_free. 0, or
 * -errno with nothing in `out`. */
int folder_pairs_read(
    const char *folder, struct folder_pair **out, size_t *count) MUST_CHECK;
void folder_pairs_free(struct folder_pair *pairs, size_t count);

#endif

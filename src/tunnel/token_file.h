/*
 * The file of tokens as it is written, checked; tunnel/tokens.h describes it.
 * Inside tunnel/ only.
 */
#ifndef TUNNEL_TOKEN_FILE_H
#define TUNNEL_TOKEN_FILE_H

#include "tunnel/acl.h"
#include "tunnel/tokens.h"

struct token_entry {
	char *name;
	uint8_t sha256[SHA256_BYTES]; /* of the token */
	bool has_hash;
	uint8_t id[TOKEN_ID_BYTES];
	bool has_id;
	bool is_plain; /* the token itself is in the file */
	bool has_acl;
	struct acl acl;
};

struct token_file {
	struct token_entry *entries;
	size_t count;
};

/* False with at least one problem more in `p`. token_file_fini either way. */
bool token_file_read(const char *path, struct token_file *out,
    struct problems *p, struct problems *warnings) MUST_CHECK;
void token_file_fini(struct token_file *f);

#endif

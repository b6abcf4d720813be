/*
 * PEM: blocks of base64 between BEGIN and END lines, whatever stands around
 * them. OpenSSL's own reader hands keys to its decoders, which costs thirty
 * times what the key costs; here only the bytes are taken out.
 *
 * Source: RFC 7468, read laxly: lines of any length, ended by LF, CR LF or CR;
 * spaces between; a byte order mark; headers as RFC 1421 has them.
 */
#ifndef TLS_PEM_H
#define TLS_PEM_H

#include "base/compiler.h"
#include "base/span.h"

struct pem_reader {
	struct span rest;
	unsigned line; /* of `rest`, from 1 */
};

struct pem_block {
	struct span label; /* "CERTIFICATE"; inside the text */
	unsigned line;	   /* of BEGIN */
	bool is_encrypted; /* by a header; newer forms say it in the label */
	uint8_t *der;	   /* its own; NULL when encrypted */
	size_t len;
};

struct pem_reader pem_reader_of(struct span text);

/*
 * The next block. PARSE_OK: filled, to be given back with pem_wipe. PARSE_MORE:
 * there is none. PARSE_BAD: `*why` (a literal) says what is wrong with the
 * block in `out->line`; nothing is held.
 */
enum parse pem_next(
    struct pem_reader *r, struct pem_block *out, const char **why) MUST_CHECK;
void pem_wipe(struct pem_block *b); /* harmless twice */

#endif

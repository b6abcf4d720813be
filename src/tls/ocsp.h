/*
 * OCSP, as far as stapling needs it: asking the responder that a certificate
 * names. Blocks: only for the thread that refreshes staples.
 *
 * Sources: RFC 6960, RFC 5019 (GET and POST over HTTP), RFC 6066 section 8.
 */
#ifndef TLS_OCSP_H
#define TLS_OCSP_H

#include "tls/certificate.h"

#define OCSP_MAX_RESPONSE_BYTES 65536

/*
 * Asks the certificate's responder over HTTP within `timeout_s` seconds. The
 * response's DER goes to `out` (OCSP_MAX_RESPONSE_BYTES), unchecked:
 * certificate_set_staple checks it. 0, or -1 with one line in `error`.
 */
int ocsp_fetch(struct certificate *c, unsigned timeout_s, uint8_t *out,
    size_t *len, struct text *error) MUST_CHECK;

#endif

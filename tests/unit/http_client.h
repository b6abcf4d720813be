/*
 * A raw HTTP client for tests: it sends what it is told, byte for byte, and
 * gives back what comes. Nothing here waits longer than the test's own limit.
 */
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include "base/addr.h"

/* A blocking socket that is connected to `a`. */
int http_connect(const struct addr *a);

/* All of it; false if the peer has closed. */
bool http_send(int fd, const char *text);
bool http_send_bytes(int fd, const void *data, size_t len);

/* One whole answer, its body by Content-Length (none if `is_head`), as a
 * string; the caller frees it. NULL if the connection ended before. */
char *http_read(int fd, bool is_head);

/* All that comes until the end, as a string to free; "" for nothing. */
char *http_read_all(int fd);

/* Reads and forgets until the end; how many bytes that were. */
size_t http_drain(int fd);

/* Sends, reads one answer, closes. */
char *http_exchange(const struct addr *a, const char *request);

int http_status(const char *answer);	   /* 0 for NULL */
const char *http_body(const char *answer); /* behind the head */

/* The value of a field of the head, into `out`; "" if it is not there. */
const char *http_field(
    const char *answer, const char *name, char *out, size_t size);

#endif

/*
 * A small DNS server in a thread, on a loopback UDP port of its own. It answers
 * by the first label of the name asked for; see dns_server.c. It counts the
 * questions, so that a test sees what was asked and what came from the cache.
 */
#ifndef TESTS_DNS_SERVER_H
#define TESTS_DNS_SERVER_H

#include <stdint.h>

struct dns_server;

struct dns_server *dns_server_new(void);
void dns_server_free(struct dns_server *s);
uint16_t dns_server_port(const struct dns_server *s);

/* Questions of type A for names that begin with this label. */
unsigned dns_server_asked(struct dns_server *s, const char *label);

/* Waits until a question for a "held" name has come. */
void dns_server_wait_held(struct dns_server *s);

/* Answers all held questions, and from now on at once. */
void dns_server_release(struct dns_server *s);

#endif

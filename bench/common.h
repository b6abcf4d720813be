/*
 * What the benchmark's small programs share: a ClientHello, listening on
 * a port of the kernel's choice, descriptors without end.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define HELLO_MAX_BYTES 1024

/* A hello as OpenSSL 3.0 sends it, for this name. Returns its length. */
size_t hello_make(uint8_t out[HELLO_MAX_BYTES], const char *name);

/* On 127.0.0.1; the port through `port`. Exits on failure. */
int listen_anywhere(unsigned *port);

/* Non-blocking; source addresses 127.0.0.2 to .9 in turn, so that the client
 * side never runs out of ports. */
int connect_to(unsigned port);

/* As many descriptors as the system lets us have. */
void raise_limits(void);

/* Prints what failed and exits with 1. */
void die(const char *what) __attribute__((noreturn));

uint64_t now_ns(void);

#endif

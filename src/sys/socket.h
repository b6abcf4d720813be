/*
 * Sockets: non-blocking, close-on-exec, with the options that every socket of
 * the product has. Results are 0 or a descriptor, or -errno. No function
 * blocks.
 */
#ifndef SYS_SOCKET_H
#define SYS_SOCKET_H

#include <sys/uio.h>

#include "base/addr.h"

/*
 * A listening TCP socket. Accepted sockets inherit from it TCP_NODELAY, the
 * keepalive (60 s, 10 s, 6 probes) and TCP_USER_TIMEOUT (120 s), so that they
 * cost no call each. `port` 0 lets the kernel choose. An IPv6 wildcard takes
 * IPv4 too.
 */
int socket_listen(const struct addr *a) MUST_CHECK;

/* One accepted connection with both addresses; `local` may be NULL where it is
 * known. -EAGAIN: none is waiting; -ECONNABORTED: some were, but gone again
 * before they could be taken. */
int socket_accept(
    int listener, struct addr *peer, struct addr *local) MUST_CHECK;

/* Starts to connect, with TCP_NODELAY; done when the descriptor is writable. */
int socket_connect(const struct addr *a) MUST_CHECK;

/* Keepalive and a limit for unacknowledged data, as accepted sockets have them
 * from their listener, for one that may be silent for long. */
void socket_keep_alive(int fd);
/* Keepalive from so many seconds of silence on, for one that waits. */
void socket_set_keepalive(int fd, int idle_seconds);

/*
 * Asks the peer of a TCP connection for a sign of life, by keepalive at once
 * and each second. socket_probe_answered, SOCKET_PROBE_MS later, ends that and
 * tells whether anything was heard of it within these milliseconds. A peer
 * whose window is closed counts as alive: the kernel asks it in a slow rhythm
 * of its own (RFC 9293, 3.8.6.1), and TCP_USER_TIMEOUT is the limit.
 */
#define SOCKET_PROBE_MS 3000
void socket_probe(int fd);
bool socket_probe_answered(int fd, unsigned within_ms) MUST_CHECK;

int socket_connect_unix(const char *path) MUST_CHECK;

/* After writable: 0, or the negative errno with which connecting failed. */
int socket_connect_result(int fd) MUST_CHECK;

/* The local address of a socket. */
int socket_local_addr(int fd, struct addr *out) MUST_CHECK;

/* Bytes in and out; on IO_ERROR errno says why. `count` is 0 but for IO_OK.
 * socket_peek is recv with MSG_PEEK. A write never raises SIGPIPE. */
enum io socket_peek(int fd, void *buffer, size_t size, size_t *count);
enum io socket_read(int fd, void *buffer, size_t size, size_t *count);
enum io socket_write(int fd, const void *data, size_t len, size_t *count);
/* The same; more comes at once, or the end: the kernel may wait for it. */
enum io socket_write_more(int fd, const void *data, size_t len, size_t *count);

/* How many bytes must wait before the socket counts as readable (SO_RCVLOWAT);
 * 1 is normal. */
void socket_set_lowat(int fd, size_t bytes);

/* Bytes written that the peer has not acknowledged (SIOCOUTQ); 0 if unknown. */
size_t socket_unsent_bytes(int fd);

/* Bytes that wait to be read (FIONREAD). */
size_t socket_unread_bytes(int fd);

/* Closes with a reset instead of a FIN (SO_LINGER 0). Takes the descriptor. */
void socket_reset(int fd);

#endif

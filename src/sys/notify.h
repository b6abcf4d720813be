/*
 * Telling systemd how the service is (sd_notify(3)), without its library.
 * Nothing happens when nobody asked (no NOTIFY_SOCKET). Main thread.
 */
#ifndef SYS_NOTIFY_H
#define SYS_NOTIFY_H

#include <stdint.h>

#include "base/compiler.h"

/* One datagram of lines such as "READY=1\nSTATUS=...". 0 also when nobody
 * asked, or -errno. */
int notify_send(const char *state);

/* RELOADING=1 with the time that systemd wants beside it; follow with READY=1.
 */
int notify_reloading(void);

/* How often the service manager wants to hear "WATCHDOG=1": half of what it
 * allows, in milliseconds; 0: not at all. */
uint64_t notify_watchdog_ms(void);

#endif

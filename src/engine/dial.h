/*
 * What the two ways of dialling share: straight to an upstream
 * (stage_dial.c), and through an agent (uplink_dial.c).
 */
#ifndef ENGINE_DIAL_H
#define ENGINE_DIAL_H

#include "engine/conn.h"

/* Makes a descriptor the upstream leg: STEP_WAIT until it is writable, or the
 * try has failed. Takes it; a negative errno stands for one that could not be
 * made. */
enum step dial_adopt(struct conn *c, int fd);

/* How long a try may take, in milliseconds. */
uint64_t dial_connect_ms(const struct conn *c);

/* Nobody is left to try: the script's retry, or the end. */
enum step dial_give_up(struct conn *c);

#endif

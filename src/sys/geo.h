/*
 * Where an address is and whose it is, from a database in MaxMind's format
 * (GeoLite2, GeoIP2, DB-IP and others): for conn.geo and conn.as of policies.
 *
 * The file is mapped, so replace it by renaming a new one over it, never by
 * writing into it; a reload opens the new one. Once open it is read-only: any
 * thread may look up, and no look-up blocks on more than a page fault.
 */
#ifndef SYS_GEO_H
#define SYS_GEO_H

#include "base/addr.h"

struct geo;

/* NULL with a message in `error`; also when built without libmaxminddb. */
struct geo *geo_open(const char *path, struct text *error);

/*
 * One field of an address as text: "country_code", "country",
 * "continent_code", "continent", "subdivision", "city", "latitude",
 * "longitude", "radius", "as.number", "as.organization". False when the
 * database has no entry for it, the field is unknown, or it does not fit.
 */
bool geo_lookup(const struct geo *g, const struct addr *a, const char *field,
    char *out, size_t size);

void geo_close(struct geo *g); /* NULL is fine */

#endif

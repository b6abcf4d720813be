/* The version of the library behind this layer, as it says itself. */
#ifndef SYS_VERSION_H
#define SYS_VERSION_H

const char *sys_resolver_version(void); /* c-ares, "1.18.1" */

/* libmaxminddb, "1.7.1"; NULL when it was not built in. */
const char *sys_geo_version(void);

#endif

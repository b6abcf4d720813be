/* The version of the library behind this layer, as it says itself. */
#ifndef CONFIG_VERSION_H
#define CONFIG_VERSION_H

const char *config_library_version(void); /* libyaml, "0.2.5" */

#endif

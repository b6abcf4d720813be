noinst_LIBRARIES += libconfig.a
libconfig_a_CPPFLAGS = $(AM_CPPFLAGS) $(YAML_CFLAGS)
libconfig_a_SOURCES = \
	src/config/snapshot.c src/config/snapshot.h \
	src/config/tree.c src/config/tree.h

libconfig_a_SOURCES += src/config/version.c src/config/version.h

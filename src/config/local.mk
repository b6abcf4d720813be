noinst_LIBRARIES += libconfig.a
libconfig_a_CPPFLAGS = $(AM_CPPFLAGS) $(YAML_CFLAGS)
libconfig_a_SOURCES = \
	src/config/agent.c \
	src/config/agents.c \
	src/config/bind.c \
	src/config/certificates.c \
	src/config/check.c \
	src/config/choose.c \
	src/config/edge.c \
	src/config/endpoint.c \
	src/config/folder_pairs.c src/config/folder_pairs.h \
	src/config/index.c src/config/index.h \
	src/config/keys.h \
	src/config/manual.c \
	src/config/paths.c \
	src/config/problems.c src/config/problems.h \
	src/config/reader.c \
	src/config/schema.c src/config/schema.h \
	src/config/schema_agent.c \
	src/config/schema_endpoint.c \
	src/config/snapshot.c src/config/snapshot.h \
	src/config/termination.c \
	src/config/tree.c src/config/tree.h \
	src/config/yaml.c src/config/yaml.h

libconfig_a_SOURCES += src/config/version.c src/config/version.h

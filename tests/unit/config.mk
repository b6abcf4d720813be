# Unit tests of src/config.
CONFIG_UNIT_LIBS = libconfig.a libtls.a libwire.a libbase.a $(YAML_LIBS) \
	$(OPENSSL_LIBS) $(UNIT_LIBS)
CONFIG_FIXTURE = tests/unit/config_fixture.c tests/unit/config_fixture.h

check_PROGRAMS += tests/unit/test_tree
tests_unit_test_tree_SOURCES = tests/unit/test_tree.c $(CONFIG_FIXTURE)
tests_unit_test_tree_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_tree_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_schema
tests_unit_test_schema_SOURCES = tests/unit/test_schema.c $(CONFIG_FIXTURE)
tests_unit_test_schema_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_schema_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_snapshot
tests_unit_test_snapshot_SOURCES = tests/unit/test_snapshot.c $(CONFIG_FIXTURE)
tests_unit_test_snapshot_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_snapshot_LDADD = $(CONFIG_UNIT_LIBS)

# With certificates that it makes itself.
check_PROGRAMS += tests/unit/test_certificates
tests_unit_test_certificates_SOURCES = tests/unit/test_certificates.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_certificates_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_certificates_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_termination
tests_unit_test_termination_SOURCES = tests/unit/test_termination.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_termination_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_termination_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_agents
tests_unit_test_agents_SOURCES = tests/unit/test_agents.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_agents_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_agents_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_agent_file
tests_unit_test_agent_file_SOURCES = tests/unit/test_agent_file.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_agent_file_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_agent_file_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_config_memory
tests_unit_test_config_memory_SOURCES = tests/unit/test_config_memory.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_config_memory_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_config_memory_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc \
	-Wl,--wrap=reallocarray -Wl,--wrap=strdup -Wl,--wrap=asprintf
tests_unit_test_config_memory_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_examples
tests_unit_test_examples_SOURCES = tests/unit/test_examples.c \
	$(CONFIG_FIXTURE) $(TLS_SUPPORT)
tests_unit_test_examples_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_examples_LDADD = $(CONFIG_UNIT_LIBS)

check_PROGRAMS += tests/unit/test_manual
tests_unit_test_manual_SOURCES = tests/unit/test_manual.c $(CONFIG_FIXTURE)
tests_unit_test_manual_CPPFLAGS = $(UNIT_CPPFLAGS) \
	-DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_manual_LDADD = $(CONFIG_UNIT_LIBS)

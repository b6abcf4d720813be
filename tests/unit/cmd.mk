# Unit tests of src/cmd.
check_PROGRAMS += tests/unit/test_flags
tests_unit_test_flags_SOURCES = tests/unit/test_flags.c
tests_unit_test_flags_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_flags_LDADD = libcmd.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_sink
tests_unit_test_sink_SOURCES = tests/unit/test_sink.c
tests_unit_test_sink_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_sink_LDADD = libcmd.a libsys.a libbase.a $(UNIT_LIBS)

# The screen's lines, without a terminal and without an edge.
check_PROGRAMS += tests/unit/test_screen
tests_unit_test_screen_SOURCES = tests/unit/test_screen.c
tests_unit_test_screen_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_screen_LDADD = libcmd.a libconfig.a libtls.a libwire.a \
	libbase.a $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_keylog
tests_unit_test_keylog_SOURCES = tests/unit/test_keylog.c
tests_unit_test_keylog_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_keylog_LDADD = libcmd.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_reread
tests_unit_test_reread_SOURCES = tests/unit/test_reread.c \
	tests/unit/config_fixture.c tests/unit/config_fixture.h $(TLS_SUPPORT)
tests_unit_test_reread_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_reread_LDADD = libcmd.a libconfig.a libtls.a libwire.a \
	libbase.a $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_notify
tests_unit_test_notify_SOURCES = tests/unit/test_notify.c
tests_unit_test_notify_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_notify_LDADD = libsys.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_privileges
tests_unit_test_privileges_SOURCES = tests/unit/test_privileges.c
tests_unit_test_privileges_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_privileges_LDADD = libsys.a libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_load
tests_unit_test_load_SOURCES = tests/unit/test_load.c
tests_unit_test_load_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_load_LDADD = libcmd.a libconfig.a libtls.a libsys.a libwire.a \
	libbase.a $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_authtoken
tests_unit_test_authtoken_SOURCES = tests/unit/test_authtoken.c \
	tests/unit/config_fixture.c tests/unit/config_fixture.h
tests_unit_test_authtoken_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_authtoken_LDADD = libcmd.a libconfig.a libtls.a libwire.a \
	libbase.a $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_tls_tree
tests_unit_test_tls_tree_SOURCES = tests/unit/test_tls_tree.c \
	tests/unit/config_fixture.c tests/unit/config_fixture.h $(TLS_SUPPORT)
tests_unit_test_tls_tree_CPPFLAGS = $(UNIT_CPPFLAGS) $(OPENSSL_CFLAGS)
tests_unit_test_tls_tree_LDADD = libcmd.a libconfig.a libtls.a libwire.a \
	libbase.a $(YAML_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)

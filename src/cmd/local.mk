# Everything but main, so that unit tests can link parts of it.
noinst_LIBRARIES += libcmd.a
libcmd_a_CPPFLAGS = $(AM_CPPFLAGS) \
	-DSYSTEM_CONFIG_FILE='"$(sysconfdir)/lunette/edge.yaml"' \
	-DSYSTEM_AGENT_FILE='"$(sysconfdir)/lunette/agent.yaml"'
libcmd_a_SOURCES = \
	src/cmd/advice.c src/cmd/advice.h \
	src/cmd/agent_source.c src/cmd/agent_source.h \
	src/cmd/authtoken.c src/cmd/authtoken.h \
	src/cmd/cmd_agent.c \
	src/cmd/cmd_check.c src/cmd/commands.h \
	src/cmd/cmd_diagnose.c \
	src/cmd/cmd_edge.c \
	src/cmd/cmd_policy.c \
	src/cmd/cmd_tls.c \
	src/cmd/cmd_verify.c \
	src/cmd/cmd_version.c \
	src/cmd/diagnose_edge.c src/cmd/diagnose_edge.h \
	src/cmd/diagnose_host.c src/cmd/diagnose_host.h \
	src/cmd/findings.c src/cmd/findings.h \
	src/cmd/flags.c src/cmd/flags.h \
	src/cmd/held.c src/cmd/held.h \
	src/cmd/keylog.c src/cmd/keylog.h \
	src/cmd/leave.c src/cmd/leave.h \
	src/cmd/load.c src/cmd/load.h \
	src/cmd/look.c src/cmd/look.h \
	src/cmd/report.c src/cmd/report.h \
	src/cmd/reread.c src/cmd/reread.h \
	src/cmd/run.c src/cmd/run.h \
	src/cmd/run_agent.c src/cmd/run_agent.h \
	src/cmd/run_edge.c src/cmd/run_edge.h \
	src/cmd/say.c \
	src/cmd/screen.c src/cmd/screen.h \
	src/cmd/scripts.c src/cmd/scripts.h \
	src/cmd/sink.c src/cmd/sink.h \
	src/cmd/successor.c src/cmd/successor.h \
	src/cmd/tls_tree.c src/cmd/tls_tree.h \
	src/cmd/usage.c src/cmd/usage.h

bin_PROGRAMS += lunette
lunette_SOURCES = src/cmd/main.c
lunette_LDADD = libcmd.a $(LAYER_LIBS) $(LAYER_EXTERN)

noinst_LIBRARIES += libcontrol.a
libcontrol_a_CPPFLAGS = $(AM_CPPFLAGS) $(MICROHTTPD_CFLAGS)
libcontrol_a_SOURCES = \
	src/control/agent_html.c src/control/agent_html.h \
	src/control/agent_json.c src/control/agent_json.h \
	src/control/agent_metrics.c src/control/agent_metrics.h \
	src/control/agent_routes.c src/control/agent_routes.h \
	src/control/agent_view.c src/control/agent_view.h \
	src/control/agent_web.c src/control/agent_web.h \
	src/control/host_guard.c src/control/host_guard.h \
	src/control/meter.c src/control/meter.h \
	src/control/web_server.c src/control/web_server.h

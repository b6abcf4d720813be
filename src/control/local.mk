noinst_LIBRARIES += libcontrol.a
libcontrol_a_CPPFLAGS = $(AM_CPPFLAGS) $(MICROHTTPD_CFLAGS)
libcontrol_a_SOURCES = \
	src/control/host_guard.c src/control/host_guard.h \
	src/control/meter.c src/control/meter.h \
	src/control/web_server.c src/control/web_server.h

noinst_LIBRARIES += libsys.a
libsys_a_CPPFLAGS = $(AM_CPPFLAGS) $(CARES_CFLAGS) $(GEO_CFLAGS)
libsys_a_SOURCES = \
	src/sys/bridge.c src/sys/bridge.h \
	src/sys/inherit.c src/sys/inherit.h \
	src/sys/install.c src/sys/install.h \
	src/sys/loop.c src/sys/loop.h \
	src/sys/mailbox.c src/sys/mailbox.h \
	src/sys/names.c src/sys/names.h \
	src/sys/pipes.c src/sys/pipes.h \
	src/sys/resolver.c src/sys/resolver.h \
	src/sys/socket.c src/sys/socket.h \
	src/sys/timeouts.c src/sys/timeouts.h

libsys_a_SOURCES += src/sys/errand.c src/sys/errand.h \
	src/sys/ready.c src/sys/ready.h

libsys_a_SOURCES += src/sys/geo.c src/sys/geo.h

libsys_a_SOURCES += \
	src/sys/notify.c src/sys/notify.h \
	src/sys/privileges.c src/sys/privileges.h \
	src/sys/version.c src/sys/version.h \
	src/sys/watch.c src/sys/watch.h

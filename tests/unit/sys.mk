# Unit tests of src/sys.
check_PROGRAMS += tests/unit/test_geo
tests_unit_test_geo_SOURCES = tests/unit/test_geo.c src/sys/geo.c
tests_unit_test_geo_CPPFLAGS = $(UNIT_CPPFLAGS) $(GEO_CFLAGS)
tests_unit_test_geo_LDADD = libbase.a $(GEO_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_bridge
tests_unit_test_bridge_SOURCES = tests/unit/test_bridge.c src/sys/bridge.c
tests_unit_test_bridge_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_bridge_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=socketpair \
	-Wl,--wrap=malloc
tests_unit_test_bridge_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_loop
tests_unit_test_loop_SOURCES = tests/unit/test_loop.c src/sys/loop.c
tests_unit_test_loop_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_loop_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=epoll_ctl -Wl,--wrap=epoll_create1 -Wl,--wrap=epoll_wait
tests_unit_test_loop_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_mailbox
tests_unit_test_mailbox_SOURCES = tests/unit/test_mailbox.c src/sys/mailbox.c
tests_unit_test_mailbox_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_mailbox_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=eventfd
tests_unit_test_mailbox_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_pipes
tests_unit_test_pipes_SOURCES = tests/unit/test_pipes.c src/sys/pipes.c
tests_unit_test_pipes_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_pipes_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pipe2 -Wl,--wrap=fcntl -Wl,--wrap=fcntl64 \
	-Wl,--wrap=calloc
tests_unit_test_pipes_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_socket
tests_unit_test_socket_SOURCES = tests/unit/test_socket.c src/sys/socket.c
tests_unit_test_socket_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_socket_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=socket -Wl,--wrap=setsockopt -Wl,--wrap=bind \
	-Wl,--wrap=listen -Wl,--wrap=accept4 -Wl,--wrap=getsockname \
	-Wl,--wrap=connect -Wl,--wrap=recv -Wl,--wrap=send
tests_unit_test_socket_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_timeouts
tests_unit_test_timeouts_SOURCES = tests/unit/test_timeouts.c src/sys/timeouts.c
tests_unit_test_timeouts_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_timeouts_LDADD = libbase.a $(UNIT_LIBS)

# --wrap=clock_ms lets minutes pass without waiting for them.
check_PROGRAMS += tests/unit/test_resolver
tests_unit_test_resolver_SOURCES = tests/unit/test_resolver.c \
	tests/unit/dns_server.c tests/unit/dns_server.h
tests_unit_test_resolver_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_resolver_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_resolver_LDADD = libsys.a libwire.a libbase.a $(CARES_LIBS) \
	$(GEO_LIBS) $(UNIT_LIBS)

# --wrap=clock_wall_us makes files as old as the test wants them.
check_PROGRAMS += tests/unit/test_watch
tests_unit_test_watch_SOURCES = tests/unit/test_watch.c src/sys/watch.c
tests_unit_test_watch_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_watch_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=inotify_init1 \
	-Wl,--wrap=inotify_add_watch -Wl,--wrap=clock_wall_us \
	-Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup
tests_unit_test_watch_LDADD = libbase.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_errand
tests_unit_test_errand_SOURCES = tests/unit/test_errand.c \
	tests/unit/dns_server.c tests/unit/dns_server.h
tests_unit_test_errand_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_errand_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=epoll_create1 \
	-Wl,--wrap=epoll_ctl -Wl,--wrap=eventfd
tests_unit_test_errand_LDADD = libsys.a libwire.a libbase.a $(CARES_LIBS) \
	$(GEO_LIBS) $(UNIT_LIBS)

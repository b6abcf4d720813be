noinst_LIBRARIES += libwire.a
# Lengths and bytes are what this layer is about: no silent conversion.
libwire_a_CFLAGS = $(AM_CFLAGS) -Wconversion
libwire_a_SOURCES = \
	src/wire/alert.c src/wire/alert.h \
	src/wire/frame.c src/wire/frame.h \
	src/wire/hello.c src/wire/hello_build.c src/wire/hello.h \
	src/wire/host.c src/wire/host.h \
	src/wire/ja4.c src/wire/ja4.h \
	src/wire/json_scan.c src/wire/json_scan.h \
	src/wire/crc32c.c \
	src/wire/data_record.c src/wire/data_record.h \
	src/wire/proxy.c src/wire/proxy_write.c src/wire/proxy.h \
	src/wire/proxy_url.c src/wire/proxy_url.h \
	src/wire/reader.h \
	src/wire/routes.c src/wire/routes.h \
	src/wire/upstream_address.c src/wire/upstream_address.h

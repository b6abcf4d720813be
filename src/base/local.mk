noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	src/base/addr.c src/base/addr.h \
	src/base/base64.c src/base/base64.h \
	src/base/clock.c src/base/clock.h \
	src/base/compiler.c src/base/compiler.h \
	src/base/hash.c src/base/hash.h \
	src/base/json.c src/base/json.h \
	src/base/list.h \
	src/base/log.c src/base/log.h \
	src/base/nearest.c src/base/nearest.h \
	src/base/netset.c src/base/netset.h \
	src/base/outlet.c src/base/outlet.h \
	src/base/slab.c src/base/slab.h \
	src/base/span.h \
	src/base/tally.c src/base/tally.h \
	src/base/text.c src/base/text.h \
	src/base/units.c src/base/units.h \
	src/base/utf8.c src/base/utf8.h

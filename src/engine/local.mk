noinst_LIBRARIES += libengine.a
libengine_a_SOURCES = \
	src/engine/balance.c src/engine/balance.h \
	src/engine/edge.c src/engine/edge.h \
	src/engine/health.c src/engine/health.h \
	src/engine/journal.c src/engine/journal.h \
	src/engine/reason.c src/engine/reason.h \
	src/engine/upstream.c src/engine/upstream.h

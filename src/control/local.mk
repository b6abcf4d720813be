noinst_LIBRARIES += libcontrol.a
libcontrol_a_SOURCES = \
	src/control/meter.c src/control/meter.h

bin_PROGRAMS += lunette
lunette_SOURCES = \
	src/cmd/main.c
lunette_LDADD = $(LAYER_LIBS) $(LAYER_EXTERN)

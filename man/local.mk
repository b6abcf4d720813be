# Pages that need no folder filled in; lunette(1) is made in dist/local.mk.
dist_man_MANS += \
	man/lunette-policy.7 man/lunette.yaml.5

# Writes the keys of src/config/schema.c into the page; `make check` compares.
.PHONY: update-manual
update-manual: tests/unit/test_manual
	tests/unit/test_manual --update

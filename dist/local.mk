# What packages install beside the program. Where distributions differ, a
# variable says so: make install systemdsystemunitdir=/usr/lib/systemd/system
systemdsystemunitdir = $(prefix)/lib/systemd/system
sysusersdir = $(prefix)/lib/sysusers.d
bashcompletiondir = $(datadir)/bash-completion/completions

systemdsystemunit_DATA = dist/lunette.service dist/lunette-agent.service
dist_sysusers_DATA = dist/sysusers/lunette.conf
dist_bashcompletion_DATA = dist/bash-completion/lunette
dist_doc_DATA = dist/lunette.logrotate

EXTRA_DIST += dist/lunette.service.in dist/lunette-agent.service.in \
	man/lunette.1.in
CLEANFILES += dist/lunette.service dist/lunette-agent.service man/lunette.1
man_MANS += man/lunette.1

FILL_FOLDERS = $(SED) -e 's|@bindir[@]|$(bindir)|g' \
	-e 's|@sysconfdir[@]|$(sysconfdir)|g' \
	-e 's|@pkgdatadir[@]|$(pkgdatadir)|g' \
	-e 's|@localstatedir[@]|$(localstatedir)|g'

dist/lunette-agent.service: dist/lunette-agent.service.in Makefile
	@$(MKDIR_P) dist
	$(AM_V_GEN)$(FILL_FOLDERS) $(srcdir)/dist/lunette-agent.service.in >$@

dist/lunette.service: dist/lunette.service.in Makefile
	@$(MKDIR_P) dist
	$(AM_V_GEN)$(FILL_FOLDERS) $(srcdir)/dist/lunette.service.in >$@

man/lunette.1: man/lunette.1.in Makefile
	@$(MKDIR_P) man
	$(AM_V_GEN)$(FILL_FOLDERS) $(srcdir)/man/lunette.1.in >$@

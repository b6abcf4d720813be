# Unit tests: a Check program a module, from a file of its name. All link the
# same; of the libraries each takes what it needs. Flags of its own has one that
# lets calls fail, or another clock tell the time: WRAP_X for a call that several
# wrap, since a program must define what it wraps.
check_LIBRARIES += libunit.a
LDADD = libunit.a libcmd.a $(LAYER_LIBS) $(LAYER_EXTERN) $(CHECK_LIBS)

# What they share: benches that they run on, servers and clients that they play.
libunit_a_CPPFLAGS = $(AM_CPPFLAGS) $(SOURCE_CPPFLAGS)
libunit_a_SOURCES = \
	tests/unit/agents_bench.c \
	tests/unit/agents_bench.h \
	tests/unit/allocations.h \
	tests/unit/bytes.h \
	tests/unit/certificate_bench.h \
	tests/unit/config_fixture.c \
	tests/unit/config_fixture.h \
	tests/unit/dns_server.c \
	tests/unit/dns_server.h \
	tests/unit/engine_bench.c \
	tests/unit/engine_bench.h \
	tests/unit/faults.h \
	tests/unit/hello_bytes.h \
	tests/unit/hex.h \
	tests/unit/http_client.c \
	tests/unit/http_client.h \
	tests/unit/message_bench.h \
	tests/unit/message_kinds.h \
	tests/unit/mux_bench.c \
	tests/unit/mux_bench.h \
	tests/unit/openssl_faults.h \
	tests/unit/policy_support.c \
	tests/unit/policy_support.h \
	tests/unit/renewal_bench.c \
	tests/unit/renewal_bench.h \
	tests/unit/session_bench.c \
	tests/unit/session_bench.h \
	tests/unit/stages_bench.h \
	tests/unit/still_time.h \
	tests/unit/terminate_bench.h \
	tests/unit/tls_client.c \
	tests/unit/tls_client.h \
	tests/unit/tls_scene.c \
	tests/unit/tls_scene.h \
	tests/unit/tls_support.c \
	tests/unit/tls_support.h \
	tests/unit/unit.h \
	tests/unit/web_bench.h

# Those that read files of the source tree.
SOURCE_CPPFLAGS = -DTOP_SRCDIR='"$(abs_top_srcdir)"'
tests_unit_test_event_CPPFLAGS = $(AM_CPPFLAGS) $(SOURCE_CPPFLAGS)
tests_unit_test_examples_CPPFLAGS = $(AM_CPPFLAGS) $(SOURCE_CPPFLAGS)
tests_unit_test_manual_CPPFLAGS = $(AM_CPPFLAGS) $(SOURCE_CPPFLAGS)
tests_unit_test_policy_tester_CPPFLAGS = $(AM_CPPFLAGS) $(SOURCE_CPPFLAGS)

WRAP_MEMORY = -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
WRAP_TEXTS = -Wl,--wrap=strdup -Wl,--wrap=reallocarray -Wl,--wrap=asprintf

# src/base
check_PROGRAMS += \
	tests/unit/test_addr tests/unit/test_base64 tests/unit/test_clock \
	tests/unit/test_hash tests/unit/test_json tests/unit/test_log \
	tests/unit/test_nearest tests/unit/test_netset tests/unit/test_slab \
	tests/unit/test_tally tests/unit/test_text tests/unit/test_units \
	tests/unit/test_utf8
tests_unit_test_hash_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=getrandom
tests_unit_test_netset_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=realloc
tests_unit_test_slab_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=free
tests_unit_test_tally_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc

# src/wire
check_PROGRAMS += \
	tests/unit/test_alert tests/unit/test_data_record \
	tests/unit/test_frame tests/unit/test_hello tests/unit/test_host \
	tests/unit/test_json_scan tests/unit/test_proxy \
	tests/unit/test_proxy_url tests/unit/test_routes \
	tests/unit/test_upstream_address
tests_unit_test_routes_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc

# src/sys
check_PROGRAMS += \
	tests/unit/test_bridge tests/unit/test_errand tests/unit/test_geo \
	tests/unit/test_inherit \
	tests/unit/test_loop tests/unit/test_mailbox tests/unit/test_pipes \
	tests/unit/test_resolver tests/unit/test_socket \
	tests/unit/test_timeouts tests/unit/test_watch
tests_unit_test_bridge_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=socketpair \
	-Wl,--wrap=malloc
tests_unit_test_errand_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=epoll_create1 \
	-Wl,--wrap=epoll_ctl -Wl,--wrap=eventfd
tests_unit_test_loop_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=epoll_ctl \
	-Wl,--wrap=epoll_create1 -Wl,--wrap=epoll_wait
tests_unit_test_mailbox_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=eventfd
tests_unit_test_pipes_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=pipe2 \
	-Wl,--wrap=fcntl -Wl,--wrap=fcntl64 -Wl,--wrap=calloc
# --wrap=clock_ms lets minutes pass without waiting for them.
tests_unit_test_resolver_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_socket_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=socket \
	-Wl,--wrap=setsockopt -Wl,--wrap=bind -Wl,--wrap=listen \
	-Wl,--wrap=accept4 -Wl,--wrap=getsockname -Wl,--wrap=connect \
	-Wl,--wrap=recv -Wl,--wrap=send
# --wrap=clock_wall_us makes files as old as the test wants them.
tests_unit_test_watch_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=inotify_init1 \
	-Wl,--wrap=inotify_add_watch -Wl,--wrap=clock_wall_us \
	-Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup

# src/tls
check_PROGRAMS += \
	tests/unit/test_authority tests/unit/test_certificate \
	tests/unit/test_certificate_memory tests/unit/test_certificate_pem \
	tests/unit/test_data_keys tests/unit/test_data_stream \
	tests/unit/test_digest tests/unit/test_keyring tests/unit/test_ocsp \
	tests/unit/test_peer tests/unit/test_probe tests/unit/test_secret \
	tests/unit/test_session_context tests/unit/test_session_faults \
	tests/unit/test_stream tests/unit/test_stream_failures \
	tests/unit/test_stream_faults tests/unit/test_stream_hostile \
	tests/unit/test_stream_move tests/unit/test_stream_sessions \
	tests/unit/test_tickets tests/unit/test_token tests/unit/test_trust \
	tests/unit/test_trust_check
tests_unit_test_authority_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=renameat
tests_unit_test_certificate_memory_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY)
tests_unit_test_data_keys_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=random_bytes
tests_unit_test_keyring_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY)
tests_unit_test_peer_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_session_faults_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY)
tests_unit_test_stream_LDFLAGS = $(AM_LDFLAGS) \
	-Wl,--wrap=certificate_staple_copy
tests_unit_test_stream_faults_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY)
tests_unit_test_stream_sessions_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=time
tests_unit_test_tickets_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mmap \
	-Wl,--wrap=mlock

# src/config
check_PROGRAMS += \
	tests/unit/test_agent_file tests/unit/test_agents \
	tests/unit/test_certificates tests/unit/test_config_memory \
	tests/unit/test_examples tests/unit/test_manual \
	tests/unit/test_schema tests/unit/test_snapshot \
	tests/unit/test_termination tests/unit/test_tree
tests_unit_test_config_memory_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	$(WRAP_TEXTS)

# src/policy
check_PROGRAMS += \
	tests/unit/test_policy_client tests/unit/test_policy_conn \
	tests/unit/test_policy_decision tests/unit/test_policy_lib \
	tests/unit/test_policy_limits tests/unit/test_policy_lint \
	tests/unit/test_policy_random tests/unit/test_policy_run \
	tests/unit/test_policy_sandbox tests/unit/test_policy_shared \
	tests/unit/test_policy_tester tests/unit/test_policy_tls
tests_unit_test_policy_lib_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=netset_new \
	-Wl,--wrap=netset_add -Wl,--wrap=routes_new -Wl,--wrap=routes_add
tests_unit_test_policy_limits_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=mprotect
tests_unit_test_policy_random_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=strdup

# src/engine
check_PROGRAMS += \
	tests/unit/test_acceptor tests/unit/test_balance tests/unit/test_edge \
	tests/unit/test_edge_policy tests/unit/test_engine_faults \
	tests/unit/test_event tests/unit/test_expiry tests/unit/test_health \
	tests/unit/test_journal tests/unit/test_leg tests/unit/test_leg_tls \
	tests/unit/test_pairs tests/unit/test_pool tests/unit/test_reencrypt \
	tests/unit/test_registry tests/unit/test_relay \
	tests/unit/test_renewal tests/unit/test_stages \
	tests/unit/test_stages_upstream tests/unit/test_stapler \
	tests/unit/test_terminate tests/unit/test_terminate_faults \
	tests/unit/test_upstream
tests_unit_test_acceptor_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=bind \
	-Wl,--wrap=accept4 -Wl,--wrap=open -Wl,--wrap=poll
tests_unit_test_edge_policy_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_engine_faults_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=socket -Wl,--wrap=accept4 -Wl,--wrap=connect \
	-Wl,--wrap=epoll_ctl -Wl,--wrap=eventfd -Wl,--wrap=pipe2 \
	-Wl,--wrap=splice
tests_unit_test_expiry_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=realloc
tests_unit_test_health_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_pairs_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=strdup
tests_unit_test_reencrypt_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
# --wrap=clock_ms and --wrap=poll make time run faster.
tests_unit_test_renewal_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=clock_ms -Wl,--wrap=poll -Wl,--wrap=__poll_chk \
	-Wl,--wrap=inotify_init1 -Wl,--wrap=open -Wl,--wrap=eventfd \
	-Wl,--wrap=pthread_create -Wl,--wrap=strdup
tests_unit_test_stages_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
tests_unit_test_stages_upstream_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms
# --wrap=clock_ms lets days pass without waiting for them.
tests_unit_test_stapler_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=clock_ms
tests_unit_test_terminate_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=authority_issue \
	-Wl,--wrap=clock_ms

# src/tunnel
check_PROGRAMS += \
	tests/unit/test_acl tests/unit/test_edge_auth \
	tests/unit/test_edge_bind tests/unit/test_edge_calls \
	tests/unit/test_edge_data tests/unit/test_edge_deadlines \
	tests/unit/test_edge_tunnel_faults tests/unit/test_introduction \
	tests/unit/test_message tests/unit/test_message_memory \
	tests/unit/test_message_refused tests/unit/test_mux \
	tests/unit/test_mux_hostile tests/unit/test_names \
	tests/unit/test_ngrok_error tests/unit/test_outbound \
	tests/unit/test_pump tests/unit/test_session \
	tests/unit/test_session_raw tests/unit/test_stream_header \
	tests/unit/test_tokens
# Whose time leaps.
tests_unit_test_edge_deadlines_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=clock_us
# The n-th call of the edge's threads fails.
tests_unit_test_edge_tunnel_faults_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=epoll_ctl -Wl,--wrap=socketpair
tests_unit_test_message_memory_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	$(WRAP_TEXTS) -Wl,--wrap=strndup
tests_unit_test_mux_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=malloc \
	-Wl,--wrap=calloc
tests_unit_test_pump_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=clock_us -Wl,--wrap=calloc -Wl,--wrap=epoll_ctl
# --wrap=clock_ms lets minutes pass at will.
tests_unit_test_session_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=clock_us
tests_unit_test_session_raw_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) \
	-Wl,--wrap=clock_ms -Wl,--wrap=clock_us -Wl,--wrap=epoll_ctl
tests_unit_test_tokens_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY) $(WRAP_TEXTS) \
	-Wl,--wrap=strndup

# src/control
check_PROGRAMS += \
	tests/unit/test_agent_documents tests/unit/test_agent_web \
	tests/unit/test_host_guard tests/unit/test_meter \
	tests/unit/test_web_bounds tests/unit/test_web_server
tests_unit_test_agent_web_LDFLAGS = $(AM_LDFLAGS) $(WRAP_MEMORY)
tests_unit_test_host_guard_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_meter_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc \
	-Wl,--wrap=realloc
# --wrap=clock_ms lets a client be slow without waiting for it.
tests_unit_test_web_bounds_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=clock_ms \
	-Wl,--wrap=accept4 -Wl,--wrap=bind -Wl,--wrap=eventfd \
	-Wl,--wrap=calloc -Wl,--wrap=malloc -Wl,--wrap=pthread_create

# src/cmd
check_PROGRAMS += \
	tests/unit/test_authtoken tests/unit/test_flags \
	tests/unit/test_keylog tests/unit/test_load tests/unit/test_notify \
	tests/unit/test_privileges tests/unit/test_reread \
	tests/unit/test_screen tests/unit/test_sink tests/unit/test_tls_tree

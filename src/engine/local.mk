noinst_LIBRARIES += libengine.a
libengine_a_SOURCES = \
	src/engine/acceptor.c src/engine/acceptor.h \
	src/engine/balance.c src/engine/balance.h \
	src/engine/caller.c src/engine/caller.h \
	src/engine/conn.c src/engine/conn.h \
	src/engine/counters.h \
	src/engine/dial.h \
	src/engine/edge.c src/engine/edge.h src/engine/edge_private.h \
	src/engine/envelope.c src/engine/envelope.h \
	src/engine/event.c src/engine/event.h \
	src/engine/expiry.c src/engine/expiry.h \
	src/engine/generation.c src/engine/generation.h \
	src/engine/greet.h \
	src/engine/health.c src/engine/health.h \
	src/engine/journal.c src/engine/journal.h \
	src/engine/leg.c src/engine/leg.h \
	src/engine/listener.c src/engine/listener.h \
	src/engine/pairs.c src/engine/pairs.h \
	src/engine/passage.c src/engine/passage.h \
	src/engine/policy_host.c src/engine/policy_host.h \
	src/engine/pool.c src/engine/pool.h \
	src/engine/reason.c src/engine/reason.h \
	src/engine/registry.c src/engine/registry.h \
	src/engine/relay.c src/engine/relay.h \
	src/engine/reencrypt.c src/engine/reencrypt.h \
	src/engine/renewal.c src/engine/renewal.h \
	src/engine/stage.h \
	src/engine/stage_closing.c \
	src/engine/stage_dial.c \
	src/engine/stage_greet.c \
	src/engine/stage_handshake.c \
	src/engine/stage_hello.c \
	src/engine/stage_policy.c \
	src/engine/stage_proxy_in.c \
	src/engine/stage_relay.c \
	src/engine/stapler.c src/engine/stapler.h \
	src/engine/sweep.c src/engine/sweep.h \
	src/engine/terminate.c src/engine/terminate.h \
	src/engine/throttle.c src/engine/throttle.h \
	src/engine/tunnel_host.h \
	src/engine/uplink.c src/engine/uplink.h \
	src/engine/uplink_dial.c src/engine/uplink_dial.h \
	src/engine/upstream.c src/engine/upstream.h \
	src/engine/vault.c src/engine/vault.h \
	src/engine/watchdog.c src/engine/watchdog.h \
	src/engine/worker.c src/engine/worker.h

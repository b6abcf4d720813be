noinst_LIBRARIES += libtunnel.a
libtunnel_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
libtunnel_a_SOURCES =

# What is said in a session: fields.c is the part that knows jansson.
libtunnel_a_SOURCES += \
	src/tunnel/fields.c src/tunnel/fields.h src/tunnel/fields_write.c \
	src/tunnel/json_input.c src/tunnel/json_input.h \
	src/tunnel/message.c src/tunnel/message.h \
	src/tunnel/message_auth.c \
	src/tunnel/message_bind.c \
	src/tunnel/message_data.c \
	src/tunnel/ngrok_error.c src/tunnel/ngrok_error.h \
	src/tunnel/stream_header.c src/tunnel/stream_header.h

# Who agents are, and what they may do.
libtunnel_a_SOURCES += \
	src/tunnel/acl.c src/tunnel/acl.h \
	src/tunnel/names.c src/tunnel/names.h \
	src/tunnel/state_key.c src/tunnel/state_key.h \
	src/tunnel/token_file.c src/tunnel/token_file.h \
	src/tunnel/tokens.c src/tunnel/tokens.h

# Streams in a session.
libtunnel_a_SOURCES += \
	src/tunnel/mux.c src/tunnel/mux.h src/tunnel/mux_private.h \
	src/tunnel/mux_input.c \
	src/tunnel/mux_output.c \
	src/tunnel/mux_window.c

# The agent.
libtunnel_a_SOURCES += \
	src/tunnel/agent.c src/tunnel/agent.h src/tunnel/agent_private.h \
	src/tunnel/agent_accept.c \
	src/tunnel/agent_bind.c \
	src/tunnel/agent_commands.c \
	src/tunnel/agent_data.c \
	src/tunnel/agent_identity.c \
	src/tunnel/agent_join.c \
	src/tunnel/agent_link.c \
	src/tunnel/introduction.c src/tunnel/introduction.h \
	src/tunnel/outbound.c src/tunnel/outbound.h \
	src/tunnel/tls_pump.c src/tunnel/tls_pump.h

libtunnel_a_SOURCES += \
	src/tunnel/pump.c src/tunnel/pump.h \
	src/tunnel/session.c src/tunnel/session.h src/tunnel/session_private.h \
	src/tunnel/session_ask.c \
	src/tunnel/session_asked.c \
	src/tunnel/session_beat.c \
	src/tunnel/session_end.c

# The edge's end.
libtunnel_a_SOURCES += \
	src/tunnel/edge_auth.c \
	src/tunnel/edge_auth.h \
	src/tunnel/edge_bind.c \
	src/tunnel/edge_bind.h \
	src/tunnel/edge_calls.c \
	src/tunnel/edge_calls.h \
	src/tunnel/edge_clients.c \
	src/tunnel/edge_clients.h \
	src/tunnel/edge_commands.c \
	src/tunnel/edge_data.c \
	src/tunnel/edge_data.h \
	src/tunnel/edge_doors.c \
	src/tunnel/edge_doors.h \
	src/tunnel/edge_drain.c \
	src/tunnel/edge_drain.h \
	src/tunnel/edge_events.c \
	src/tunnel/edge_events.h \
	src/tunnel/edge_host.c \
	src/tunnel/edge_host.h \
	src/tunnel/edge_knock.c \
	src/tunnel/edge_knock.h \
	src/tunnel/edge_offer.c \
	src/tunnel/edge_offer.h \
	src/tunnel/edge_private.h \
	src/tunnel/edge_replace.c \
	src/tunnel/edge_replace.h \
	src/tunnel/edge_session.c \
	src/tunnel/edge_session.h

# For lunette diagnose.
libtunnel_a_SOURCES += src/tunnel/visit.c src/tunnel/visit.h

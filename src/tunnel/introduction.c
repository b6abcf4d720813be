#include "tunnel/introduction.h"

#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tls/token.h"
#include "tunnel/message.h"

/* --- the edge --- */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The settings have checked that it is one. */
static void
read_pin(const char *hex, uint8_t pin[SESSION_PIN_BYTES])
{
	for (size_t i = 0; i < SESSION_PIN_BYTES; i++)
		pin[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 |
				   hex_digit(hex[2 * i + 1]));
}

bool
edge_trust_load(
    struct edge_trust *t, const char *connect_cas, struct text *error)
{
	static const char pin[] = "sha256:";

	*t = (struct edge_trust){ .pinned = false };
	if (connect_cas && strncmp(connect_cas, pin, strlen(pin)) == 0) {
		read_pin(connect_cas + strlen(pin), t->pin);
		t->pinned = true;
		return true;
	}
	if (!connect_cas || strcmp(connect_cas, "host") == 0)
		t->trust = trust_system(error);
	else
		t->trust = trust_load(&connect_cas, 1, NULL, 0, error);
	return t->trust != NULL;
}

void
edge_trust_fini(struct edge_trust *t)
{
	trust_put(t->trust);
	t->trust = NULL;
}

/* As the published agent: the variable is for where no key is. */
const char *
edge_proxy_url(const struct agent_settings *a)
{
	const char *url = a->proxy_url;

	if (!url)
		url = getenv("http_proxy");
	return url && url[0] ? url : NULL;
}

struct tls_stream *
edge_connect_tls(struct tls_context *c, int fd, const struct edge_trust *t,
    const struct upstream_address *edge)
{
	char ip[ADDR_TEXT_SIZE];
	struct tls_session_settings settings = {
		.trust = t->trust,
		.pin = t->pinned ? t->pin : NULL,
		.server_name = host_span(&edge->name),
	};

	if (edge->kind != UPSTREAM_NAME) {
		addr_format_ip(&edge->addr, ip);
		settings.server_name = span_text(ip);
	}
	return tls_session_connect(c, fd, &settings);
}

/* --- the agent --- */

static bool
prove(const struct tls_stream *tls, struct span token, struct auth *a,
    uint8_t id[TOKEN_ID_BYTES], uint8_t *proof)
{
	uint8_t binding[TOKEN_BINDING_BYTES];

	if (token_id(token, id) < 0 || token_binding(tls, binding) < 0 ||
	    token_prove(binding, token, proof) < 0)
		return false;
	a->token_id = (struct message_bytes){ id, TOKEN_ID_BYTES };
	a->proof = (struct message_bytes){ proof, token.len };
	wipe(binding, sizeof(binding));
	return true;
}

int
introduction_write(const struct introduction *i, const struct tls_stream *tls,
    struct span *json)
{
	const struct agent_settings *set = i->settings;
	struct span token = span_text(set->authtoken);
	static const char *const versions[] = { "3", "2" };
	uint8_t id[TOKEN_ID_BYTES], proof[TOKEN_MAX_BYTES];
	char hostname[256] = "";
	struct utsname machine;
	int result;

	if (uname(&machine) < 0 ||
	    gethostname(hostname, sizeof(hostname) - 1) < 0)
		return -errno;
	struct auth a = {
		.versions = { (char **)(uintptr_t)versions,
		    ARRAY_COUNT(versions) },
		.client_id = message_lend(i->client_id),
		.cookie = message_lend(i->cookie),
		.os = message_lend("linux"),
		.arch = machine.machine,
		.version = message_lend(PACKAGE_VERSION),
		.hostname = hostname,
		.user_agent = message_lend(i->user_agent),
		.client_type = message_lend("lunette"),
		.data_encryption =
		    message_lend(set->encrypts_data ? "always" : ""),
		.metadata = message_lend(set->metadata),
		.heartbeat_interval_ns =
		    (int64_t)set->heartbeat_interval_ms * 1000000,
		.heartbeat_tolerance_ns =
		    (int64_t)set->heartbeat_tolerance_ms * 1000000,
		.auth_token = message_lend(""),
		.stop_unsupported = message_lend(""),
		.restart_unsupported = message_lend(""),
		.update_unsupported = message_lend(UPDATE_UNSUPPORTED),
		.proxy_type = message_lend(""),
		.config_version = message_lend("1"),
		.custom_cas = set->connect_cas != NULL,
	};

	/* Too short a token cannot be proved; inside TLS that was verified it
	 * may be said. */
	if (token.len > 0 && !prove(tls, token, &a, id, proof))
		a.auth_token = message_lend(set->authtoken);
	result = auth_write(&a, json);
	wipe(proof, sizeof(proof));
	return result;
}

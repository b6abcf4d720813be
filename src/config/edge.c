/* Reads the keys of the edge itself: listeners, policy, events, log. */
#include "config/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/nearest.h"
#include "base/units.h"

#define DNS_PORT 53

void
read_version(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key);

	(void)target;
	if (text != NULL && (n->quoted || strcmp(text, "1") != 0))
		reader_complain(r, &n->origin,
		    "version '%s' is not known; this Lunette reads version 1",
		    text);
}

/* "address:port" to its two parts; the brackets of IPv6 taken off. */
static const char *
split_port(struct span text, struct span *host, uint64_t *port)
{
	const uint8_t *colon = memrchr(text.data, ':', text.len);
	size_t host_len;

	if (colon == NULL)
		return "there is no port; write ':443' or '127.0.0.1:443'";
	host_len = (size_t)(colon - text.data);
	if (number_parse(span_of(colon + 1, text.len - host_len - 1), 0, 65535,
		port) < 0)
		return "the port must be a number from 0 to 65535";
	*host = span_of(text.data, host_len);
	if (host_len >= 2 && text.data[0] == '[' &&
	    text.data[host_len - 1] == ']')
		*host = span_of(text.data + 1, host_len - 2);
	else if (memchr(text.data, ':', host_len) != NULL)
		return "an IPv6 address needs brackets, such as '[::1]:443'";
	return NULL;
}

/* Without an address it is the IPv6 wildcard, which takes IPv4 as well. */
const char *
listen_address_parse(struct span text, struct addr *out)
{
	struct span host;
	uint64_t port;
	const char *why = split_port(text, &host, &port);

	if (why != NULL)
		return why;
	if (host.data == text.data && host.len == 0)
		*out = (struct addr){ .family = ADDR_IP6 };
	else if (addr_parse(host, out) < 0)
		return "an IP address is needed, not a name";
	out->port = (uint16_t)port;
	return NULL;
}

void
read_listen_address(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct listen_settings *listen = target;
	const char *text = reader_text(r, n, key), *why;

	if (text == NULL)
		return;
	why = listen_address_parse(span_text(text), &listen->addr);
	if (why != NULL)
		reader_complain(
		    r, &n->origin, "'%s': '%s': %s", key->name, text, why);
	listen->address = reader_copy(r, text);
}

void
read_proxy_versions(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct listen_settings *listen = target;

	if (!reader_list(r, n, key))
		return;
	for (size_t i = 0; i < n->item_count; i++) {
		const char *text = reader_text(r, n->items[i], key);

		if (text == NULL)
			continue;
		if (!strcmp(text, "1"))
			listen->proxy_accept |= 1u << 1;
		else if (!strcmp(text, "2"))
			listen->proxy_accept |= 1u << 2;
		else
			reader_complain(r, &n->items[i]->origin,
			    "'%s': the PROXY protocol has versions 1 and 2",
			    key->name);
	}
}

/* A bare address is a listener with that address and nothing else. */
static void
read_listener(struct reader *r, const struct node *n, const struct key *key,
    struct listen_settings *listen)
{
	section_defaults(r, &schema_listener, listen);
	if (n->kind == NODE_SCALAR)
		read_listen_address(r, n, &schema_listener.keys[0], listen);
	else
		section_read(r, n, key->name, &schema_listener, listen);
}

void
read_listeners(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;

	if (!reader_list(r, n, key))
		return;
	s->listens = reader_array(r, n->item_count, sizeof(*s->listens));
	if (s->listens == NULL)
		return;
	for (size_t i = 0; i < n->item_count; i++)
		read_listener(r, n->items[i], key, &s->listens[i]);
	s->listen_count = n->item_count;
}

void
read_workers(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;
	uint64_t count;

	if (n->kind == NODE_SCALAR && !strcmp(n->text, "auto"))
		s->workers = 0;
	else if (reader_number(r, n, key, &count))
		s->workers = (unsigned)count;
}

void
read_default_endpoint(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	(void)target;
	if (reader_text(r, n, key) != NULL)
		r->default_endpoint = n;
}

void
read_policy_file(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	(void)target;
	r->s->edge_script = reader_script(r, n, key);
}

static void
check_folder(struct reader *r, const struct node *n, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		reader_complain(r, &n->origin, "cannot read: %s: %s", path,
		    strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		reader_complain(
		    r, &n->origin, "cannot read: %s: it is no folder", path);
}

void
read_folders(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct policy_options *policy = target;

	if (!reader_list(r, n, key))
		return;
	policy->path = reader_array(r, n->item_count, sizeof(char *));
	if (policy->path == NULL)
		return;
	for (size_t i = 0; i < n->item_count; i++) {
		char *path = reader_path(r, n->items[i], key);

		if (path == NULL)
			continue;
		check_folder(r, n->items[i], path);
		policy->path[policy->path_count++] = path;
	}
}

static bool
parse_server(struct span text, struct addr *out)
{
	struct span host;
	uint64_t port;

	if (addr_parse(text, out) == 0) {
		out->port = DNS_PORT;
		return true;
	}
	if (split_port(text, &host, &port) != NULL || port == 0 ||
	    addr_parse(host, out) < 0)
		return false;
	out->port = (uint16_t)port;
	return true;
}

static void
add_server(struct reader *r, const struct node *n, const struct key *key,
    struct text *servers)
{
	const char *text = reader_text(r, n, key);
	char shown[ADDR_TEXT_SIZE];
	struct addr addr;

	if (text == NULL)
		return;
	if (!parse_server(span_text(text), &addr)) {
		reader_complain(r, &n->origin,
		    "'%s': '%s' is no IP address with a port", key->name, text);
		return;
	}
	addr_format(&addr, shown);
	text_addf(servers, "%s%s", servers->len > 0 ? "," : "", shown);
}

void
read_servers(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;
	char all[16 * ADDR_TEXT_SIZE];
	struct text servers;

	text_init(&servers, all, sizeof(all));
	if (!reader_list(r, n, key))
		return;
	for (size_t i = 0; i < n->item_count; i++)
		add_server(r, n->items[i], key, &servers);
	if (servers.len > 0)
		s->resolver_servers = reader_copy(r, all);
}

void
read_log_target(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	static const char *const words[] = { "stderr", "stdout", "false" };
	struct snapshot *s = target;
	const char *text = reader_text(r, n, key);
	bool is_word = false;

	if (text == NULL)
		return;
	for (size_t i = 0; i < ARRAY_COUNT(words); i++)
		is_word = is_word || !strcmp(text, words[i]);
	free(s->log_target);
	s->log_target = is_word ? reader_copy(r, text) : reader_path(r, n, key);
}

/* Events that the design knows; the first ones are written today. */
static const char *const event_types[] = { "tcp_connection_closed.v0",
	"certificate_expiring.v0", "agent_session_start.v0",
	"agent_session_stop.v0", "endpoint_online.v0", "endpoint_offline.v0",
	"config_reloaded.v0" };
#define WRITTEN_TODAY 6

static size_t
find_event_type(const char *text)
{
	size_t i = 0;

	while (i < ARRAY_COUNT(event_types) && strcmp(text, event_types[i]))
		i++;
	return i;
}

static void
complain_of_event(struct reader *r, const struct node *n, const struct key *key)
{
	const char *near =
	    nearest_word(span_text(n->text), event_types, WRITTEN_TODAY);
	char storage[256];
	struct text known;

	if (near != NULL) {
		reader_complain(r, &n->origin,
		    "'%s': unknown event '%s'; did you mean '%s'?", key->name,
		    n->text, near);
		return;
	}
	text_init(&known, storage, sizeof(storage));
	for (size_t i = 0; i < WRITTEN_TODAY; i++)
		text_addf(&known, "%s'%s'", i > 0 ? ", " : "", event_types[i]);
	reader_complain(r, &n->origin, "'%s': unknown event '%s'; known: %s",
	    key->name, n->text, storage);
}

static void
check_event_type(struct reader *r, const struct node *n, const struct key *key)
{
	size_t type = n->kind == NODE_SCALAR ? find_event_type(n->text) : 0;

	if (type < WRITTEN_TODAY)
		return;
	if (type < ARRAY_COUNT(event_types)) {
		reader_complain(r, &n->origin,
		    "'%s' is not in this version of Lunette", n->text);
		return;
	}
	complain_of_event(r, n, key);
}

void
read_event_types(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct event_settings *event = target;

	reader_texts(r, n, key, &event->types, &event->type_count);
	if (n->kind != NODE_LIST)
		return;
	for (size_t i = 0; i < n->item_count; i++)
		check_event_type(r, n->items[i], key);
}

static void
read_event(struct reader *r, const struct node *n, const struct key *key,
    struct event_settings *event)
{
	section_read(r, n, key->name, &schema_event, event);
	if (n->kind != NODE_MAP)
		return;
	if (event->to_stdout == (node_get(n, "file") != NULL))
		reader_complain(r, &n->origin,
		    "an event sink needs 'file' or 'stdout: true', one of "
		    "them");
}

static bool
same_sink(const struct event_settings *a, const struct event_settings *b)
{
	if (a->to_stdout || b->to_stdout)
		return a->to_stdout && b->to_stdout;
	return a->file != NULL && b->file != NULL && !strcmp(a->file, b->file);
}

void
read_events(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;

	if (!reader_list(r, n, key))
		return;
	s->events = reader_array(r, n->item_count, sizeof(*s->events));
	if (s->events == NULL)
		return;
	s->event_count = n->item_count;
	for (size_t i = 0; i < n->item_count; i++) {
		read_event(r, n->items[i], key, &s->events[i]);
		for (size_t k = 0; k < i; k++)
			if (same_sink(&s->events[k], &s->events[i]))
				reader_complain(r, &n->items[i]->origin,
				    "events go to the same place as in line %u",
				    n->items[k]->origin.line);
	}
}

/* As systemd and the XDG base directories say: what is relative is ignored. */
static const char *
folder_in_environment(const char *name)
{
	const char *folder = getenv(name);

	return folder != NULL && folder[0] == '/' ? folder : NULL;
}

void
reader_default_state(struct reader *r)
{
	struct snapshot *s = r->s;
	const char *service = folder_in_environment("STATE_DIRECTORY");
	const char *own = folder_in_environment("XDG_STATE_HOME");
	const char *home = folder_in_environment("HOME");
	/* Of the start: a reload comes after the change to edge.user. */
	bool as_root = getauxval(AT_EUID) == 0;
	int len;

	if (s->state != NULL || r->failed)
		return;
	if (service != NULL)
		/* The first, if the service has several. */
		len = asprintf(
		    &s->state, "%.*s", (int)strcspn(service, ":"), service);
	else if (!as_root && own != NULL)
		len = asprintf(&s->state, "%s/lunette", own);
	else if (!as_root && home != NULL)
		len = asprintf(&s->state, "%s/.local/state/lunette", home);
	else
		len = asprintf(&s->state, "%s", STATE_FOLDER);
	if (len < 0) {
		s->state = NULL;
		reader_no_memory(r);
	}
}

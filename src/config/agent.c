/* Reads the keys of an agent itself. */
#include "config/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tls/file.h"
#include "wire/proxy_url.h"

#define SHA256_DIGITS 64
#define AUTHTOKEN_PROVEN_BYTES 16
#define ERROR_SIZE 512

static const char pin_prefix[] = "sha256:";

void
read_agent(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct snapshot *s = target;

	s->agent.enabled = true;
	section_defaults(r, key->section, s);
	section_read(r, n, key->name, key->section, s);
	if (s->agent.metadata == NULL)
		s->agent.metadata = reader_copy(r, "");
	if (n->kind == NODE_MAP && node_get(n, "authtoken") != NULL &&
	    node_get(n, "authtoken_file") != NULL)
		reader_complain(r, &node_get(n, "authtoken_file")->key_origin,
		    "'authtoken' and 'authtoken_file': one of them");
}

/* Parsed as the address of a TLS server, for the port that it has unless it
 * says; then again, since canonical texts of edges have no scheme. */
static const char *
parse_edge(const char *text, struct upstream_address *out)
{
	char url[UPSTREAM_ADDRESS_SIZE];
	const char *why;
	struct text t;

	if (strstr(text, "://") != NULL || !strncmp(text, "unix:", 5))
		return "only HOST or HOST:PORT, such as 'edge.example.com'";
	if (text[strspn(text, "0123456789")] == '\0')
		return "the host is missing: HOST:PORT";
	text_init(&t, url, sizeof(url));
	text_addf(&t, "tls://%s", text);
	if (t.truncated)
		return "the name is too long";
	if (upstream_address_parse(text_span(&t), out, &why) < 0)
		return why;
	text_clear(&t);
	text_add(&t, out->text + strlen("tls://"));
	return upstream_address_parse(text_span(&t), out, &why) < 0 ? why
								    : NULL;
}

static void
add_edge(struct reader *r, const struct node *n, const struct key *key,
    struct agent_settings *a)
{
	struct edge_address *edge = &a->edges[a->edge_count];
	const char *text = reader_text(r, n, key), *why;

	if (text == NULL)
		return;
	why = parse_edge(text, &edge->address);
	if (why != NULL) {
		reader_complain(
		    r, &n->origin, "'%s': '%s': %s", key->name, text, why);
		return;
	}
	for (size_t i = 0; i < a->edge_count; i++)
		if (!strcmp(a->edges[i].address.text, edge->address.text)) {
			reader_complain(r, &n->origin,
			    "'%s': '%s' is listed twice", key->name, text);
			return;
		}
	edge->text = reader_copy(r, text);
	a->edge_count++;
}

void
read_edges(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct agent_settings *a = &((struct snapshot *)target)->agent;

	if (!reader_list(r, n, key))
		return;
	a->edges = reader_array(r, n->item_count, sizeof(*a->edges));
	for (size_t i = 0; a->edges != NULL && i < n->item_count; i++)
		add_edge(r, n->items[i], key, a);
}

const char *
snapshot_set_authtoken(struct snapshot *s, struct span token)
{
	char *copy;

	if (token.len == 0)
		return "is empty";
	if (token.len > AUTHTOKEN_MAX_BYTES)
		return "is longer than 256 bytes";
	for (size_t i = 0; i < token.len; i++)
		if (token.data[i] <= ' ' || token.data[i] >= 0x7f)
			return "may hold printable ASCII only, and no blanks";
	copy = calloc(token.len + 1, 1);
	if (copy == NULL)
		return "finds no memory";
	memcpy(copy, token.data, token.len);
	if (s->agent.authtoken != NULL)
		explicit_bzero(s->agent.authtoken, strlen(s->agent.authtoken));
	free(s->agent.authtoken);
	s->agent.authtoken = copy;
	return NULL;
}

/* No message shows a token. */
static void
take_authtoken(struct reader *r, const struct node *n, const struct key *key,
    struct span token)
{
	const char *why = snapshot_set_authtoken(r->s, token);

	if (why != NULL)
		reader_complain(
		    r, &n->origin, "'%s': the token %s", key->name, why);
	else if (token.len < AUTHTOKEN_PROVEN_BYTES)
		reader_warn(r, &n->origin,
		    "'%s': the token is shorter than %d bytes: it can be "
		    "guessed, and is sent to the edge instead of proven",
		    key->name, AUTHTOKEN_PROVEN_BYTES);
}

void
read_authtoken(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key);
	struct stat st;

	(void)target;
	if (text == NULL)
		return;
	take_authtoken(r, n, key, span_text(text));
	if (n->origin.line > 0 && stat(n->origin.source, &st) == 0 &&
	    (st.st_mode & S_IROTH) != 0)
		reader_warn(r, &n->origin,
		    "every user of this machine can read the token: chmod "
		    "o-rwx %s, or put it into an 'authtoken_file'",
		    n->origin.source);
}

/* A line of its own, as editors and echo write it. */
static struct span
trim_end(struct span s)
{
	while (s.len > 0 && isspace(s.data[s.len - 1]))
		s.len--;
	return s;
}

void
read_authtoken_file(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	char *path = reader_path(r, n, key), storage[ERROR_SIZE];
	struct text error;
	struct span bytes;

	(void)target;
	if (path == NULL)
		return;
	text_init(&error, storage, sizeof(storage));
	if (file_read(path, FILE_SECRET, &bytes, &error) == 0) {
		take_authtoken(r, n, key, trim_end(bytes));
		file_wipe(&bytes);
	} else {
		reader_complain(r, &n->origin, "%s", storage);
	}
	free(path);
}

/* The fingerprint as other programs print it, too: with colons and in capital
 * letters. NULL if it is none. */
static char *
copy_pin(struct reader *r, const char *text)
{
	char pin[sizeof(pin_prefix) + SHA256_DIGITS];
	size_t len = strlen(pin_prefix);

	memcpy(pin, pin_prefix, len);
	for (text += len; *text != '\0'; text++) {
		if (*text == ':')
			continue;
		if (!isxdigit((unsigned char)*text) || len + 1 == sizeof(pin))
			return NULL;
		pin[len++] = (char)tolower((unsigned char)*text);
	}
	pin[len] = '\0';
	return len + 1 == sizeof(pin) ? reader_copy(r, pin) : NULL;
}

/* The file is read for what may be wrong with it; who connects reads it
 * again. */
static char *
copy_cas_path(struct reader *r, const struct node *n, const struct key *key)
{
	char *path = reader_path(r, n, key);
	struct path_list cas = { &path, 1 };

	if (path != NULL)
		trust_put(reader_trust(r, n, &cas));
	return path;
}

void
read_connect_cas(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key);
	char *value;

	if (text == NULL)
		return;
	if (!strcmp(text, "host")) {
		value = reader_copy(r, text);
	} else if (!strncmp(text, pin_prefix, strlen(pin_prefix))) {
		value = copy_pin(r, text);
		if (value == NULL)
			reader_complain(r, &n->origin,
			    "'%s': sha256: must be followed by the 64 "
			    "hexadecimal digits of a certificate's fingerprint",
			    key->name);
	} else {
		value = copy_cas_path(r, n, key);
	}
	key_set_text(key, target, value);
}

/* It may hold a password: no message shows it. */
void
read_proxy_url(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	const char *text = reader_text(r, n, key), *why;
	struct proxy_url url;

	if (text == NULL)
		return;
	if (proxy_url_parse(span_text(text), &url, &why) < 0)
		reader_complain(r, &n->origin, "'%s': %s", key->name, why);
	explicit_bzero(&url, sizeof(url));
	key_set_text(key, target, reader_copy(r, text));
}

void
read_web_addr(
    struct reader *r, const struct node *n, const struct key *key, void *target)
{
	struct agent_settings *a = &((struct snapshot *)target)->agent;
	const char *text = reader_text(r, n, key), *why;

	if (text == NULL)
		return;
	key_set_text(key, target, NULL);
	a->web = (struct addr){ 0 };
	if (!strcmp(text, "false"))
		return;
	why = listen_address_parse(span_text(text), &a->web);
	if (why != NULL)
		reader_complain(
		    r, &n->origin, "'%s': '%s': %s", key->name, text, why);
	key_set_text(key, target, reader_copy(r, text));
}

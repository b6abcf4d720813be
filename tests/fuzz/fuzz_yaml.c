/*
 * Configurations: the tree of a text, and its snapshot.
 *
 * Sources: base wire config tls/certificate.c tls/certificate_parse.c
 * Sources: tls/key.c tls/pem.c tls/ocsp.c tls/digest.c tls/file.c
 * Sources: tls/keyring.c tls/trust.c tls/trust_read.c
 * Sources: tls/trust_check.c
 * Packages: yaml-0.1 libcrypto
 * Options: -max_len=4096 -only_ascii=0
 */
#include "fuzz.h"
#include "config/snapshot.h"

#define NAME "f.yaml"

static void
check_text(const char *text)
{
	ASSERT(text);
	for (; *text != '\0'; text++)
		ASSERT(*text >= 0x20 && *text < 0x7f);
}

/* Every problem is one printable line that begins with its place. */
static void
check_problems(const struct problems *p)
{
	for (size_t i = 0; i < problems_count(p); i++) {
		const char *line = problems_get(p, i);

		check_text(line);
		ASSERT(strncmp(line, NAME ":", strlen(NAME) + 1) == 0 ||
		       i == PROBLEMS_KEPT);
	}
}

static void
check_origin(const struct origin *o, uint32_t lines)
{
	ASSERT(strcmp(o->source, NAME) == 0);
	ASSERT(o->line >= 1 && o->line <= lines && o->column >= 1);
}

static void
check_node(const struct node *n, unsigned depth, uint32_t lines)
{
	ASSERT(depth <= 64);
	check_origin(&n->origin, lines);
	ASSERT((n->kind == NODE_SCALAR) == (n->text != NULL));
	ASSERT(n->kind != NODE_SCALAR || n->item_count == 0);
	for (size_t i = 0; i < n->item_count; i++) {
		const struct node *item = n->items[i];

		ASSERT((item->key != NULL) == (n->kind == NODE_MAP));
		if (item->key) {
			check_origin(&item->key_origin, lines);
			ASSERT(item->key[0] != '\0');
			/* No key twice: the first is the only one. */
			ASSERT(node_get(n, item->key) == item);
		}
		check_node(item, depth + 1, lines);
	}
}

static void
check_endpoint(const struct snapshot *s, const struct endpoint *e)
{
	static const struct addr nobody = { .family = ADDR_UNIX };

	ASSERT(s->endpoints[e->index] == e);
	ASSERT(e->metadata && e->id[0] != '\0');
	ASSERT(e->is_random == (e->url == NULL));
	ASSERT(e->is_random == (e->domain.len == 0));
	ASSERT((e->name != NULL) == s->agent.enabled);
	if (e->url != NULL)
		ASSERT(snapshot_endpoint(s, span_text(e->url)) == e);
	if (e->url != NULL && !host_is_wildcard(&e->domain))
		ASSERT(snapshot_route(s, host_span(&e->domain)) == e);
	ASSERT(e->allow || !e->deny);
	ASSERT(endpoint_allows(e, &nobody) == !e->allow);
	/* There are no certificates here. */
	ASSERT(e->terminate_at == TERMINATE_UPSTREAM || s->local_ca ||
	       (s->agent.enabled && e->terminate_at == TERMINATE_EDGE));
	ASSERT(s->agent.enabled || e->terminate_at != TERMINATE_AGENT);
	ASSERT(e->upstream_count <= 256 && e->proxy_proto <= 2);
	ASSERT(e->connect_ms > 0 && e->idle_ms > 0);
	ASSERT(e->upstream_count > 0 || s->edge_script >= 0 ||
	       e->policy_script >= 0);
	for (size_t i = 0; i < e->upstream_count; i++)
		ASSERT(e->upstreams[i].weight >= 1 &&
		       e->upstreams[i].weight <= 256 &&
		       e->upstreams[i].address.text[0] != '\0');
}

static void
check_snapshot_of(struct tree *t, struct problems *p)
{
	struct snapshot *s = snapshot_build(t, NULL, p);

	ASSERT((s == NULL) == (problems_count(p) > 0));
	if (!s)
		return;
	ASSERT((s->listen_count == 0) == s->agent.enabled);
	ASSERT((s->agent.edge_count > 0) == s->agent.enabled);
	ASSERT(s->log_target && s->state);
	ASSERT((s->agents.server_name_count > 0) == s->agents.enabled);
	ASSERT(!s->agent.enabled || s->endpoint_count > 0);
	for (size_t i = 0; i < s->listen_count; i++) {
		const struct listen_settings *l = &s->listens[i];

		ASSERT(l->address);
		ASSERT((l->proxy_accept != 0) == (l->proxy_from != NULL));
	}
	for (size_t i = 0; i < s->endpoint_count; i++)
		check_endpoint(s, s->endpoints[i]);
	snapshot_put(s);
}

/* Whatever libyaml takes for the end of a line counts as one. */
static uint32_t
count_lines(struct span s)
{
	uint32_t lines = 2;

	for (size_t i = 0; i < s.len; i++)
		lines += s.data[i] == '\n' || s.data[i] >= 0x80;
	return lines;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems *p = problems_new();
	struct tree *t;

	ASSERT(p);
	t = tree_parse(NAME, span_of(data, size), p);
	ASSERT((t == NULL) == (problems_count(p) > 0));
	if (t) {
		check_node(tree_root(t), 1, count_lines(span_of(data, size)));
		check_snapshot_of(t, p);
	}
	check_problems(p);
	tree_free(t);
	problems_free(p);
	return 0;
}

#include "base/netset.h"

#include <errno.h>
#include <stdlib.h>

#define NO_NODE 0 /* index 0 is never used */
#define NODES_MIN 16
#define NODES_MAX (UINT32_MAX / 2)

/* An address as a number; an IPv4 address stands in the top 32 bits. */
struct bits {
	uint64_t high, low;
};

struct node {
	struct bits key; /* zero beyond the prefix */
	uint32_t child[2];
	uint32_t value;
	uint8_t prefix;
	bool has_value; /* else only a fork */
};

struct netset {
	struct node *nodes; /* by index, so that they may move as they grow */
	uint32_t node_count, node_room;
	uint32_t root4, root6;
	size_t count;
};

struct netset *
netset_new(void)
{
	struct netset *set = calloc(1, sizeof(*set));

	if (set)
		set->node_count = 1;
	return set;
}

void
netset_free(struct netset *set)
{
	if (!set)
		return;
	free(set->nodes);
	free(set);
}

static uint64_t
load_be(const uint8_t *p, int count)
{
	uint64_t word = 0;

	for (int i = 0; i < count; i++)
		word = word << 8 | p[i];
	return word;
}

static struct bits
bits_of(const struct addr *a)
{
	if (a->family == ADDR_IP4)
		return (struct bits){ load_be(a->bytes, 4) << 32, 0 };
	return (struct bits){ load_be(a->bytes, 8), load_be(a->bytes + 8, 8) };
}

/* How many leading bits are the same, 128 if all. */
static unsigned
common_bits(struct bits a, struct bits b)
{
	if (a.high != b.high)
		return (unsigned)__builtin_clzll(a.high ^ b.high);
	if (a.low != b.low)
		return 64 + (unsigned)__builtin_clzll(a.low ^ b.low);
	return 128;
}

static unsigned
bit_at(struct bits b, unsigned at)
{
	if (at < 64)
		return b.high >> (63 - at) & 1;
	return b.low >> (127 - at) & 1;
}

static struct bits
keep_bits(struct bits b, unsigned prefix)
{
	if (prefix >= 128)
		return b;
	if (prefix > 64)
		return (struct bits){ b.high,
			b.low & ~(UINT64_MAX >> (prefix - 64)) };
	if (prefix == 64)
		return (struct bits){ b.high, 0 };
	return (struct bits){ b.high & ~(UINT64_MAX >> prefix), 0 };
}

/* An insertion needs two nodes at most: the network and a fork above it. */
static int
reserve_two(struct netset *set)
{
	uint32_t room = set->node_room;
	struct node *grown;

	if (set->node_count + 2 <= room)
		return 0;
	if (room > NODES_MAX / 2)
		return -ENOMEM;
	room = room == 0 ? NODES_MIN : room * 2;
	grown = realloc(set->nodes, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	set->nodes = grown;
	set->node_room = room;
	return 0;
}

static uint32_t
make_node(struct netset *set, struct bits key, unsigned prefix)
{
	uint32_t at = set->node_count++;

	set->nodes[at] = (struct node){
		.key = keep_bits(key, prefix),
		.prefix = (uint8_t)prefix,
	};
	return at;
}

/* Puts a node of `prefix` bits of `key` above the one at `link`. */
static uint32_t
make_above(struct netset *set, uint32_t *link, struct bits key, unsigned prefix)
{
	uint32_t below = *link, above = make_node(set, key, prefix);

	set->nodes[above].child[bit_at(set->nodes[below].key, prefix)] = below;
	*link = above;
	return above;
}

/* The node for exactly this network, made if it is not there. */
static uint32_t
find_or_make(
    struct netset *set, uint32_t *link, struct bits key, unsigned prefix)
{
	while (*link != NO_NODE) {
		struct node *n = &set->nodes[*link];
		unsigned common = common_bits(key, n->key);

		if (common >= n->prefix && prefix == n->prefix)
			return *link;
		if (common >= n->prefix && prefix > n->prefix) {
			link = &n->child[bit_at(key, n->prefix)];
			continue;
		}
		if (common >= prefix)
			return make_above(set, link, key, prefix);
		uint32_t fork = make_above(set, link, key, common);
		link = &set->nodes[fork].child[bit_at(key, common)];
		break;
	}
	*link = make_node(set, key, prefix);
	return *link;
}

int
netset_add(struct netset *set, const struct network *net, uint32_t value)
{
	bool is_ip4 = net->base.family == ADDR_IP4;
	struct node *n;

	ASSERT(is_ip4 || net->base.family == ADDR_IP6);
	ASSERT(net->prefix <= (is_ip4 ? 32 : 128));
	if (reserve_two(set) < 0)
		return -ENOMEM;
	n = &set->nodes[find_or_make(set, is_ip4 ? &set->root4 : &set->root6,
	    keep_bits(bits_of(&net->base), net->prefix), net->prefix)];
	if (!n->has_value)
		set->count++;
	n->has_value = true;
	n->value = value;
	return 0;
}

static const struct node *
longest_match(const struct netset *set, uint32_t at, struct bits key)
{
	const struct node *best = NULL;

	while (at != NO_NODE) {
		const struct node *n = &set->nodes[at];

		if (common_bits(key, n->key) < n->prefix)
			break;
		if (n->has_value)
			best = n;
		if (n->prefix == 128)
			break;
		at = n->child[bit_at(key, n->prefix)];
	}
	return best;
}

bool
netset_lookup(const struct netset *set, const struct addr *a, uint32_t *value)
{
	const struct node *n = NULL;

	if (a->family == ADDR_IP4)
		n = longest_match(set, set->root4, bits_of(a));
	else if (a->family == ADDR_IP6)
		n = longest_match(set, set->root6, bits_of(a));
	if (n && value)
		*value = n->value;
	return n != NULL;
}

static void
store_be(uint8_t *p, uint64_t word)
{
	for (int i = 7; i >= 0; i--, word >>= 8)
		p[i] = (uint8_t)word;
}

static struct network
network_of(const struct node *n, enum addr_family family)
{
	struct network net = {
		.base.family = (uint8_t)family,
		.prefix = n->prefix,
	};

	store_be(net.base.bytes, n->key.high);
	store_be(net.base.bytes + 8, n->key.low);
	if (family == ADDR_IP4)
		memset(net.base.bytes + 4, 0, 12);
	return net;
}

struct walk {
	const struct netset *set;
	enum addr_family family;
	bool (*visit)(const struct network *net, void *arg);
	void *arg;
};

static bool
walk_below(const struct walk *w, uint32_t at)
{
	const struct node *n = &w->set->nodes[at];
	struct network net;

	if (at == NO_NODE)
		return true;
	net = network_of(n, w->family);
	return (!n->has_value || w->visit(&net, w->arg)) &&
	       walk_below(w, n->child[0]) && walk_below(w, n->child[1]);
}

bool
netset_walk(const struct netset *set,
    bool (*visit)(const struct network *net, void *arg), void *arg)
{
	struct walk w = { set, ADDR_IP4, visit, arg };

	if (!walk_below(&w, set->root4))
		return false;
	w.family = ADDR_IP6;
	return walk_below(&w, set->root6);
}

/* The shape of a tree follows from its networks alone, so equal sets are equal
 * node by node. At most 128 deep. */
static bool
same_below(const struct netset *a, uint32_t at_a, const struct netset *b,
    uint32_t at_b)
{
	const struct node *x, *y;

	if (at_a == NO_NODE || at_b == NO_NODE)
		return at_a == at_b;
	x = &a->nodes[at_a];
	y = &b->nodes[at_b];
	return x->prefix == y->prefix && x->has_value == y->has_value &&
	       x->key.high == y->key.high && x->key.low == y->key.low &&
	       same_below(a, x->child[0], b, y->child[0]) &&
	       same_below(a, x->child[1], b, y->child[1]);
}

bool
netset_same(const struct netset *a, const struct netset *b)
{
	return same_below(a, a->root4, b, b->root4) &&
	       same_below(a, a->root6, b, b->root6);
}

size_t
netset_count(const struct netset *set)
{
	return set->count;
}

size_t
netset_bytes(const struct netset *set)
{
	return sizeof(*set) + set->node_room * sizeof(struct node);
}

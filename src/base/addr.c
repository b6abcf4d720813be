#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/hash.h"
#include "base/units.h"

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
	0xff };

static struct addr
make_ip4(const void *bytes, uint16_t port)
{
	struct addr a = { .family = ADDR_IP4, .port = port };

	memcpy(a.bytes, bytes, 4);
	return a;
}

static struct addr
make_ip6(const uint8_t *bytes, uint16_t port, uint32_t scope)
{
	struct addr a = { .family = ADDR_IP6, .port = port, .scope = scope };

	if (!memcmp(bytes, mapped_prefix, sizeof(mapped_prefix)))
		return make_ip4(bytes + sizeof(mapped_prefix), port);
	memcpy(a.bytes, bytes, 16);
	return a;
}

static bool
is_link_local(const struct addr *a)
{
	return a->family == ADDR_IP6 && a->bytes[0] == 0xfe &&
	       (a->bytes[1] & 0xc0) == 0x80;
}

/* The caller's storage may not be aligned for the type: copied, not cast. */
struct addr
addr_from_sockaddr(const struct sockaddr *sa)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&in, sa, sizeof(in));
		return make_ip4(&in.sin_addr, ntohs(in.sin_port));
	case AF_INET6:
		memcpy(&in6, sa, sizeof(in6));
		return make_ip6(in6.sin6_addr.s6_addr, ntohs(in6.sin6_port),
		    in6.sin6_scope_id);
	case AF_UNIX:
		return (struct addr){ .family = ADDR_UNIX };
	default:
		return (struct addr){ .family = ADDR_NONE };
	}
}

socklen_t
addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	memset(out, 0, sizeof(*out));
	if (a->family == ADDR_IP4) {
		memcpy(&in.sin_addr, a->bytes, 4);
		in.sin_port = htons(a->port);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	ASSERT(a->family == ADDR_IP6);
	memcpy(&in6.sin6_addr, a->bytes, 16);
	in6.sin6_port = htons(a->port);
	in6.sin6_scope_id = a->scope;
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

/* The "%3" of a link-local address: an interface by number, for names would
 * need a system call while somebody else's bytes are being read. */
static int
take_scope(struct span *text, uint32_t *scope)
{
	const uint8_t *percent = memchr(text->data, '%', text->len);
	struct span number;
	uint64_t value;

	*scope = 0;
	if (!percent)
		return 0;
	number = span_of(
	    percent + 1, (size_t)(text->data + text->len - percent - 1));
	text->len = (size_t)(percent - text->data);
	if (number_parse(number, 1, UINT32_MAX, &value) < 0 ||
	    number.data[0] == '0')
		return -EINVAL;
	*scope = (uint32_t)value;
	return 0;
}

int
addr_parse(struct span text, struct addr *out)
{
	char literal[INET6_ADDRSTRLEN];
	uint8_t bytes[16];
	uint32_t scope;

	if (text.len == 0 || take_scope(&text, &scope) < 0)
		return -EINVAL;
	if (text.len >= sizeof(literal) || memchr(text.data, '\0', text.len))
		return -EINVAL;
	memcpy(literal, text.data, text.len);
	literal[text.len] = '\0';
	if (scope == 0 && inet_pton(AF_INET, literal, bytes) == 1) {
		*out = make_ip4(bytes, 0);
		return 0;
	}
	if (inet_pton(AF_INET6, literal, bytes) != 1)
		return -EINVAL;
	struct addr parsed = make_ip6(bytes, 0, scope);
	if (scope != 0 && !is_link_local(&parsed))
		return -EINVAL;
	*out = parsed;
	return 0;
}

/* At once, not byte by byte: every policy asks for this. */
static void
add_ip4(struct text *t, const uint8_t bytes[4])
{
	char literal[16];
	size_t len = 0;

	for (size_t i = 0; i < 4; i++) {
		unsigned n = bytes[i];

		if (i > 0)
			literal[len++] = '.';
		if (n >= 100)
			literal[len++] = (char)('0' + n / 100);
		if (n >= 10)
			literal[len++] = (char)('0' + n / 10 % 10);
		literal[len++] = (char)('0' + n % 10);
	}
	text_add_span(t, span_of(literal, len));
}

void
addr_format_ip(const struct addr *a, char out[ADDR_TEXT_SIZE])
{
	char literal[INET6_ADDRSTRLEN];
	struct text t;

	text_init(&t, out, ADDR_TEXT_SIZE);
	switch (a->family) {
	case ADDR_IP4:
		add_ip4(&t, a->bytes);
		break;
	case ADDR_IP6:
		text_add(&t,
		    inet_ntop(AF_INET6, a->bytes, literal, sizeof(literal)));
		if (a->scope != 0)
			text_addf(&t, "%%%u", a->scope);
		break;
	case ADDR_UNIX:
		text_add(&t, "unix");
		break;
	default:
		text_add(&t, "unknown");
	}
}

void
addr_format(const struct addr *a, char out[ADDR_TEXT_SIZE])
{
	char ip[ADDR_TEXT_SIZE];
	struct text t;

	addr_format_ip(a, ip);
	text_init(&t, out, ADDR_TEXT_SIZE);
	if (a->family == ADDR_IP6)
		text_add_char(&t, '[');
	text_add(&t, ip);
	if (a->family == ADDR_IP6)
		text_add_char(&t, ']');
	if (a->family == ADDR_IP4 || a->family == ADDR_IP6) {
		text_add_char(&t, ':');
		text_add_number(&t, a->port);
	}
}

static size_t
address_bytes(const struct addr *a)
{
	switch (a->family) {
	case ADDR_IP4:
		return 4;
	case ADDR_IP6:
		return 16;
	default:
		return 0;
	}
}

bool
addr_same_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && a->scope == b->scope &&
	       !memcmp(a->bytes, b->bytes, address_bytes(a));
}

bool
addr_is_loopback(const struct addr *a)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (a->family == ADDR_IP4)
		return a->bytes[0] == 127;
	return a->family == ADDR_IP6 && !memcmp(a->bytes, loopback6, 16);
}

bool
addr_is_any(const struct addr *a)
{
	static const uint8_t any[16];

	if (a->family == ADDR_IP4)
		return !memcmp(a->bytes, any, 4);
	return a->family == ADDR_IP6 && !memcmp(a->bytes, any, 16);
}

uint64_t
addr_hash_ip(const struct addr *a)
{
	uint8_t key[17] = { a->family };
	size_t len = address_bytes(a);

	memcpy(key + 1, a->bytes, len);
	return hash_bytes(span_of(key, 1 + len));
}

static bool
bit_at(const struct addr *a, unsigned at)
{
	return a->bytes[at / 8] >> (7 - at % 8) & 1;
}

static bool
has_bits_beyond(const struct addr *a, unsigned prefix)
{
	for (unsigned at = prefix; at < address_bytes(a) * 8; at++)
		if (bit_at(a, at))
			return true;
	return false;
}

static int
parse_prefix(struct span text, uint64_t max, uint64_t *prefix)
{
	if (text.len > 1 && text.data[0] == '0')
		return -EINVAL;
	return number_parse(text, 0, max, prefix);
}

int
network_parse(struct span text, struct network *out, const char **why)
{
	const uint8_t *slash =
	    text.len > 0 ? memchr(text.data, '/', text.len) : NULL;
	struct span ip = text;
	struct addr base;
	uint64_t prefix, max, mapped_bits;

	if (slash)
		ip.len = (size_t)(slash - text.data);
	if (addr_parse(ip, &base) < 0 || base.scope != 0) {
		*why = "is not an IP address or network";
		return -EINVAL;
	}
	/* Written in IPv6 the prefix counts from the IPv6 address' start. A
	 * shorter one than 96 has bits set beyond it, those of ::ffff. */
	mapped_bits =
	    base.family == ADDR_IP4 && memchr(ip.data, ':', ip.len) ? 96 : 0;
	max = address_bytes(&base) * 8 + mapped_bits;
	prefix = max;
	if (slash && parse_prefix(span_of(slash + 1, text.len - ip.len - 1),
			 max, &prefix) < 0) {
		*why = "has no valid prefix length after the slash";
		return -EINVAL;
	}
	if (prefix < mapped_bits ||
	    has_bits_beyond(&base, (unsigned)(prefix - mapped_bits))) {
		*why = "has bits set beyond its prefix";
		return -EINVAL;
	}
	*out = (struct network){ base, (uint8_t)(prefix - mapped_bits) };
	return 0;
}

bool
network_contains(const struct network *n, const struct addr *a)
{
	unsigned whole = n->prefix / 8, rest = n->prefix % 8;

	if (n->base.family != a->family || address_bytes(a) == 0)
		return false;
	if (memcmp(n->base.bytes, a->bytes, whole) != 0)
		return false;
	if (rest == 0)
		return true;
	return (n->base.bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

#include "unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/addr.h"
#include "base/hash.h"

static struct addr
parsed(const char *text)
{
	struct addr a;

	ck_assert_msg(addr_parse(span_text(text), &a) == 0, "%s", text);
	return a;
}

static struct network
network(const char *text)
{
	struct network n;
	const char *why = "";

	ck_assert_msg(
	    network_parse(span_text(text), &n, &why) == 0, "%s: %s", text, why);
	return n;
}

static const struct {
	const char *text, *formatted;
} good_addrs[] = {
	{ "0.0.0.0", "0.0.0.0" },
	{ "192.0.2.1", "192.0.2.1" },
	{ "255.255.255.255", "255.255.255.255" },
	{ "::", "::" },
	{ "::1", "::1" },
	{ "2001:DB8::1", "2001:db8::1" },
	{ "2001:db8:0:0:0:0:0:1", "2001:db8::1" },
	{ "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8" },
	{ "fe80::1%3", "fe80::1%3" },
	{ "::ffff:192.0.2.1", "192.0.2.1" },
	{ "::FFFF:c000:201", "192.0.2.1" },
	{ "0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1" },
	{ "64:ff9b::192.0.2.1", "64:ff9b::c000:201" },
};

START_TEST(what_is_an_address_parses_and_formats)
{
	char text[ADDR_TEXT_SIZE];
	struct addr a = parsed(good_addrs[_i].text);

	ck_assert_uint_eq(a.port, 0);
	addr_format_ip(&a, text);
	ck_assert_str_eq(text, good_addrs[_i].formatted);
}
END_TEST

static const char *const bad_addrs[] = { "", " ", "1", "1.2.3", "1.2.3.4.5",
	"01.2.3.4", "1.2.3.04", "0x1.2.3.4", "1.2.3.256", "1.2.3.-4", "1.2.3.",
	".1.2.3", "1..2.3", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4:80", "127.1",
	"2130706433", "[::1]", "::1]", "[::1", ":", ":::", "1::2::3",
	"1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "g::", "::1.2.3",
	"::1.2.3.4.5", "::01.2.3.4", "1.2.3.4::", "fe80::1%", "fe80::1%0",
	"fe80::1%01", "fe80::1%eth0", "fe80::1%4294967296", "fe80::1%1%2",
	"::1%1", "1.2.3.4%1", "::ffff:1.2.3.4%1", "%1", "localhost",
	"2001:db8::1/64", "1.2.3.4/32",
	"1111:2222:3333:4444:5555:6666:7777:8888:"
	"1111:2222:3333:4444:5555:6666:7777:8888" };

START_TEST(what_is_no_address_is_refused)
{
	struct addr a;

	ck_assert_msg(addr_parse(span_text(bad_addrs[_i]), &a) == -EINVAL, "%s",
	    bad_addrs[_i]);
}
END_TEST

START_TEST(a_nul_inside_is_refused)
{
	struct addr a;

	ck_assert_int_eq(addr_parse(span_of("1.2.3.4\0x", 9), &a), -EINVAL);
	ck_assert_int_eq(addr_parse(span_of("1.2.3.4\0", 8), &a), -EINVAL);
	ck_assert_int_eq(addr_parse(span_of(NULL, 0), &a), -EINVAL);
}
END_TEST

/* Exact allocations, so that the address sanitizer sees a byte too far. */
START_TEST(no_prefix_of_a_text_is_read_beyond_its_end)
{
	const char *text = good_addrs[_i].text;

	for (size_t len = 1; len <= strlen(text); len++) {
		char *copy = malloc(len);
		struct network n;
		struct addr a;
		const char *why;

		memcpy(copy, text, len);
		if (addr_parse(span_of(copy, len), &a) == 0)
			ck_assert(a.family != ADDR_NONE);
		if (network_parse(span_of(copy, len), &n, &why) == 0)
			ck_assert(n.base.family != ADDR_NONE);
		free(copy);
	}
}
END_TEST

START_TEST(socket_addresses_go_both_ways)
{
	struct sockaddr_storage ss;
	struct addr a = parsed("192.0.2.7"), b = parsed("fe80::7%5");

	a.port = 443;
	b.port = 8443;
	ck_assert_uint_eq(
	    addr_to_sockaddr(&a, &ss), sizeof(struct sockaddr_in));
	struct addr a2 = addr_from_sockaddr((struct sockaddr *)&ss);
	ck_assert(addr_same_ip(&a, &a2));
	ck_assert_uint_eq(a2.port, 443);
	ck_assert_uint_eq(
	    addr_to_sockaddr(&b, &ss), sizeof(struct sockaddr_in6));
	struct addr b2 = addr_from_sockaddr((struct sockaddr *)&ss);
	ck_assert(addr_same_ip(&b, &b2));
	ck_assert_uint_eq(b2.port, 8443);
	ck_assert_uint_eq(b2.scope, 5);
}
END_TEST

START_TEST(a_mapped_peer_is_the_ip4_address)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
		.sin6_port = htons(99),
		.sin6_addr.s6_addr = {
		    [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1 } };
	struct addr a = addr_from_sockaddr((struct sockaddr *)&in6);
	struct addr expected = parsed("10.0.0.1");

	ck_assert_int_eq(a.family, ADDR_IP4);
	ck_assert_uint_eq(a.port, 99);
	ck_assert(addr_same_ip(&a, &expected));
	ck_assert_uint_eq(addr_hash_ip(&a), addr_hash_ip(&expected));
}
END_TEST

START_TEST(other_families_have_no_address)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr other = { .sa_family = AF_NETLINK };
	struct addr a = addr_from_sockaddr((struct sockaddr *)&un);
	struct addr b = addr_from_sockaddr(&other);
	char text[ADDR_TEXT_SIZE];

	ck_assert_int_eq(a.family, ADDR_UNIX);
	addr_format(&a, text);
	ck_assert_str_eq(text, "unix");
	ck_assert_int_eq(b.family, ADDR_NONE);
	addr_format(&b, text);
	ck_assert_str_eq(text, "unknown");
	ck_assert(!addr_same_ip(&a, &b));
	ck_assert(!addr_is_loopback(&a));
}
END_TEST

START_TEST(a_port_is_written_behind_the_address)
{
	char text[ADDR_TEXT_SIZE];
	struct addr a = parsed("192.0.2.1"), b = parsed("2001:db8::1");

	a.port = 443;
	b.port = 65535;
	addr_format(&a, text);
	ck_assert_str_eq(text, "192.0.2.1:443");
	addr_format(&b, text);
	ck_assert_str_eq(text, "[2001:db8::1]:65535");
}
END_TEST

START_TEST(the_longest_address_fits)
{
	char text[ADDR_TEXT_SIZE];
	struct addr a =
	    parsed("fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295");

	a.port = 65535;
	addr_format(&a, text);
	ck_assert_str_eq(
	    text, "[fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}
END_TEST

START_TEST(loopback_is_127_and_1)
{
	struct addr a = parsed("127.255.0.1"), b = parsed("::1"),
		    c = parsed("128.0.0.1"), d = parsed("::2"),
		    e = parsed("::ffff:127.0.0.1");

	ck_assert(addr_is_loopback(&a));
	ck_assert(addr_is_loopback(&b));
	ck_assert(!addr_is_loopback(&c));
	ck_assert(!addr_is_loopback(&d));
	ck_assert(addr_is_loopback(&e));
}
END_TEST

static const struct {
	const char *network, *inside, *outside;
} networks[] = {
	{ "192.0.2.0/24", "192.0.2.255", "192.0.3.0" },
	{ "192.0.2.128/25", "192.0.2.128", "192.0.2.127" },
	{ "10.0.0.0/8", "10.255.255.255", "11.0.0.0" },
	{ "192.0.2.1", "192.0.2.1", "192.0.2.2" },
	{ "192.0.2.1/32", "192.0.2.1", "192.0.2.0" },
	{ "0.0.0.0/0", "255.255.255.255", "::" },
	{ "::/0", "2001:db8::", "1.2.3.4" },
	{ "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::" },
	{ "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::" },
	{ "2001:db8::1", "2001:db8::1", "2001:db8::2" },
	{ "::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9" },
	{ "::ffff:0:0/96", "8.8.8.8", "::1" },
	{ "::ffff:192.0.2.1", "192.0.2.1", "::192.0.2.1" },
	{ "192.0.2.0/24", "::ffff:192.0.2.3", "::192.0.2.3" },
};

START_TEST(a_network_holds_its_addresses_only)
{
	struct network n = network(networks[_i].network);
	struct addr in = parsed(networks[_i].inside),
		    out = parsed(networks[_i].outside);

	ck_assert(network_contains(&n, &in));
	ck_assert(!network_contains(&n, &out));
}
END_TEST

static const char *const bad_networks[] = { "", "/", "/8", "10.0.0.0/",
	"10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/ 8", "10.0.0.0/08",
	"10.0.0.0/8 ", "10.0.0.0/8/8", "10.0.0.1/8", "10.0.0.0/255.0.0.0",
	"2001:db8::/129", "2001:db8::1/64", "::ffff:10.0.0.0/8",
	"::ffff:10.0.0.0/95", "::ffff:10.0.0.1/104", "::ffff:10.0.0.0/129",
	"fe80::%1/64", "fe80::1%1", "10/8", "10.0.0.0/99999999999999999999",
	"example.test" };

START_TEST(what_is_no_network_is_refused_with_a_reason)
{
	struct network n;
	const char *why = NULL;

	ck_assert_msg(
	    network_parse(span_text(bad_networks[_i]), &n, &why) == -EINVAL,
	    "%s", bad_networks[_i]);
	ck_assert_ptr_nonnull(why);
}
END_TEST

START_TEST(unknown_peers_are_in_no_network)
{
	struct network n = network("0.0.0.0/0"), six = network("::/0");
	struct addr none = { .family = ADDR_NONE },
		    un = { .family = ADDR_UNIX };

	ck_assert(!network_contains(&n, &none));
	ck_assert(!network_contains(&n, &un));
	ck_assert(!network_contains(&six, &none));
}
END_TEST

static bool
same_leading_bits(const struct addr *a, const struct addr *b, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if ((a->bytes[i / 8] ^ b->bytes[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

START_TEST(membership_is_that_of_the_leading_bits)
{
	for (int round = 0; round < 20000; round++) {
		struct network n = { .base.family = ADDR_IP6 };
		struct addr a = { .family = ADDR_IP6 };
		uint64_t at = random_quick() % 128;

		random_bytes(n.base.bytes, 16);
		memcpy(a.bytes, n.base.bytes, 16);
		a.bytes[at / 8] ^= (uint8_t)(0x80 >> at % 8);
		n.prefix = (uint8_t)(random_quick() % 129);
		ck_assert(network_contains(&n, &a) ==
			  same_leading_bits(&n.base, &a, n.prefix));
	}
}
END_TEST

static void
add_tests(TCase *tcase)
{
	tcase_add_loop_test(tcase, what_is_an_address_parses_and_formats, 0,
	    ARRAY_COUNT(good_addrs));
	tcase_add_loop_test(
	    tcase, what_is_no_address_is_refused, 0, ARRAY_COUNT(bad_addrs));
	tcase_add_test(tcase, a_nul_inside_is_refused);
	tcase_add_loop_test(tcase, no_prefix_of_a_text_is_read_beyond_its_end,
	    0, ARRAY_COUNT(good_addrs));
	tcase_add_test(tcase, socket_addresses_go_both_ways);
	tcase_add_test(tcase, a_mapped_peer_is_the_ip4_address);
	tcase_add_test(tcase, other_families_have_no_address);
	tcase_add_test(tcase, a_port_is_written_behind_the_address);
	tcase_add_test(tcase, the_longest_address_fits);
	tcase_add_test(tcase, loopback_is_127_and_1);
	tcase_add_loop_test(tcase, a_network_holds_its_addresses_only, 0,
	    ARRAY_COUNT(networks));
	tcase_add_loop_test(tcase, what_is_no_network_is_refused_with_a_reason,
	    0, ARRAY_COUNT(bad_networks));
	tcase_add_test(tcase, unknown_peers_are_in_no_network);
	tcase_add_test(tcase, membership_is_that_of_the_leading_bits);
}

UNIT_MAIN_TOGETHER("addr", add_tests)

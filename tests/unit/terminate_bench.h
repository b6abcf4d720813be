/*
 * What the tests of TLS that ends at the edge share: certificates of two names,
 * two CAs for clients, and an edge that knows them. Each program includes it
 * once.
 */
#ifndef TESTS_TERMINATE_BENCH_H
#define TESTS_TERMINATE_BENCH_H

#include "stages_bench.h"
#include "tls_client.h"

static struct made *ca, *client_ca, *other_ca;
static struct made *client, *stranger;

/* Made once: keys cost time. */
static inline void
make_all(void)
{
	if (ca)
		return;
	ca = make((struct recipe){ .ca = true });
	client_ca = make((struct recipe){ .ca = true });
	other_ca = make((struct recipe){ .ca = true });
	client = make((struct recipe){ .issuer = client_ca,
	    .common_name = "alice",
	    .names = "URI:spiffe://example.test/payments",
	    .extended_key_usage = "clientAuth" });
	stranger = make((struct recipe){ .issuer = other_ca,
	    .common_name = "mallory",
	    .extended_key_usage = "clientAuth" });
}

static inline void
add_certificate(const char *name, const char *names)
{
	struct made *leaf =
	    make((struct recipe){ .issuer = ca, .names = names });
	char file[64];

	snprintf(file, sizeof(file), "%s.crt", name);
	bench_script(&b, file, leaf->crt);
	snprintf(file, sizeof(file), "%s.key", name);
	bench_script(&b, file, leaf->key_pem);
}

static inline void
prepare(void)
{
	setup();
	make_all();
	add_certificate("a", "DNS:a.test");
	add_certificate("b", "DNS:b.test");
	bench_script(&b, "clients.pem", client_ca->crt);
	bench_script(&b, "others.pem", other_ca->crt);
	bench_script(&b, "ca.pem", ca->crt);
}

#define CERTIFICATES                                      \
	"certificates: [ { name: a, crt: $S/a.crt, key: " \
	"$S/a.key }, { name: b, crt: $S/b.crt, key: "     \
	"$S/b.key } ]\n"
#define TERMINATED(more)                                                   \
	"endpoints: [ { url: tls://a.test, terminate_at: edge, upstream: " \
	"127.0.0.1:$P, " more " } ]\n"
#define MUTUAL "mutual_tls: { cas: $S/clients.pem }"

static inline bool
hello(struct tls_end *t, struct tls_wish w)
{
	if (!w.name)
		w.name = "a.test";
	return tls_end_connect(t, bench_connect(&b), w);
}

#endif

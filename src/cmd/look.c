#include "cmd/look.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sys/socket.h"
#include "wire/alert.h"
#include "wire/proxy.h"

/* One address of a target. */
struct place {
	const struct look_target *target;
	const struct addr *addr; /* NULL: a Unix socket */
	char text[LOOK_WHERE_SIZE];
};

int
look_parse(struct span text, struct upstream_address *out, const char **why)
{
	char url[UPSTREAM_ADDRESS_SIZE];
	struct text t;

	text_init(&t, url, sizeof(url));
	text_add(&t, "tls://");
	text_add_span(&t, text);
	*why = "only HOST or HOST:PORT";
	if (t.truncated || memmem(text.data, text.len, "://", 3) != NULL)
		return -EINVAL;
	return upstream_address_parse(text_span(&t), out, why);
}

/* --- a handshake --- */

/* As the relay sends it, with the addresses of this connection. */
static bool
greet(int fd, const struct place *p)
{
	uint8_t header[PROXY_MAX_BYTES];
	struct proxy_writer w;
	struct addr own = { .family = ADDR_NONE };
	const struct addr *to = p->addr != NULL ? p->addr : &own;
	size_t len, count;

	if (p->target->proxy_proto == 0)
		return true;
	if (p->addr != NULL && socket_local_addr(fd, &own) < 0)
		return false;
	if (p->target->proxy_proto == 1) {
		len = proxy_write_v1(header, &own, to);
	} else {
		proxy_begin_v2(&w, header, sizeof(header), &own, to);
		len = proxy_finish_v2(&w, false);
	}
	return socket_write(fd, header, len, &count) == IO_OK && count == len;
}

static int
connect_to(const struct place *p)
{
	int fd = p->addr != NULL ? errand_connect(p->addr, LOOK_LIMIT_MS)
				 : errand_connect_unix(
				       p->target->address->path, LOOK_LIMIT_MS);

	if (fd >= 0 && !greet(fd, p)) {
		close(fd);
		return -ECONNRESET;
	}
	return fd;
}

/* Where another address may be as good: an IPv6 address, and a host without. */
static bool
has_no_route(int err)
{
	return err == -ENETUNREACH || err == -EADDRNOTAVAIL ||
	       err == -EAFNOSUPPORT;
}

static void
note_unconnected(struct look *l, const struct place *p, int err)
{
	bool no_route = has_no_route(err);

	if (no_route)
		l->unreachable++;
	else
		l->failed++;
	findings_add(l->findings, no_route ? FINDING_WARN : l->failure,
	    "%s at %s: cannot connect: %s%s", l->who, p->text,
	    log_errno_text(-err),
	    no_route ? "; this address is not compared" : "");
}

static void
note_probe(struct look *l, const struct place *p, const struct probe *seen,
    const char *version)
{
	char storage[LOOK_WHERE_SIZE];
	struct text where;

	text_init(&where, storage, sizeof(storage));
	text_addf(&where, "%s, TLS %s", p->text, version);
	if (seen->has_leaf) {
		l->shown++;
		l->on_leaf(l->owner, where.data, seen);
		return;
	}
	l->failed++;
	findings_add(l->findings, l->failure,
	    "%s at %s: no certificate is shown: %s", l->who, where.data,
	    seen->detail);
}

/* Of a handshake that failed it is not known, but it was at most this one. */
static const char *
version_text(const struct probe *seen, uint16_t max)
{
	uint16_t version = seen->version != 0 ? seen->version : max;

	if (version == 0)
		return "1.2 or 1.3";
	return version == TLS_VERSION_1_3 ? "1.3" : "1.2";
}

/* False without memory. */
static bool
try_version(
    struct look *l, const struct place *p, uint16_t max, struct probe *seen)
{
	struct probe_settings settings = {
		.server_name = host_span(p->target->name),
		.max_version = max,
	};
	int fd = connect_to(p), err;

	*seen = (struct probe){ .done = false };
	if (fd < 0) {
		note_unconnected(l, p, fd);
		return true;
	}
	settings.deadline_ms = clock_ms() + LOOK_LIMIT_MS;
	err = probe_run(fd, &settings, seen);
	close(fd);
	return err == 0;
}

/* Who speaks only one of the two refuses the other; that is no fault. */
static bool
refuses_version(const struct probe *seen)
{
	return seen->fault == TLS_FAULT_ALERT_RECEIVED &&
	       seen->alert == ALERT_PROTOCOL_VERSION;
}

static bool
look_at_place(struct look *l, const struct place *p)
{
	unsigned before = l->failed + l->unreachable;
	struct probe seen;
	bool newer;

	if (!try_version(l, p, 0, &seen))
		return false;
	if (l->failed + l->unreachable > before)
		return true;
	note_probe(l, p, &seen, version_text(&seen, 0));
	newer = seen.done && seen.version != TLS_VERSION_1_2;
	probe_fini(&seen);
	/* An interceptor may be one for the older version only. */
	if (!newer)
		return true;
	before = l->failed + l->unreachable;
	if (!try_version(l, p, TLS_VERSION_1_2, &seen))
		return false;
	if (l->failed + l->unreachable == before && !refuses_version(&seen))
		note_probe(l, p, &seen, version_text(&seen, TLS_VERSION_1_2));
	probe_fini(&seen);
	return true;
}

/* --- its addresses --- */

static bool
look_at_addr(struct look *l, const struct look_target *t, struct addr addr)
{
	struct place p = { .target = t, .addr = &addr };
	char ip[ADDR_TEXT_SIZE];
	struct text where;

	addr.port = t->address->port;
	addr_format(&addr, ip);
	text_init(&where, p.text, sizeof(p.text));
	text_add(&where, ip);
	if (t->address->kind == UPSTREAM_NAME)
		text_addf(&where, " (%s)", t->address->name.text);
	return look_at_place(l, &p);
}

static bool
look_at_name(struct look *l, const struct look_target *t)
{
	const char *name = t->address->name.text;
	struct resolver_answer answer;
	bool good = true;
	int err = errand_resolve(l->errand, &t->address->name, &answer);

	if (err < 0 || answer.count == 0) {
		l->failed++;
		findings_add(l->findings, l->failure, "%s: %s: no address: %s",
		    l->who, name,
		    err == -ENOENT || err == 0 ? "there is no such name"
					       : log_errno_text(-err));
		return true;
	}
	for (size_t i = 0; good && i < answer.count; i++)
		good = look_at_addr(l, t, answer.addrs[i]);
	return good;
}

bool
look_at(struct look *l, const struct look_target *t)
{
	struct place p = { .target = t };
	struct text where;

	switch (t->address->kind) {
	case UPSTREAM_IP:
		return look_at_addr(l, t, t->address->addr);
	case UPSTREAM_NAME:
		return look_at_name(l, t);
	default:
		text_init(&where, p.text, sizeof(p.text));
		text_addf(&where, "unix:%s", t->address->path);
		return look_at_place(l, &p);
	}
}

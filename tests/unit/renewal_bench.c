#include "renewal_bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tls/version.h"

/* --- the journal --- */

static struct {
	pthread_mutex_t lock;
	char text[1 << 20];
	size_t len;
} events = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool
sink_wants(struct journal_sink *s, const char *type)
{
	(void)s;
	(void)type;
	return true;
}

static int
sink_write(struct journal_sink *s, struct span lines)
{
	(void)s;
	pthread_mutex_lock(&events.lock);
	ASSERT(events.len + lines.len < sizeof(events.text));
	memcpy(events.text + events.len, lines.data, lines.len);
	events.len += lines.len;
	pthread_mutex_unlock(&events.lock);
	return 0;
}

static int
sink_reopen(struct journal_sink *s)
{
	(void)s;
	return 0;
}

static void
sink_free(struct journal_sink *s)
{
	free(s);
}

static struct journal_sink *
new_sink(void)
{
	struct journal_sink *s = calloc(1, sizeof(*s));

	ck_assert_ptr_nonnull(s);
	*s = (struct journal_sink){
		.wants = sink_wants,
		.write = sink_write,
		.reopen = sink_reopen,
		.free = sink_free,
	};
	return s;
}

static unsigned
lines_with(const char *all, const char *text, const char *also)
{
	unsigned count = 0;

	for (const char *line = all; *line;) {
		size_t len = strcspn(line, "\n");
		char *copy = strndup(line, len);

		count += strstr(copy, text) && (!also || strstr(copy, also));
		free(copy);
		line += len + (line[len] == '\n');
	}
	return count;
}

unsigned
told(const char *text, const char *also)
{
	unsigned count;

	pthread_mutex_lock(&events.lock);
	count = lines_with(events.text, text, also);
	pthread_mutex_unlock(&events.lock);
	return count;
}

unsigned
logged(const struct bench *b, const char *text, const char *also)
{
	static char all[1 << 20];
	FILE *f = fopen(path_of("log"), "r");
	size_t len;

	(void)b;
	ck_assert_ptr_nonnull(f);
	len = fread(all, 1, sizeof(all) - 1, f);
	fclose(f);
	all[len] = '\0';
	return lines_with(all, text, also);
}

/* --- files and the snapshot --- */

static void
init_snapshot(struct bench *b)
{
	struct snapshot *s = &b->snapshot;

	memset(s, 0, sizeof(*s));
	atomic_init(&s->refs, 1);
	s->begun_wall_us = clock_wall_us();
	s->keyring = keyring_new();
	ck_assert_ptr_nonnull(s->keyring);
	s->certificates = b->pairs;
	s->endpoints = b->endpoint_list;
	s->certificate_folders = b->folders;
	memset(&b->generation, 0, sizeof(b->generation));
	atomic_init(&b->generation.refs, 1);
	b->generation.snapshot = s;
}

void
renewal_bench_init(struct bench *b)
{
	struct log_settings log = {
		.target = path_of("log"),
		.format = LOG_FORMAT_LOGFMT,
		.level = LOG_LEVEL_DEBUG,
	};

	tls_library_keep();
	signal(SIGPIPE, SIG_IGN);
	memset(b, 0, sizeof(*b));
	b->folder = make_folder();
	ck_assert_int_eq(log_open(&log), 0);
	b->ca = make((struct recipe){ .ca = true, .common_name = "ca" });
	init_snapshot(b);
	b->journal = journal_new(new_sink());
	ck_assert_ptr_nonnull(b->journal);
}

void
renewal_bench_copy_fini(struct bench *b)
{
	/* Nobody else has kept one. */
	ck_assert_uint_eq(atomic_load(&b->generation.refs), 1);
	ck_assert_uint_eq(atomic_load(&b->snapshot.refs), 1);
	keyring_put(b->snapshot.keyring);
	for (size_t i = 0; i < b->snapshot.certificate_count; i++) {
		free(b->pairs[i].crt);
		free(b->pairs[i].key);
	}
	for (size_t i = 0; i < b->snapshot.endpoint_count; i++)
		trust_put(b->endpoints[i].termination.trust);
}

void
renewal_bench_fini(struct bench *b)
{
	journal_free(b->journal);
	renewal_bench_copy_fini(b);
	log_close();
}

void
renewal_bench_write_file(
    const struct bench *b, const char *name, const char *text)
{
	const char *path = path_of(name);
	char draft[600];
	FILE *f;

	(void)b;
	snprintf(draft, sizeof(draft), "%s.draft", path);
	f = fopen(draft, "w");
	QUICK_ASSERT(f != NULL);
	QUICK_ASSERT(fputs(text, f) >= 0);
	QUICK_ASSERT(fclose(f) == 0);
	QUICK_ASSERT(rename(draft, path) == 0);
}

void
renewal_bench_write(const struct bench *b, const char *name, struct made *leaf)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.key", name);
	renewal_bench_write_file(b, file, leaf->key_pem);
	snprintf(file, sizeof(file), "%s.crt", name);
	renewal_bench_write_file(b, file, join(leaf->crt, b->ca->crt, NULL));
}

struct made *
renewal_bench_leaf(const struct bench *b, const char *dns_name)
{
	char names[300];

	snprintf(names, sizeof(names), "DNS:%s", dns_name);
	return make((struct recipe){ .issuer = b->ca, .names = names });
}

static struct certificate *
load(const char *crt, const char *key)
{
	char storage[512];
	struct text error;
	struct certificate *c;

	text_init(&error, storage, sizeof(storage));
	c = certificate_load(crt, key, &error);
	if (!c)
		ck_abort_msg("%s", error.data);
	return c;
}

static size_t
take_pair(struct bench *b, const char *crt, const char *key)
{
	size_t at = b->snapshot.certificate_count++;
	struct certificate_settings *pair = &b->pairs[at];

	QUICK_ASSERT(at < BENCH_PAIRS);
	*pair = (struct certificate_settings){
		.crt = strdup(crt),
		.key = strdup(key),
	};
	QUICK_ASSERT(keyring_add(b->snapshot.keyring, NULL, load(crt, key),
			 &pair->id) == 0);
	return pair->id;
}

size_t
renewal_bench_add(struct bench *b, const char *name, struct made *leaf)
{
	char crt[600], key[600];

	renewal_bench_write(b, name, leaf);
	snprintf(crt, sizeof(crt), "%s/%s.crt", b->folder, name);
	snprintf(key, sizeof(key), "%s/%s.key", b->folder, name);
	return take_pair(b, crt, key);
}

static void
add_endpoint(struct bench *b, struct trust *t)
{
	size_t at = b->snapshot.endpoint_count++;

	ck_assert_uint_lt(at, BENCH_TRUSTS);
	b->endpoints[at].termination.trust = t;
	b->endpoint_list[at] = &b->endpoints[at];
}

struct trust *
renewal_bench_trust(struct bench *b, const char *name)
{
	const char *path = path_of(name);
	char storage[512];
	struct text error;
	struct trust *t;

	renewal_bench_write_file(b, name, b->ca->crt);
	text_init(&error, storage, sizeof(storage));
	t = trust_load(&path, 1, NULL, 0, &error);
	ck_assert_msg(t != NULL, "%s", error.data);
	add_endpoint(b, t);
	return t;
}

void
renewal_bench_copy(const struct bench *b, struct bench *out)
{
	memset(out, 0, sizeof(*out));
	out->folder = b->folder;
	out->ca = b->ca;
	out->journal = b->journal;
	init_snapshot(out);
	for (size_t i = 0; i < b->snapshot.certificate_count; i++) {
		const struct certificate_settings *pair = &b->pairs[i];

		take_pair(out, pair->crt, pair->key);
		out->pairs[i].ocsp_fetch = pair->ocsp_fetch;
		out->pairs[i].ocsp_off = pair->ocsp_off;
		out->pairs[i].ocsp_file = pair->ocsp_file;
	}
	for (size_t i = 0; i < b->snapshot.endpoint_count; i++)
		add_endpoint(out, trust_get(b->endpoints[i].termination.trust));
	out->folders[0] = b->folders[0];
	out->snapshot.certificate_folder_count =
	    b->snapshot.certificate_folder_count;
	out->snapshot.ticket_keys = b->snapshot.ticket_keys;
}

/* --- who serves --- */

static const char *
keep_fingerprint(struct certificate *c)
{
	static char texts[8][CERTIFICATE_FINGERPRINT_SIZE];
	static unsigned next;
	char *text = texts[next++ % 8];

	memcpy(text, certificate_fingerprint(c), CERTIFICATE_FINGERPRINT_SIZE);
	return text;
}

const char *
serves(const struct bench *b, size_t id)
{
	struct certificate *c = keyring_at(b->snapshot.keyring, id);
	const char *text = keep_fingerprint(c);

	certificate_put(c);
	return text;
}

const char *
serves_name(const struct bench *b, const char *name)
{
	struct key_choice choice;
	const char *text = NULL;

	if (!keyring_find(b->snapshot.keyring, span_text(name),
		clock_wall_us() / 1000000, &choice))
		return NULL;
	for (int i = 0; i < KEY_KIND_COUNT; i++)
		if (choice.by_kind[i])
			text = keep_fingerprint(choice.by_kind[i]);
	key_choice_put(&choice);
	return text;
}

const char *
fingerprint(const struct made *m)
{
	static char texts[8][CERTIFICATE_FINGERPRINT_SIZE];
	static unsigned next;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	char *text = texts[next++ % 8];

	QUICK_ASSERT(X509_digest(m->x509, EVP_sha256(), digest, &len) == 1);
	for (unsigned i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return text;
}

bool
is_stapled(const struct bench *b, size_t id)
{
	struct certificate *c = keyring_at(b->snapshot.keyring, id);
	bool is = certificate_is_stapled(c, clock_wall_us() / 1000000);

	certificate_put(c);
	return is;
}

/* --- the responder --- */

static struct span
sign_answer(const struct bench *b, OCSP_CERTID *id, int status, int life_s)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	time_t now = time(NULL);
	ASN1_TIME *from = ASN1_GENERALIZEDTIME_set(NULL, now - 60);
	ASN1_TIME *until = ASN1_GENERALIZEDTIME_set(NULL, now + life_s);
	ASN1_TIME *since = status == V_OCSP_CERTSTATUS_REVOKED ? from : NULL;
	unsigned char *der = NULL;
	OCSP_RESPONSE *answer;
	int len;

	ASSERT(
	    OCSP_basic_add1_status(basic, id, status, 0, since, from, until));
	ASSERT(OCSP_basic_sign(
	    basic, b->ca->x509, b->ca->key, EVP_sha256(), NULL, 0));
	answer = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
	len = i2d_OCSP_RESPONSE(answer, &der);
	ASSERT(len > 0);
	OCSP_RESPONSE_free(answer);
	OCSP_BASICRESP_free(basic);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return span_of(der, (size_t)len);
}

struct span
make_answer(const struct bench *b, const struct made *leaf, int life_s)
{
	OCSP_CERTID *id = OCSP_cert_to_id(NULL, leaf->x509, b->ca->x509);
	struct span answer = sign_answer(b, id, V_OCSP_CERTSTATUS_GOOD, life_s);

	OCSP_CERTID_free(id);
	return answer;
}

static struct span
answer_question(struct responder *r, const uint8_t *question, size_t len)
{
	const unsigned char *at = question;
	OCSP_REQUEST *q = d2i_OCSP_REQUEST(NULL, &at, (long)len);
	OCSP_CERTID *id;
	struct span answer;

	ASSERT(q != NULL);
	id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(q, 0));
	answer = sign_answer(r->bench, id,
	    atomic_load(&r->revoked) ? V_OCSP_CERTSTATUS_REVOKED
				     : V_OCSP_CERTSTATUS_GOOD,
	    atomic_load(&r->life_s));
	OCSP_REQUEST_free(q);
	return answer;
}

/* The request with its whole body; where that begins. */
static size_t
read_question(int fd, uint8_t *buffer, size_t size, size_t *len)
{
	const char *end, *field;

	*len = 0;
	for (;;) {
		ssize_t n = read(fd, buffer + *len, size - 1 - *len);

		if (n <= 0)
			return 0;
		*len += (size_t)n;
		buffer[*len] = '\0';
		end = strstr((char *)buffer, "\r\n\r\n");
		field = strcasestr((char *)buffer, "content-length:");
		if (!end || !field)
			continue;
		size_t start = (size_t)(end + 4 - (char *)buffer);

		if (*len >= start + strtoul(field + 15, NULL, 10))
			return start;
	}
}

static void
serve_one(struct responder *r, int fd)
{
	uint8_t buffer[8192];
	size_t len, start = read_question(fd, buffer, sizeof(buffer), &len);
	struct span answer;

	if (start == 0)
		return;
	atomic_fetch_add(&r->asked, 1);
	if (atomic_load(&r->silent)) {
		/* Until the other side gives up, or the test ends. */
		(void)!read(fd, buffer, sizeof(buffer));
		return;
	}
	if (atomic_load(&r->held))
		sem_wait(&r->released);
	answer = answer_question(r, buffer + start, len - start);
	dprintf(fd,
	    "HTTP/1.0 %d x\r\nContent-Type: application/ocsp-response\r\n"
	    "Content-Length: %zu\r\n\r\n",
	    atomic_load(&r->status), answer.len);
	/* Who is told of an error does not stay for the rest. */
	(void)!write(fd, answer.data, answer.len);
	OPENSSL_free((void *)(uintptr_t)answer.data);
}

static void *
responder_main(void *arg)
{
	struct responder *r = arg;

	for (;;) {
		int fd = accept(r->fd, NULL, NULL);

		if (fd < 0)
			return NULL;
		atomic_store(&r->talking_to, fd);
		serve_one(r, fd);
		atomic_store(&r->talking_to, -1);
		close(fd);
	}
}

void
responder_init(struct responder *r, const struct bench *b)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(a);

	memset(r, 0, sizeof(*r));
	r->bench = b;
	r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(r->fd, (struct sockaddr *)&a, len), 0);
	ck_assert_int_eq(listen(r->fd, 64), 0);
	ck_assert_int_eq(getsockname(r->fd, (struct sockaddr *)&a, &len), 0);
	snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u/ocsp",
	    ntohs(a.sin_port));
	atomic_store(&r->status, 200);
	atomic_store(&r->life_s, 7 * MADE_DAY);
	atomic_store(&r->talking_to, -1);
	ck_assert_int_eq(sem_init(&r->released, 0, 0), 0);
	ck_assert_int_eq(
	    pthread_create(&r->thread, NULL, responder_main, r), 0);
}

void
responder_release(struct responder *r)
{
	atomic_store(&r->held, false);
	sem_post(&r->released);
}

void
responder_fini(struct responder *r)
{
	int fd = atomic_load(&r->talking_to);

	responder_release(r);
	shutdown(r->fd, SHUT_RDWR);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	pthread_join(r->thread, NULL);
	sem_destroy(&r->released);
	close(r->fd);
}

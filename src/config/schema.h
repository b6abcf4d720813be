/*
 * The schema: every key that a configuration may hold, one entry a key, in
 * tables. Reading, errors, defaults and the manual's tables derive from them.
 *
 * A section is the keys of one map. A key says how its value is read (`read`),
 * where it is stored (`offset`, in the struct that its section fills), its
 * range, and what the manual says. A key without `read` belongs to a later
 * version: it is refused by name.
 *
 * A reader is one pass of one tree into one snapshot. It goes on after an
 * error, so that all of them are reported; a snapshot that any reader function
 * has complained about is thrown away. Main thread.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "config/index.h"
#include "config/snapshot.h"

/* A file is an edge's, or with `agent` an agent's; what a key may be in. */
enum file_kind { FILE_EDGE = 1 << 0, FILE_AGENT = 1 << 1 };

struct reader {
	struct snapshot *s;
	enum file_kind file;
	const char *folder; /* relative paths start here */
	struct problems *problems;
	bool failed;
	struct index scripts; /* path to its place in the snapshot */
	const struct node *default_endpoint; /* checked when all are known */
	const struct node **endpoint_nodes;  /* by the endpoint's index */
	struct certificate_reading *certificates; /* NULL: there are none */
	struct trust_reading *trusts;		  /* NULL: there are none */
	struct index names;			  /* of endpoints */
};

struct key;
typedef void read_function(struct reader *r, const struct node *n,
    const struct key *key, void *target);

enum change { ON_RELOAD, ON_RESTART };

struct section {
	const struct key *keys;
	size_t count;
	const struct section *also; /* more keys of the same map, or NULL */
};

struct key {
	const char *name;
	read_function *read;  /* NULL: not in this version */
	const char *type;     /* for the manual and for messages */
	size_t offset, size;  /* of the member; 0, 0: the reader knows */
	const char *fallback; /* the default as it would be written, or NULL */
	const char *shown;    /* the default in words, if not `fallback` */
	uint64_t min, max; /* of a value in ms or bytes; of a list's length */
	const char *const *words;      /* the choices, NULL at the end */
	const struct section *section; /* of a map, or of a list's maps */
	bool list;		       /* `section` is of its items */
	bool required;
	bool lazy;	/* `section` has its defaults only when written */
	unsigned files; /* bits of enum file_kind; 0: as the map around it */
	enum change change;
	const char *help; /* one sentence */
};

extern const struct section schema_root;
extern const struct section schema_listener;
extern const struct section schema_process;
extern const struct section schema_agents;
extern const struct section schema_agent;
extern const struct section schema_agent_tls;
extern const struct section schema_endpoint;
extern const struct section schema_upstream;
extern const struct section schema_event;
extern const struct section schema_certificate;
extern const struct section schema_mutual_tls;

/* "10ms to 1h": what a number, size or duration may be; nothing for others. */
void key_range(const struct key *key, struct text *out);

/* Where a key's value goes; a text there is replaced by `text`, which is
 * taken. */
void *key_member(const struct key *key, void *target);
void key_set_text(const struct key *key, void *target, char *text);

/* Notes an error; the reading goes on and its result is thrown away. */
void reader_complain(struct reader *r, const struct origin *where,
    const char *format, ...) PRINTF_LIKE(3, 4);
void reader_no_memory(struct reader *r);
/* Notes what is odd but no error. */
void reader_warn(struct reader *r, const struct origin *where,
    const char *format, ...) PRINTF_LIKE(3, 4);

/* Stores the defaults of all keys, those of maps below included. */
void section_defaults(
    struct reader *r, const struct section *section, void *target);

/* Reads a map into `target` by a section's keys. */
void section_read(struct reader *r, const struct node *n, const char *name,
    const struct section *section, void *target);

/*
 * Each of these complains and gives NULL, false or -1 when the value is not
 * what it should be. Texts that are returned are lent by the tree, or (char *)
 * the caller's.
 */
const char *reader_text(
    struct reader *r, const struct node *n, const struct key *key);
bool reader_list(struct reader *r, const struct node *n, const struct key *key);
int reader_word(struct reader *r, const struct node *n, const struct key *key);
bool reader_number(struct reader *r, const struct node *n,
    const struct key *key, uint64_t *out);
char *reader_copy(struct reader *r, const char *text);
/* Made relative to the folder of the file, or as it is from a flag. */
char *reader_path(
    struct reader *r, const struct node *n, const struct key *key);
/* The index of a script in the snapshot; the file must be readable. */
int reader_script(
    struct reader *r, const struct node *n, const struct key *key);
void *reader_array(struct reader *r, size_t count, size_t size);
/* Room for one element more behind the `count` that there are. NULL without
 * memory, and the array is as it was. */
void *reader_grow(struct reader *r, void *array, size_t count, size_t size);
bool reader_readable(struct reader *r, const struct node *n, const char *path);

/* Paths that a key names: one, or a list of them. */
struct path_list {
	char **paths;
	size_t count;
};

void path_list_fini(struct path_list *list);

/* Whether an error of tls/ is about this file: those begin with its path. */
bool error_is_about(const char *error, const char *path);
/* A list of texts. */
void reader_texts(struct reader *r, const struct node *n, const struct key *key,
    char ***out, size_t *count);

/* How values are read; `read` of a key. Common ones: */
read_function read_section, read_text, read_path, read_readable_file,
    read_duration, read_size, read_number, read_boolean, read_word,
    read_networks, read_paths;
/* of the edge: */
read_function read_version, read_listeners, read_listen_address,
    read_proxy_versions, read_workers, read_default_endpoint, read_policy_file,
    read_folders, read_servers, read_log_target, read_events, read_event_types,
    read_certificates, read_ocsp;
/* of edge.agents, and of an agent: */
read_function read_base_domain, read_agents, read_server_names, read_agent,
    read_edges, read_authtoken, read_authtoken_file, read_connect_cas,
    read_proxy_url, read_web_addr;
/* of an endpoint: */
read_function read_endpoints, read_url, read_upstreams, read_upstream_address,
    read_restriction, read_proxy_tlvs, read_endpoint_policy, read_labels,
    read_metadata, read_tls_version, read_alpn, read_mutual_tls, read_verify,
    read_upstream_cas, read_server_name, read_terminate_at, read_endpoint_name,
    read_agent_tls;

/* An upstream as it is written. */
struct upstream_entry {
	struct upstream_settings upstream;
	uint8_t proxy_proto; /* 0: not said */
};

/* `agent_tls_termination` as it is written. */
struct agent_tls_entry {
	char *crt, *key;
	struct path_list cas;
};

/* "edge" or "agent": the section of the process itself, for messages, and the
 * word for "here" in `terminate_at`. */
const char *reader_self(const struct reader *r);
/* Whether the client's TLS ends in the process that reads this. */
bool reader_ends_here(const struct reader *r, const struct endpoint *e);

/* ":443" or "192.0.2.1:443". NULL, or what is wrong with it. */
const char *listen_address_parse(struct span text, struct addr *out);

/* The CAs in those files, with a reference; NULL after a complaint. */
struct trust *reader_trust(
    struct reader *r, const struct node *n, const struct path_list *cas);

/* One entry of `certificates`: a pair, or a folder of pairs. */
struct certificate_entry {
	struct certificate_settings pair;
	char *folder;
};

/* `mutual_tls` as it is written. */
struct mutual_tls_entry {
	struct path_list cas, crls;
	unsigned mode;
};

/* Puts the edge's state folder where it belongs if the file does not say. */
void reader_default_state(struct reader *r);

/* Loads all certificates that were read, into the snapshot's keyring. */
void certificates_load(struct reader *r);
/* Complains unless there is a certificate with this label. */
void certificates_need_label(
    struct reader *r, const struct node *n, const char *label);
/* Whether a certificate could be shown for the pattern, or it cannot be known
 * since some could not be loaded. */
bool certificates_cover(struct reader *r, const struct host *pattern);
/* Adds a pair that an endpoint brings itself. Takes the three texts. */
void certificates_add(struct reader *r, const struct node *crt,
    const struct node *key, struct certificate_settings *pair);
void certificates_done(struct reader *r);

/* What is wrong with how an endpoint ends TLS, and begins it again. */
void check_termination(
    struct reader *r, struct endpoint *e, const struct node *n);
/* After the default endpoint was found. */
void check_default_termination(struct reader *r);
void trusts_done(struct reader *r);

/* What one key alone cannot show: duplicates, missing parts, what would loop.
 */
void check_snapshot(struct reader *r, const struct node *root);
void check_endpoints(struct reader *r, const struct node *root);
/* Of an edge, when its endpoints are known. */
void check_agents(struct reader *r, const struct node *root);
/* What an agent's endpoint would send to the edge. */
void check_bind(struct reader *r, struct endpoint *e, const struct node *n);
void check_agent_tls(
    struct reader *r, const struct endpoint *e, const struct node *n);

struct endpoint *endpoint_new(void);

#endif

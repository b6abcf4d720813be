#include <errno.h>

#include "tunnel/fields.h"

/* --- Opts, as they are asked for --- */

static const struct field mutual_tls_table[] = {
	{
	    .name = "mutual_tls_ca",
	    .kind = FIELD_BYTES,
	    .max = MESSAGE_PEM_MAX,
	    .spare = true,
	    FIELD_AT(bind_options, mutual_tls_ca),
	},
};
static const struct fields mutual_tls_fields = FIELDS_OF(mutual_tls_table);

static const struct field termination_table[] = {
	{
	    .name = "cert",
	    .kind = FIELD_BYTES,
	    .max = MESSAGE_PEM_MAX,
	    .spare = true,
	    FIELD_AT(bind_options, cert),
	},
	{
	    .name = "key",
	    .kind = FIELD_BYTES,
	    .max = MESSAGE_PEM_MAX,
	    .spare = true,
	    FIELD_AT(bind_options, key),
	},
	/* A key that only ngrok's own service could open. */
	{
	    .name = "sealed_key",
	    .kind = FIELD_CONTENT,
	    FIELD_AT(bind_options, has_sealed_key),
	},
};
static const struct fields termination_fields = FIELDS_OF(termination_table);

static const struct field restriction_table[] = {
	{
	    .name = "allow_cidrs",
	    .kind = FIELD_TEXTS,
	    .max = MESSAGE_WORD_MAX,
	    .items = MESSAGE_MAX_NETWORKS,
	    FIELD_AT(bind_options, allow_cidrs),
	},
	{
	    .name = "deny_cidrs",
	    .kind = FIELD_TEXTS,
	    .max = MESSAGE_WORD_MAX,
	    .items = MESSAGE_MAX_NETWORKS,
	    FIELD_AT(bind_options, deny_cidrs),
	},
};
static const struct fields restriction_fields = FIELDS_OF(restriction_table);

static const struct field bind_options_table[] = {
	TEXT_FIELD("URL", bind_options, url, MESSAGE_LINE_MAX),
	TEXT_FIELD("Domain", bind_options, domain, MESSAGE_LINE_MAX),
	TEXT_FIELD("Hostname", bind_options, hostname, MESSAGE_LINE_MAX),
	TEXT_FIELD("Subdomain", bind_options, subdomain, MESSAGE_LINE_MAX),
	NUMBER_FIELD("ProxyProto", bind_options, proxy_proto, 0, 2),
	{
	    .name = "TerminateAt",
	    .kind = FIELD_TEXT,
	    .max = MESSAGE_WORD_MAX,
	    .spare = true,
	    FIELD_AT(bind_options, terminate_at),
	},
	BOOL_FIELD("MutualTLSAtAgent", bind_options, mutual_tls_at_agent),
	{
	    .name = "MutualTLSAtEdge",
	    .kind = FIELD_OBJECT,
	    .fields = &mutual_tls_fields,
	    .told = true,
	    .spare = true,
	    FIELD_AT(bind_options, has_mutual_tls_at_edge),
	},
	{
	    .name = "TLSTermination",
	    .kind = FIELD_OBJECT,
	    .fields = &termination_fields,
	    .told = true,
	    .spare = true,
	    FIELD_AT(bind_options, ends_at_edge),
	},
	{
	    .name = "IPRestriction",
	    .kind = FIELD_OBJECT,
	    .fields = &restriction_fields,
	    .spare = true,
	},
	{
	    .name = "TrafficPolicy",
	    .kind = FIELD_CONTENT,
	    FIELD_AT(bind_options, has_traffic_policy),
	},
	{
	    .name = "Policy",
	    .kind = FIELD_CONTENT,
	    FIELD_AT(bind_options, has_traffic_policy),
	},
};
static const struct fields bind_options_fields = FIELDS_OF(bind_options_table);

/* --- Bind --- */

static const struct field bind_extra_table[] = {
	TEXT_FIELD("Name", bind, name, MESSAGE_LINE_MAX),
	TEXT_FIELD("Token", bind, token, MESSAGE_TOKEN_MAX),
	TEXT_FIELD("IPPolicyRef", bind, ip_policy_ref, MESSAGE_LINE_MAX),
	TEXT_FIELD("Metadata", bind, metadata, MESSAGE_METADATA_MAX),
	TEXT_FIELD("Description", bind, description, MESSAGE_DESCRIPTION_MAX),
	{
	    .name = "Bindings",
	    .kind = FIELD_TEXTS,
	    .max = MESSAGE_WORD_MAX,
	    .items = 16,
	    FIELD_AT(bind, bindings),
	},
	{
	    .name = "PoolingEnabled",
	    .also = "AllowsPooling",
	    .kind = FIELD_BOOL,
	    FIELD_AT(bind, pooling_enabled),
	},
};
static const struct fields bind_extra_fields = FIELDS_OF(bind_extra_table);

static const struct field bind_table[] = {
	TEXT_FIELD("Id", bind, id, MESSAGE_ID_MAX),
	TEXT_FIELD("Proto", bind, proto, MESSAGE_WORD_MAX),
	TEXT_FIELD("ForwardsTo", bind, forwards_to, MESSAGE_LINE_MAX),
	TEXT_FIELD("ForwardsProto", bind, forwards_proto, MESSAGE_WORD_MAX),
	NESTED_FIELDS("Opts", bind, options, bind_options_fields),
	INNER_FIELDS("Extra", bind_extra_fields),
};
static const struct fields bind_fields = FIELDS_OF(bind_table);

static const char *
objection_to(const struct bind_options *o)
{
	if (o->has_sealed_key)
		return "Opts.TLSTermination.sealed_key cannot be opened here";
	if (o->cert.len > 0 && o->key.len == 0)
		return "Opts.TLSTermination has a cert without a key";
	if (o->cert.len == 0 && o->key.len > 0)
		return "Opts.TLSTermination has a key without a cert";
	if (o->has_mutual_tls_at_edge && o->mutual_tls_ca.len == 0)
		return "Opts.MutualTLSAtEdge has no mutual_tls_ca";
	return NULL;
}

int
bind_read(struct span json, struct bind *out, struct text *error)
{
	int result = fields_read(
	    &bind_fields, json, MESSAGE_MAX_BYTES, out, sizeof(*out), error);
	const char *why = result == 0 ? objection_to(&out->options) : NULL;

	if (!why)
		return result;
	text_add(error, why);
	bind_fini(out);
	return -EPROTO;
}

MESSAGE_WRITE(bind)
MESSAGE_FINI(bind)

/* --- the response; SDKs of Rust need all of Opts but what may be null --- */

/* What is secret, or large, goes back blank. */
static const struct field blank_mutual_tls_table[] = {
	{ .name = "mutual_tls_ca", .kind = FIELD_BLANK },
};
static const struct fields blank_mutual_tls_fields =
    FIELDS_OF(blank_mutual_tls_table);

static const struct field blank_termination_table[] = {
	{ .name = "cert", .kind = FIELD_BLANK },
	{ .name = "key", .kind = FIELD_BLANK },
	{ .name = "sealed_key", .kind = FIELD_BLANK },
};
static const struct fields blank_termination_fields =
    FIELDS_OF(blank_termination_table);

static const struct field response_options_table[] = {
	TEXT_FIELD("URL", bind_options, url, MESSAGE_LINE_MAX),
	TEXT_FIELD("Domain", bind_options, domain, MESSAGE_LINE_MAX),
	TEXT_FIELD("Hostname", bind_options, hostname, MESSAGE_LINE_MAX),
	TEXT_FIELD("Subdomain", bind_options, subdomain, MESSAGE_LINE_MAX),
	NUMBER_FIELD("ProxyProto", bind_options, proxy_proto, 0, 2),
	{
	    .name = "TerminateAt",
	    .kind = FIELD_TEXT,
	    .max = MESSAGE_WORD_MAX,
	    .spare = true,
	    FIELD_AT(bind_options, terminate_at),
	},
	BOOL_FIELD("MutualTLSAtAgent", bind_options, mutual_tls_at_agent),
	{
	    .name = "MutualTLSAtEdge",
	    .kind = FIELD_OBJECT,
	    .fields = &blank_mutual_tls_fields,
	    .told = true,
	    .spare = true,
	    FIELD_AT(bind_options, has_mutual_tls_at_edge),
	},
	{
	    .name = "TLSTermination",
	    .kind = FIELD_OBJECT,
	    .fields = &blank_termination_fields,
	    .told = true,
	    .spare = true,
	    FIELD_AT(bind_options, ends_at_edge),
	},
	{
	    .name = "IPRestriction",
	    .kind = FIELD_OBJECT,
	    .fields = &restriction_fields,
	    .spare = true,
	},
};
static const struct fields response_options_fields =
    FIELDS_OF(response_options_table);

static const struct field bind_response_extra_table[] = {
	TEXT_FIELD("Token", bind_response, token, MESSAGE_TOKEN_MAX),
};
static const struct fields bind_response_extra_fields =
    FIELDS_OF(bind_response_extra_table);

static const struct field bind_response_table[] = {
	TEXT_FIELD("Id", bind_response, id, MESSAGE_ID_MAX),
	TEXT_FIELD("URL", bind_response, url, MESSAGE_LINE_MAX),
	TEXT_FIELD("Proto", bind_response, proto, MESSAGE_WORD_MAX),
	NESTED_FIELDS("Opts", bind_response, options, response_options_fields),
	TEXT_FIELD("Error", bind_response, error, MESSAGE_ERROR_TEXT_MAX),
	INNER_FIELDS("Extra", bind_response_extra_fields),
};
static const struct fields bind_response_fields =
    FIELDS_OF(bind_response_table);

MESSAGE_FUNCTIONS(bind_response)

static const struct field whole_response_table[] = {
	TEXT_FIELD("Id", bind_response, id, MESSAGE_ID_MAX),
	TEXT_FIELD("URL", bind_response, url, MESSAGE_LINE_MAX),
	TEXT_FIELD("Proto", bind_response, proto, MESSAGE_WORD_MAX),
	NESTED_FIELDS("Opts", bind_response, options, bind_options_fields),
	TEXT_FIELD("Error", bind_response, error, MESSAGE_ERROR_TEXT_MAX),
	INNER_FIELDS("Extra", bind_response_extra_fields),
};
static const struct fields whole_response_fields =
    FIELDS_OF(whole_response_table);

int
bind_response_write_whole(const struct bind_response *b, struct span *out)
{
	return fields_write(&whole_response_fields, b, MESSAGE_MAX_BYTES, out);
}

/* --- Unbind --- */

static const struct field unbind_table[] = {
	TEXT_FIELD("Id", unbind, id, MESSAGE_ID_MAX),
};
static const struct fields unbind_fields = FIELDS_OF(unbind_table);

MESSAGE_FUNCTIONS(unbind)

/* --- StartTunnelWithLabel --- */

static const struct field start_labelled_table[] = {
	{
	    .name = "Labels",
	    .kind = FIELD_LABELS,
	    .max = MESSAGE_LABEL_MAX,
	    .items = MESSAGE_MAX_LABELS,
	    FIELD_AT(start_labelled, labels),
	},
	TEXT_FIELD("ForwardsTo", start_labelled, forwards_to, MESSAGE_LINE_MAX),
	TEXT_FIELD(
	    "ForwardsProto", start_labelled, forwards_proto, MESSAGE_WORD_MAX),
	TEXT_FIELD("Metadata", start_labelled, metadata, MESSAGE_METADATA_MAX),
};
static const struct fields start_labelled_fields =
    FIELDS_OF(start_labelled_table);

MESSAGE_FUNCTIONS(start_labelled)

static const struct field start_labelled_response_table[] = {
	TEXT_FIELD("Id", start_labelled_response, id, MESSAGE_ID_MAX),
	TEXT_FIELD(
	    "Error", start_labelled_response, error, MESSAGE_ERROR_TEXT_MAX),
};
static const struct fields start_labelled_response_fields =
    FIELDS_OF(start_labelled_response_table);

MESSAGE_FUNCTIONS(start_labelled_response)

#include "tunnel/fields.h"
#include "tls/token.h"

#define DURATION_MAX INT64_MAX /* of a field in nanoseconds */

/* --- Auth --- */

static const struct field auth_extra_table[] = {
	TEXT_FIELD("OS", auth, os, MESSAGE_WORD_MAX),
	TEXT_FIELD("Arch", auth, arch, MESSAGE_WORD_MAX),
	{
	    .name = "AuthToken",
	    .also = "Authtoken",
	    .kind = FIELD_TEXT,
	    .max = MESSAGE_TOKEN_MAX,
	    FIELD_AT(auth, auth_token),
	},
	TEXT_FIELD("Version", auth, version, MESSAGE_WORD_MAX),
	TEXT_FIELD("Hostname", auth, hostname, MESSAGE_LINE_MAX),
	TEXT_FIELD("UserAgent", auth, user_agent, MESSAGE_LINE_MAX),
	TEXT_FIELD("Metadata", auth, metadata, MESSAGE_METADATA_MAX),
	TEXT_FIELD("Cookie", auth, cookie, MESSAGE_COOKIE_MAX),
	NUMBER_FIELD(
	    "HeartbeatInterval", auth, heartbeat_interval_ns, 0, DURATION_MAX),
	NUMBER_FIELD("HeartbeatTolerance", auth, heartbeat_tolerance_ns, 0,
	    DURATION_MAX),
	{
	    .name = "UpdateUnsupportedError",
	    .kind = FIELD_NULLABLE_TEXT,
	    .max = MESSAGE_LINE_MAX,
	    FIELD_AT(auth, update_unsupported),
	},
	{
	    .name = "StopUnsupportedError",
	    .kind = FIELD_NULLABLE_TEXT,
	    .max = MESSAGE_LINE_MAX,
	    FIELD_AT(auth, stop_unsupported),
	},
	{
	    .name = "RestartUnsupportedError",
	    .kind = FIELD_NULLABLE_TEXT,
	    .max = MESSAGE_LINE_MAX,
	    FIELD_AT(auth, restart_unsupported),
	},
	TEXT_FIELD("ProxyType", auth, proxy_type, MESSAGE_WORD_MAX),
	BOOL_FIELD("MutualTLS", auth, mutual_tls),
	BOOL_FIELD("ServiceRun", auth, service_run),
	TEXT_FIELD("ConfigVersion", auth, config_version, MESSAGE_WORD_MAX),
	BOOL_FIELD("CustomInterface", auth, custom_interface),
	BOOL_FIELD("CustomCAs", auth, custom_cas),
	TEXT_FIELD("ClientType", auth, client_type, MESSAGE_WORD_MAX),
	{
	    .name = "DataEncryption",
	    .kind = FIELD_TEXT,
	    .max = MESSAGE_WORD_MAX,
	    .spare = true,
	    FIELD_AT(auth, data_encryption),
	},
	NUMBER_FIELD("LegNumber", auth, leg_number, 0, UINT32_MAX),
	{
	    .name = "TokenId",
	    .kind = FIELD_BYTES,
	    .min = TOKEN_ID_BYTES,
	    .max = TOKEN_ID_BYTES,
	    .spare = true,
	    FIELD_AT(auth, token_id),
	},
	{
	    .name = "Proof",
	    .kind = FIELD_BYTES,
	    .min = TOKEN_MIN_BYTES,
	    .max = TOKEN_MAX_BYTES,
	    .spare = true,
	    FIELD_AT(auth, proof),
	},
};
static const struct fields auth_extra_fields = FIELDS_OF(auth_extra_table);

static const struct field auth_table[] = {
	{
	    .name = "Version",
	    .kind = FIELD_TEXTS,
	    .max = MESSAGE_WORD_MAX,
	    .items = 16,
	    FIELD_AT(auth, versions),
	},
	TEXT_FIELD("ClientId", auth, client_id, MESSAGE_ID_MAX),
	INNER_FIELDS("Extra", auth_extra_fields),
};
static const struct fields auth_fields = FIELDS_OF(auth_table);

MESSAGE_FUNCTIONS(auth)

static const struct field auth_response_extra_table[] = {
	TEXT_FIELD("Version", auth_response, server_version, MESSAGE_WORD_MAX),
	TEXT_FIELD("Region", auth_response, region, MESSAGE_WORD_MAX),
	TEXT_FIELD("Cookie", auth_response, cookie, MESSAGE_COOKIE_MAX),
	TEXT_FIELD(
	    "AccountName", auth_response, account_name, MESSAGE_LINE_MAX),
	NUMBER_FIELD(
	    "SessionDuration", auth_response, session_seconds, 0, INT64_MAX),
	TEXT_FIELD("PlanName", auth_response, plan_name, MESSAGE_LINE_MAX),
	TEXT_FIELD("Banner", auth_response, banner, MESSAGE_METADATA_MAX),
	TEXT_FIELD(
	    "AgentSessionID", auth_response, agent_session_id, MESSAGE_ID_MAX),
	{
	    .name = "SessionId",
	    .kind = FIELD_BYTES,
	    .min = MESSAGE_SESSION_ID_BYTES,
	    .max = MESSAGE_SESSION_ID_BYTES,
	    .spare = true,
	    FIELD_AT(auth_response, session_id),
	},
};
static const struct fields auth_response_extra_fields =
    FIELDS_OF(auth_response_extra_table);

static const struct field auth_response_table[] = {
	TEXT_FIELD("Version", auth_response, version, MESSAGE_WORD_MAX),
	TEXT_FIELD("ClientId", auth_response, client_id, MESSAGE_ID_MAX),
	TEXT_FIELD("Error", auth_response, error, MESSAGE_ERROR_TEXT_MAX),
	INNER_FIELDS("Extra", auth_response_extra_fields),
};
static const struct fields auth_response_fields =
    FIELDS_OF(auth_response_table);

MESSAGE_FUNCTIONS(auth_response)

/* --- SrvInfo --- */

static const struct field srv_info_response_table[] = {
	TEXT_FIELD("Region", srv_info_response, region, MESSAGE_WORD_MAX),
};
static const struct fields srv_info_response_fields =
    FIELDS_OF(srv_info_response_table);

MESSAGE_FUNCTIONS(srv_info_response)

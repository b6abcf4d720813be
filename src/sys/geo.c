#include "sys/geo.h"

#include "config.h"

#ifdef HAVE_GEO

#include <maxminddb.h>
#include <stdlib.h>

struct geo {
	MMDB_s db;
};

#define MAX_STEPS 4

/* The names of conn.geo and conn.as, and where a database keeps them. */
#define GEO_TABLE(X)                                         \
	X("country_code", "country", "iso_code")             \
	X("country", "country", "names", "en")               \
	X("continent_code", "continent", "code")             \
	X("continent", "continent", "names", "en")           \
	X("subdivision", "subdivisions", "0", "names", "en") \
	X("city", "city", "names", "en")                     \
	X("latitude", "location", "latitude")                \
	X("longitude", "location", "longitude")              \
	X("radius", "location", "accuracy_radius")           \
	X("as.number", "autonomous_system_number")           \
	X("as.organization", "autonomous_system_organization")

static const struct geo_field {
	const char *name;
	const char *path[MAX_STEPS + 1];
} fields[] = {
#define GEO_FIELD(field_name, ...) { field_name, { __VA_ARGS__, NULL } },
	GEO_TABLE(GEO_FIELD)
#undef GEO_FIELD
};

static const struct geo_field *
find_field(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
		if (!strcmp(fields[i].name, name))
			return &fields[i];
	return NULL;
}

struct geo *
geo_open(const char *path, struct text *error)
{
	struct geo *g = malloc(sizeof(*g));
	int status;

	if (g == NULL) {
		text_addf(error, "%s: no memory", path);
		return NULL;
	}
	status = MMDB_open(path, MMDB_MODE_MMAP, &g->db);
	if (status == MMDB_SUCCESS)
		return g;
	text_addf(error, "%s: %s", path, MMDB_strerror(status));
	free(g);
	return NULL;
}

void
geo_close(struct geo *g)
{
	if (g == NULL)
		return;
	MMDB_close(&g->db);
	free(g);
}

/* What does not fit is no answer: a policy must not compare half a name. */
static bool
write_value(const MMDB_entry_data_s *data, struct text *t)
{
	switch (data->type) {
	case MMDB_DATA_TYPE_UTF8_STRING:
		text_add_span(t, span_of(data->utf8_string, data->data_size));
		break;
	case MMDB_DATA_TYPE_DOUBLE:
		text_addf(t, "%.10g", data->double_value);
		break;
	case MMDB_DATA_TYPE_FLOAT:
		text_addf(t, "%.7g", (double)data->float_value);
		break;
	case MMDB_DATA_TYPE_UINT16:
		text_addf(t, "%u", data->uint16);
		break;
	case MMDB_DATA_TYPE_UINT32:
		text_addf(t, "%u", data->uint32);
		break;
	default:
		return false;
	}
	return !t->truncated;
}

static bool
find_entry(const struct geo *g, const struct addr *a, MMDB_entry_s *out)
{
	struct sockaddr_storage sa;
	MMDB_lookup_result_s found;
	int status;

	if (a->family != ADDR_IP4 && a->family != ADDR_IP6)
		return false;
	addr_to_sockaddr(a, &sa);
	found =
	    MMDB_lookup_sockaddr(&g->db, (const struct sockaddr *)&sa, &status);
	*out = found.entry;
	return status == MMDB_SUCCESS && found.found_entry;
}

bool
geo_lookup(const struct geo *g, const struct addr *a, const char *field,
    char *out, size_t size)
{
	const struct geo_field *f = find_field(field);
	MMDB_entry_data_s data;
	MMDB_entry_s entry;
	struct text t;

	text_init(&t, out, size);
	if (f == NULL || !find_entry(g, a, &entry))
		return false;
	if (MMDB_aget_value(&entry, &data, f->path) != MMDB_SUCCESS ||
	    !data.has_data)
		return false;
	return write_value(&data, &t);
}

#else

struct geo *
geo_open(const char *path, struct text *error)
{
	text_addf(
	    error, "%s: this lunette was built without libmaxminddb", path);
	return NULL;
}

bool
geo_lookup(const struct geo *g, const struct addr *a, const char *field,
    char *out, size_t size)
{
	(void)g, (void)a, (void)field, (void)out, (void)size;
	return false;
}

void
geo_close(struct geo *g)
{
	(void)g;
}

#endif

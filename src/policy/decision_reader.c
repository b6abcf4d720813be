#include "policy/decision_reader.h"

#include <math.h>
#include <stdlib.h>

#include "base/nearest.h"

void
decision_reader_init(struct reader *r, lua_State *L, struct policy *p,
    struct policy_conn *c, struct decision *d, struct text *why)
{
	r->L = L;
	r->policy = p;
	r->conn = c;
	r->d = d;
	r->why = why;
	r->subject = "decision";
	r->within = NULL;
	r->says_how_to_deny = false;
	r->used = 0;
}

bool
decision_refuse(struct reader *r, const char *key, const char *format, ...)
{
	va_list args;

	text_addf(r->why, "%s: ", r->subject);
	if (r->within && strcmp(r->within, key) != 0)
		text_addf(r->why, "%s.", r->within);
	if (key[0])
		text_addf(r->why, "%s: ", key);
	va_start(args, format);
	text_vaddf(r->why, format, args);
	va_end(args);
	return false;
}

bool
decision_refuse_type(struct reader *r, const char *key, const char *wanted)
{
	return decision_refuse(r, key, "must be a %s, not a %s", wanted,
	    lua_typename(r->L, lua_type(r->L, -1)));
}

/* ---- values ---- */

bool
decision_boolean(struct reader *r, const char *key, bool *out)
{
	if (!lua_isboolean(r->L, -1))
		return decision_refuse_type(r, key, "boolean");
	*out = lua_toboolean(r->L, -1);
	return true;
}

bool
decision_number(
    struct reader *r, const char *key, double min, double max, double *out)
{
	if (lua_type(r->L, -1) != LUA_TNUMBER)
		return decision_refuse_type(r, key, "number");
	*out = lua_tonumber(r->L, -1);
	if (!(*out >= min && *out <= max))
		return decision_refuse(
		    r, key, "must be from %g to %g", min, max);
	return true;
}

bool
decision_whole(
    struct reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
	double n;

	if (!decision_number(r, key, (double)min, (double)max, &n))
		return false;
	if (n != floor(n))
		return decision_refuse(r, key, "must be a whole number");
	*out = (int64_t)n;
	return true;
}

bool
decision_bytes(struct reader *r, const char *key, size_t max, struct span *out)
{
	size_t len;
	const char *text;

	if (lua_type(r->L, -1) != LUA_TSTRING)
		return decision_refuse_type(r, key, "string");
	text = lua_tolstring(r->L, -1, &len);
	*out = span_of(text, len);
	if (len > max)
		return decision_refuse(r, key, "is over %zu bytes", max);
	return true;
}

char *
decision_keep(struct reader *r, struct span s)
{
	char *copy = r->arena + r->used;

	ASSERT(r->used + s.len + 1 <= sizeof(r->arena));
	if (s.len)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	r->used += s.len + 1;
	return copy;
}

/* ---- tables ---- */

bool
decision_each(struct reader *r, const char *key, read_function *read)
{
	if (!lua_istable(r->L, -1))
		return decision_refuse_type(r, key, "table");
	/* Fields behind __index are not seen here, and one of them may be
	 * allow = false. */
	if (lua_getmetatable(r->L, -1)) {
		lua_pop(r->L, 1);
		return decision_refuse(
		    r, key, "must be a table without a metatable");
	}
	lua_pushnil(r->L);
	while (lua_next(r->L, -2)) {
		bool ok = read(r, key);

		lua_pop(r->L, 1);
		if (!ok)
			return false;
	}
	return true;
}

const struct key *
decision_find_key(const struct key_table *t, struct span name)
{
	for (size_t i = 0; i < t->count; i++)
		if (span_is(name, t->keys[i].name))
			return &t->keys[i];
	return NULL;
}

static bool
refuse_key(struct reader *r, const struct key_table *t, struct span name)
{
	const char *names[READER_MAX_KEYS];
	const char *near;

	ASSERT(t->count <= READER_MAX_KEYS);
	for (size_t i = 0; i < t->count; i++)
		names[i] = t->keys[i].name;
	near = nearest_word(name, names, t->count);
	text_addf(r->why, "%s: unknown key \"", r->subject);
	text_add_escaped(r->why, name, 40);
	text_add(r->why, "\"");
	if (r->within)
		text_addf(r->why, " in %s", r->within);
	if (near)
		text_addf(r->why, " (did you mean \"%s\"?)", near);
	return false;
}

bool
decision_pair(struct reader *r, const struct key_table *t)
{
	const struct key *key;
	size_t len;
	const char *name;

	if (lua_type(r->L, -2) != LUA_TSTRING) {
		text_addf(r->why, "%s: a key is a %s, not a string", r->subject,
		    lua_typename(r->L, lua_type(r->L, -2)));
		return false;
	}
	name = lua_tolstring(r->L, -2, &len);
	key = decision_find_key(t, span_of(name, len));
	if (!key)
		return refuse_key(r, t, span_of(name, len));
	return key->read(r, key->name);
}

bool
decision_part(struct reader *r, const char *key, read_function *read)
{
	bool ok;

	if (!lua_istable(r->L, -1))
		return decision_refuse_type(r, key, "table");
	r->within = key;
	ok = decision_each(r, key, read);
	r->within = NULL;
	return ok;
}

/* ---- what is kept ---- */

struct move {
	const char *from;
	char *to;
};

static void
move_text(const struct move *m, char **text)
{
	if (*text)
		*text = m->to + (*text - m->from);
}

static void
move_bytes(const struct move *m, struct span *s)
{
	if (s->data)
		s->data =
		    (uint8_t *)m->to + (s->data - (const uint8_t *)m->from);
}

static void
move_all(const struct move *m, struct decision *d)
{
	move_text(m, &d->reason);
	move_text(m, &d->endpoint);
	move_text(m, &d->upstream);
	move_text(m, &d->termination.certificate);
	move_bytes(m, &d->termination.alpn);
	move_text(m, &d->upstream_tls.server_name);
	move_text(m, &d->upstream_tls.certificate);
	for (size_t i = 0; i < d->tag_count; i++) {
		move_text(m, &d->tags[i].name);
		move_text(m, &d->tags[i].value);
	}
	for (size_t i = 0; i < d->tlv_count; i++)
		move_bytes(m, &d->tlvs[i].value);
}

bool
decision_settle(struct reader *r)
{
	struct move m = { r->arena, NULL };

	if (r->used == 0)
		return true;
	m.to = malloc(r->used);
	if (!m.to) {
		text_add(r->why, "out of memory");
		return false;
	}
	memcpy(m.to, r->arena, r->used);
	move_all(&m, r->d);
	r->d->storage = m.to;
	return true;
}

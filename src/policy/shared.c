#include "policy/shared.h"

#include <pthread.h>
#include <stdlib.h>

struct named_dictionary {
	char name[SHARED_MAX_NAME];
	size_t name_len;
	struct dictionary *dictionary;
};

struct policy_shared {
	pthread_mutex_t lock; /* of the names; each dictionary has its own */
	struct named_dictionary dictionaries[SHARED_MAX_DICTIONARIES];
	size_t count;
	struct rates *rates;
};

static struct dictionary *
find(struct policy_shared *s, struct span name)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct named_dictionary *n = &s->dictionaries[i];

		if (span_equal(span_of(n->name, n->name_len), name))
			return n->dictionary;
	}
	return NULL;
}

static struct dictionary *
add(struct policy_shared *s, struct span name, const char **why)
{
	struct named_dictionary *n = &s->dictionaries[s->count];

	if (s->count == SHARED_MAX_DICTIONARIES) {
		*why = "there are 64 shared dictionaries already";
		return NULL;
	}
	n->dictionary = dictionary_new(DICTIONARY_MAX_BYTES);
	if (n->dictionary == NULL) {
		*why = "no memory for a shared dictionary";
		return NULL;
	}
	memcpy(n->name, name.data, name.len);
	n->name_len = name.len;
	s->count++;
	return n->dictionary;
}

struct dictionary *
shared_dictionary(struct policy_shared *s, struct span name, const char **why)
{
	struct dictionary *d;

	if (name.len == 0 || name.len > SHARED_MAX_NAME) {
		*why = "the name must have 1 to 64 bytes";
		return NULL;
	}
	pthread_mutex_lock(&s->lock);
	d = find(s, name);
	if (d == NULL)
		d = add(s, name, why);
	pthread_mutex_unlock(&s->lock);
	return d;
}

struct rates *
shared_rates(struct policy_shared *s)
{
	return s->rates;
}

struct policy_shared *
policy_shared_new(void)
{
	struct policy_shared *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->rates = rates_new();
	if (s->rates == NULL) {
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void
policy_shared_free(struct policy_shared *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->count; i++)
		dictionary_free(s->dictionaries[i].dictionary);
	rates_free(s->rates);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

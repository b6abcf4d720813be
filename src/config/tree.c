#include "config/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "config/index.h"
#include "config/yaml.h"

#define MAX_SEGMENT_BYTES 64

struct source {
	struct source *next;
	char name[];
};

struct tree {
	struct node *root;
	struct source *sources; /* what origins point at */
};

static void
node_clear(struct node *n)
{
	for (size_t i = 0; i < n->item_count; i++)
		node_free(n->items[i]);
	free(n->items);
	/* Any text may be a token or a password. */
	if (n->text != NULL)
		explicit_bzero(n->text, strlen(n->text));
	free(n->text);
	n->items = NULL;
	n->item_count = 0;
	n->text = NULL;
}

void
node_free(struct node *n)
{
	if (n == NULL)
		return;
	node_clear(n);
	free(n->key);
	free(n);
}

struct node *
node_new(enum node_kind kind, const struct origin *where)
{
	struct node *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->kind = kind;
	n->origin = *where;
	n->key_origin = *where;
	return n;
}

int
node_append(struct node *parent, struct node *child)
{
	size_t count = parent->item_count;

	/* Grown at each power of two. */
	if ((count & (count - 1)) == 0) {
		size_t room = count ? 2 * count : 1;
		struct node **items =
		    realloc(parent->items, room * sizeof(struct node *));

		if (items == NULL)
			return -ENOMEM;
		parent->items = items;
	}
	parent->items[parent->item_count++] = child;
	return 0;
}

struct node *
node_get(const struct node *map, const char *key)
{
	if (map->kind != NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->item_count; i++)
		if (!strcmp(map->items[i]->key, key))
			return map->items[i];
	return NULL;
}

void
tree_free(struct tree *t)
{
	if (t == NULL)
		return;
	node_free(t->root);
	while (t->sources != NULL) {
		struct source *next = t->sources->next;

		free(t->sources);
		t->sources = next;
	}
	free(t);
}

struct node *
tree_root(struct tree *t)
{
	return t->root;
}

/* The tree's own copy of a name; flags that come twice share one. */
static const char *
tree_source(struct tree *t, const char *name)
{
	struct source *s;
	size_t size = strlen(name) + 1;

	for (s = t->sources; s != NULL; s = s->next)
		if (!strcmp(s->name, name))
			return s->name;
	s = malloc(sizeof(*s) + size);
	if (s == NULL)
		return NULL;
	memcpy(s->name, name, size);
	s->next = t->sources;
	t->sources = s;
	return s->name;
}

struct tree *
tree_new(void)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct origin where = { "command line", 0, 0 };

	if (t == NULL)
		return NULL;
	t->root = node_new(NODE_MAP, &where);
	if (t->root == NULL) {
		free(t);
		return NULL;
	}
	return t;
}

struct tree *
tree_parse(const char *name, struct span text, struct problems *p)
{
	struct tree *t = calloc(1, sizeof(*t));
	const char *source = t != NULL ? tree_source(t, name) : NULL;

	if (source == NULL) {
		problems_add_no_memory(p);
		tree_free(t);
		return NULL;
	}
	t->root = yaml_read(source, text, p);
	if (t->root == NULL) {
		tree_free(t);
		return NULL;
	}
	return t;
}

/* Reads until the end or until there is one byte too many. 0 or -errno. */
static int
read_all(int fd, char **out, size_t *len)
{
	size_t room = 0, used = 0;
	char *data = NULL;
	int err;

	for (;;) {
		ssize_t got;

		if (used == room) {
			size_t wanted = room ? 2 * room : 65536;
			char *more = realloc(data, wanted);

			err = -ENOMEM;
			if (more == NULL)
				goto fail;
			data = more;
			room = wanted;
		}
		got = read(fd, data + used, room - used);
		if (got < 0 && errno == EINTR)
			continue;
		err = got < 0 ? -errno : 0;
		if (err < 0)
			goto fail;
		used += (size_t)got;
		if (got == 0 || used > TREE_MAX_BYTES)
			break;
	}
	*out = data;
	*len = used;
	return 0;
fail:
	free(data);
	return err;
}

/* Judged by size first: a huge file is refused without being read. */
static int
open_config(const char *path, struct problems *p)
{
	struct origin start = { path, 1, 1 }, whole = { path, 0, 0 };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		problems_add(p, &whole, "cannot read: %s", strerror(errno));
	} else if (S_ISDIR(st.st_mode)) {
		problems_add(p, &whole, "cannot read: it is a folder");
	} else if (S_ISREG(st.st_mode) && st.st_size > TREE_MAX_BYTES) {
		problems_add(p, &start, "the file is larger than 16 MiB");
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

struct tree *
tree_read_file(const char *path, struct problems *p)
{
	struct origin whole = { path, 0, 0 };
	struct tree *t;
	char *data = NULL;
	size_t len = 0;
	int fd = open_config(path, p), err;

	if (fd < 0)
		return NULL;
	err = read_all(fd, &data, &len);
	close(fd);
	if (err < 0) {
		problems_add(p, &whole, "cannot read: %s", strerror(-err));
		return NULL;
	}
	t = tree_parse(path, span_of(data, len), p);
	explicit_bzero(data, len);
	free(data);
	return t;
}

/* A flag beats what the file says, also where the file has another kind. */
static void
become(struct node *n, enum node_kind kind, const struct origin *where)
{
	if (n->kind == kind && kind != NODE_SCALAR)
		return;
	node_clear(n);
	n->kind = kind;
	n->origin = *where;
	n->quoted = false;
}

static struct node *
add_child(struct node *parent, const char *key, const struct origin *where)
{
	struct node *n = node_new(NODE_SCALAR, where);

	if (n == NULL)
		return NULL;
	if (key != NULL) {
		n->key = strdup(key);
		if (n->key == NULL)
			goto fail;
	}
	if (node_append(parent, n) < 0)
		goto fail;
	return n;
fail:
	node_free(n);
	return NULL;
}

/* The child that one segment of a path names, made if it is missing. */
static struct node *
descend(struct node *n, const char *segment, const struct origin *where)
{
	uint64_t index = 0;
	bool append = !strcmp(segment, "+");
	struct node *child;

	if (append ||
	    number_parse(span_text(segment), 0, SIZE_MAX, &index) == 0) {
		become(n, NODE_LIST, where);
		if (append || index == n->item_count)
			return add_child(n, NULL, where);
		ASSERT(index < n->item_count);
		return n->items[index];
	}
	become(n, NODE_MAP, where);
	child = node_get(n, segment);
	return child != NULL ? child : add_child(n, segment, where);
}

static int
set_scalar(struct node *n, struct span value, const struct origin *where)
{
	char *text;

	/* Flags are C strings: a NUL cannot be in one. */
	ASSERT(value.len == 0 || memchr(value.data, 0, value.len) == NULL);
	text = malloc(value.len + 1);
	if (text == NULL)
		return -ENOMEM;
	if (value.len > 0)
		memcpy(text, value.data, value.len);
	text[value.len] = '\0';
	become(n, NODE_SCALAR, where);
	n->text = text;
	n->key_origin = *where;
	return 0;
}

int
tree_set(struct tree *t, const char *path, struct span value, const char *flag)
{
	struct origin where = { tree_source(t, flag), 0, 0 };
	struct node *n = t->root;

	if (where.source == NULL)
		return -ENOMEM;
	while (n != NULL && *path != '\0') {
		char segment[MAX_SEGMENT_BYTES];
		size_t len = strcspn(path, ".");

		ASSERT(len > 0 && len < sizeof(segment));
		memcpy(segment, path, len);
		segment[len] = '\0';
		n = descend(n, segment, &where);
		path += len + (path[len] == '.');
	}
	return n != NULL ? set_scalar(n, value, &where) : -ENOMEM;
}

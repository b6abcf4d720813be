#include "cmd/authtoken.h"

#include <ctype.h>
#include <stdlib.h>

#include "cmd/commands.h"
#include "tls/file.h"

#define VARIABLE "LUNETTE_AUTHTOKEN"
#define ERROR_SIZE 512

/* Both are memory of this process that others of its user may look at:
 * /proc/PID/cmdline and environ. The kernel gives it to us to write to. */
static bool
move_text(struct authtoken *t, struct span value, const char *from)
{
	t->text = calloc(value.len + 1, 1);
	if (t->text == NULL)
		return false;
	memcpy(t->text, value.data, value.len);
	t->from = from;
	explicit_bzero((void *)(uintptr_t)value.data, value.len);
	return true;
}

bool
authtoken_take(struct authtoken *t, const struct flags *f)
{
	const char *variable = getenv(VARIABLE);

	*t = (struct authtoken){ 0 };
	if (flags_has(f, "authtoken")) {
		say_error("warning: others could have seen the value of "
			  "--authtoken: use --authtoken-file or " VARIABLE);
		return move_text(
		    t, flags_value(f, "authtoken", ""), "--authtoken");
	}
	if (variable == NULL || variable[0] == '\0' ||
	    flags_has(f, "authtoken-file"))
		return true;
	return move_text(t, span_text(variable), VARIABLE);
}

void
authtoken_fini(struct authtoken *t)
{
	if (t->text != NULL)
		explicit_bzero(t->text, strlen(t->text));
	free(t->text);
	*t = (struct authtoken){ 0 };
}

bool
authtoken_use(const struct authtoken *t, struct snapshot *s, struct problems *p)
{
	struct origin where = { .source = t->from };
	const char *why;

	if (t->text == NULL) {
		where.source = "authtoken";
		if (s->agent.authtoken == NULL)
			problems_add(p, &where,
			    "there is none, and no edge lets an agent in "
			    "without: set " VARIABLE
			    ", --authtoken-file or 'agent.authtoken_file'");
		return s->agent.authtoken != NULL;
	}
	why = snapshot_set_authtoken(s, span_text(t->text));
	if (why != NULL)
		problems_add(p, &where, "the token %s", why);
	return why == NULL;
}

bool
authtoken_use_file(const char *path, struct snapshot *s, struct problems *p)
{
	struct origin where = { .source = "--authtoken-file" };
	char storage[ERROR_SIZE];
	const char *why;
	struct text error;
	struct span bytes;
	size_t len;

	text_init(&error, storage, sizeof(storage));
	if (file_read(path, FILE_SECRET, &bytes, &error) < 0) {
		problems_add(p, &where, "%s", error.data);
		return false;
	}
	len = bytes.len;
	while (len > 0 && isspace(bytes.data[len - 1]))
		len--;
	why = snapshot_set_authtoken(s, span_of(bytes.data, len));
	if (why != NULL)
		problems_add(p, &where, "%s: the token %s", path, why);
	file_wipe(&bytes);
	return why == NULL;
}

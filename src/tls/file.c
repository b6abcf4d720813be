#include "tls/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define TOO_OPEN (S_IRWXG | S_IRWXO)

/* Why such a file is not read, or NULL. */
static const char *
objection(const struct stat *st, enum file_secrecy secrecy)
{
	if (S_ISDIR(st->st_mode))
		return "it is a folder";
	if (!S_ISREG(st->st_mode))
		return "it is not a regular file";
	if (st->st_size > FILE_MAX_BYTES)
		return "it is larger than 64 MiB";
	if (secrecy == FILE_SECRET && (st->st_mode & TOO_OPEN))
		return "it holds secrets, but not only its owner has access "
		       "(chmod 600)";
	return NULL;
}

static int
read_all(int fd, uint8_t *data, size_t size, size_t *len)
{
	*len = 0;
	while (*len < size) {
		ssize_t got = read(fd, data + *len, size - *len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		*len += (size_t)got;
	}
	return 0;
}

/* Of the size that it had when it was opened: what is written to it meanwhile
 * is for the next time. */
static const char *
read_open(int fd, enum file_secrecy secrecy, struct span *out)
{
	struct stat st;
	const char *why;
	uint8_t *data;
	size_t len;
	int err;

	if (fstat(fd, &st) < 0)
		return log_errno_text(errno);
	why = objection(&st, secrecy);
	if (why)
		return why;
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return log_errno_text(ENOMEM);
	err = read_all(fd, data, (size_t)st.st_size, &len);
	*out = span_of(data, len);
	if (err < 0) {
		file_wipe(out);
		return log_errno_text(-err);
	}
	return NULL;
}

int
file_read(const char *path, enum file_secrecy secrecy, struct span *out,
    struct text *error)
{
	/* A FIFO without a writer would hold the opener for ever. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *why;

	*out = span_of(NULL, 0);
	why = fd < 0 ? log_errno_text(errno) : read_open(fd, secrecy, out);
	if (fd >= 0)
		close(fd);
	if (!why)
		return 0;
	text_addf(error, "%s: cannot be read: %s", path, why);
	return -1;
}

void
file_wipe(struct span *bytes)
{
	uint8_t *data = (uint8_t *)(uintptr_t)bytes->data;

	if (data)
		explicit_bzero(data, bytes->len);
	free(data);
	*bytes = span_of(NULL, 0);
}

/* What stands in the way of one of those above shows when the last is made. */
int
file_make_folders(const char *path)
{
	char *copy = strdup(path);
	int err = 0;

	if (!copy)
		return -ENOMEM;
	for (char *at = copy + 1; *copy != '\0' && *at != '\0'; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		mkdir(copy, 0700);
		*at = '/';
	}
	free(copy);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		err = -errno;
	return err;
}

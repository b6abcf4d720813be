#include "tunnel/state_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "tls/file.h"

/* "tunnel.key.", 16 digits and a NUL */
#define NEW_NAME_SIZE (sizeof(STATE_KEY_NAME) + 1 + 16)

static int
fail(struct text *error, const char *path, const char *what, int err)
{
	text_addf(error, "%s: cannot be %s: %s", path, what,
	    log_errno_text(err < 0 ? -err : err));
	return -1;
}

/* --- making --- */

static int
write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t put = write(fd, bytes.data, bytes.len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		bytes = span_of(bytes.data + put, bytes.len - (size_t)put);
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int
write_new(int folder, const char *name, struct span bytes)
{
	int fd = openat(folder, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, bytes);
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

/* Under a name of its own first, then under the real one, which a link never
 * takes from another process. */
static int
install(int folder, struct span bytes)
{
	char name[NEW_NAME_SIZE];
	uint64_t number;
	int err;

	random_bytes(&number, sizeof(number));
	snprintf(name, sizeof(name), STATE_KEY_NAME ".%016llx",
	    (unsigned long long)number);
	err = write_new(folder, name, bytes);
	if (err == 0 && linkat(folder, name, folder, STATE_KEY_NAME, 0) < 0 &&
	    errno != EEXIST)
		err = -errno;
	unlinkat(folder, name, 0);
	if (err == 0 && fsync(folder) < 0)
		err = -errno;
	return err;
}

static int
make_key(int folder)
{
	uint8_t key[STATE_KEY_BYTES];
	int err;

	random_bytes(key, sizeof(key));
	err = install(folder, span_of(key, sizeof(key)));
	explicit_bzero(key, sizeof(key));
	return err;
}

/* In a folder where everybody may write, somebody else's key could be put. */
static int
open_folder(const char *folder, struct text *error)
{
	struct stat st;
	int err = file_make_folders(folder);
	int fd;

	if (err < 0)
		return fail(error, folder, "made", err);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(error, folder, "opened", errno);
	if (fstat(fd, &st) == 0 && !(st.st_mode & S_IWOTH))
		return fd;
	close(fd);
	text_addf(error,
	    "%s: everybody may write to it, so no key can be kept there",
	    folder);
	return -1;
}

static bool
exists(int folder)
{
	struct stat st;

	return fstatat(folder, STATE_KEY_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	       errno != ENOENT;
}

static int
ensure(const char *folder, const char *path, struct text *error)
{
	int fd = open_folder(folder, error);
	int err;

	if (fd < 0)
		return -1;
	err = exists(fd) ? 0 : make_key(fd);
	close(fd);
	return err < 0 ? fail(error, path, "made", err) : 0;
}

/* --- reading --- */

static int
read_key(const char *path, uint8_t key[STATE_KEY_BYTES], struct text *error)
{
	struct span bytes;
	int result = 0;

	if (file_read(path, FILE_SECRET, &bytes, error) < 0)
		return -1;
	if (bytes.len == STATE_KEY_BYTES) {
		memcpy(key, bytes.data, STATE_KEY_BYTES);
	} else {
		text_addf(error,
		    "%s: it is no key, which has %d bytes; without this file "
		    "a new one is made, and agents get other random names",
		    path, STATE_KEY_BYTES);
		result = -1;
	}
	file_wipe(&bytes);
	return result;
}

int
state_key_open(
    const char *folder, uint8_t key[STATE_KEY_BYTES], struct text *error)
{
	char *path;
	int result = -1;

	memset(key, 0, STATE_KEY_BYTES);
	if (asprintf(&path, "%s/" STATE_KEY_NAME, folder) < 0)
		return fail(error, folder, "opened", ENOMEM);
	if (ensure(folder, path, error) == 0)
		result = read_key(path, key, error);
	free(path);
	return result;
}

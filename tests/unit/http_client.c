#include "http_client.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

int
http_connect(const struct addr *a)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(a, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
	return fd;
}

bool
http_send_bytes(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool
http_send(int fd, const char *text)
{
	return http_send_bytes(fd, text, strlen(text));
}

/* The head byte by byte, so that nothing of the next answer is taken. */
static char *
read_head(int fd)
{
	size_t size = 8192, len = 0;
	char *head = malloc(size);

	for (;;) {
		ck_assert_uint_lt(len, size - 1);
		if (recv(fd, head + len, 1, 0) != 1) {
			free(head);
			return NULL;
		}
		head[++len] = '\0';
		if (len >= 4 && !strcmp(head + len - 4, "\r\n\r\n"))
			return head;
	}
}

char *
http_read(int fd, bool is_head)
{
	char *answer = read_head(fd), number[32];
	size_t len, body;

	if (answer == NULL || is_head)
		return answer;
	len = strlen(answer);
	body = strtoul(
	    http_field(answer, "Content-Length", number, sizeof(number)), NULL,
	    10);
	answer = realloc(answer, len + body + 1);
	answer[len + body] = '\0';
	while (body > 0) {
		ssize_t n = recv(fd, answer + len, body, 0);

		if (n <= 0) {
			free(answer);
			return NULL;
		}
		len += (size_t)n;
		body -= (size_t)n;
	}
	return answer;
}

char *
http_read_all(int fd)
{
	size_t len = 0, size = 65536;
	char *all = calloc(1, size);
	ssize_t n;

	while ((n = recv(fd, all + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	all[len] = '\0';
	return all;
}

size_t
http_drain(int fd)
{
	char buffer[65536];
	size_t total = 0;
	ssize_t n;

	while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		total += (size_t)n;
	return total;
}

char *
http_exchange(const struct addr *a, const char *request)
{
	int fd = http_connect(a);
	char *answer;

	http_send(fd, request);
	answer = http_read(fd, !strncmp(request, "HEAD ", 5));
	close(fd);
	return answer;
}

int
http_status(const char *answer)
{
	return answer && *answer ? atoi(answer + strlen("HTTP/1.1 ")) : 0;
}

const char *
http_body(const char *answer)
{
	return strstr(answer, "\r\n\r\n") + 4;
}

const char *
http_field(const char *answer, const char *name, char *out, size_t size)
{
	size_t len = strlen(name), value;

	for (const char *at = strstr(answer, "\r\n"); at;
	     at = strstr(at, "\r\n")) {
		at += 2;
		if (strncasecmp(at, name, len) != 0 || at[len] != ':')
			continue;
		at += len + 1;
		at += strspn(at, " ");
		value = strcspn(at, "\r");
		ck_assert_uint_lt(value, size);
		memcpy(out, at, value);
		out[value] = '\0';
		return out;
	}
	out[0] = '\0';
	return out;
}

/*
 * Fetches a page: a name looked up over the stack, a non-blocking connect to each of its addresses in turn, and epoll.
 *
 *   ./http_client example.org 80 /
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tubesock.h"

enum { TIMEOUT_MS = 10000, RESPONSE_BYTES = 16384 };

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Waits until `fd` has one of `events`; -1 with ETIMEDOUT after TIMEOUT_MS. */
static int wait_for(int epoll, int fd, unsigned events)
{
    struct epoll_event event;
    int ready;

    memset(&event, 0, sizeof event);
    event.events = events;
    if (tube_epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) < 0)
        fail("tube_epoll_ctl");
    do
        ready = tube_epoll_wait(epoll, &event, 1, TIMEOUT_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0 ? 0 : -1;
}

/* What became of a connect that was under way: 0, or -1 with its errno. */
static int connect_result(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (tube_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return -1;
    errno = error;
    return error ? -1 : 0;
}

/* A non-blocking connected socket in the set `epoll`, or -1 with errno. */
static int connect_one(int epoll, const struct addrinfo *info)
{
    struct epoll_event event;
    int error;
    int fd = tube_socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, info->ai_protocol);

    if (fd < 0)
        return -1;
    memset(&event, 0, sizeof event);
    if (tube_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("tube_epoll_ctl");
    if (tube_connect(fd, info->ai_addr, info->ai_addrlen) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_for(epoll, fd, EPOLLOUT) == 0 && connect_result(fd) == 0)
        return fd;
    error = errno;
    tube_close(fd);
    errno = error;
    return -1;
}

static int connect_any(int epoll, const char *host, const char *port)
{
    struct addrinfo hints, *first, *info;
    int failed;
    int fd = -1;

    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    failed = tube_getaddrinfo(host, port, &hints, &first);
    if (failed) {
        fprintf(stderr, "%s: %s\n", host, tube_gai_strerror(failed));
        exit(1);
    }
    for (info = first; info && fd < 0; info = info->ai_next)
        fd = connect_one(epoll, info);
    tube_freeaddrinfo(first);
    if (fd < 0)
        fail(host);
    return fd;
}

static void send_all(int epoll, int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = tube_send(fd, data, length, MSG_NOSIGNAL);

        if (sent < 0 && (errno != EAGAIN || wait_for(epoll, fd, EPOLLOUT) < 0))
            fail("tube_send");
        if (sent > 0) {
            data += sent;
            length -= (size_t)sent;
        }
    }
}

static void print_all(int epoll, int fd)
{
    char buffer[RESPONSE_BYTES];
    ssize_t length;

    while ((length = tube_recv(fd, buffer, sizeof buffer, 0)) != 0) {
        if (length > 0)
            fwrite(buffer, 1, (size_t)length, stdout);
        else if (errno != EAGAIN || wait_for(epoll, fd, EPOLLIN) < 0)
            fail("tube_recv");
    }
}

int main(int argc, char **argv)
{
    char request[2048];
    int epoll, fd, length;

    if (argc != 4) {
        fprintf(stderr, "usage: %s HOST PORT PATH\n", argv[0]);
        return 2;
    }
    length = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", argv[3], argv[1]);
    if (length < 0 || (size_t)length >= sizeof request) {
        fprintf(stderr, "the path is too long\n");
        return 2;
    }
    epoll = tube_epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail("tube_epoll_create1");
    fd = connect_any(epoll, argv[1], argv[2]);
    send_all(epoll, fd, request, (size_t)length);
    print_all(epoll, fd);
    tube_close(fd);
    tube_close(epoll);
    return fflush(stdout) == 0 ? 0 : 1;
}

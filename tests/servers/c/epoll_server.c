/* Answers every HTTP request in the same way: epoll_server PORT. One process, level-triggered. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\none of many\n";

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int epoll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0)
        fail("epoll_ctl");
}

/* A request is one small segment, and so one piece. */
static void answer(int connection)
{
    char request[4096];
    ssize_t length = recv(connection, request, sizeof request, 0);
    if (length > 4 && memcmp(request + length - 4, "\r\n\r\n", 4) == 0)
        length = send(connection, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
    if (length <= 0)
        close(connection);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event events[64];
    int one = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (argc != 2 || listener < 0 || epoll < 0)
        return 2;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0)
        fail("listen");
    watch(epoll, listener);
    puts("listening");
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int index = 0; index < ready; index++) {
            int descriptor = events[index].data.fd;
            if (descriptor != listener) {
                answer(descriptor);
                continue;
            }
            int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (connection < 0)
                fail("accept4");
            watch(epoll, connection);
        }
    }
}

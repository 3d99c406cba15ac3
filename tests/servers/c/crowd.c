/* Many connections at once, all kept, and HTTP requests over them in turns.
 *
 *     crowd HOST PORT CONNECTIONS REQUESTS
 *
 * Prints "open" when all are open, "half" after half of the requests and "done" after all of them; then it waits for
 * SIGTERM with the connections open. Anything else than a good answer ends it with a message and status 1. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OPENING 512 /* connections on their way at a time: fewer than a backlog */
#define PENDING 256 /* requests on their way at a time */

static const char REQUEST[] = "GET /crowd HTTP/1.1\r\nHost: crowd\r\n\r\n";
static const char BODY[] = "one of many\n";

static void fail(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in server;
static int epoll;

static void start_connection(void)
{
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = connection};
    if (connection < 0)
        fail("socket");
    if (connect(connection, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS)
        fail("connect");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection, &event) < 0)
        fail("epoll_ctl");
}

static void finish_connection(int connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = connection};
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        fail("SO_ERROR");
    errno = error;
    if (error != 0)
        fail("connect");
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection, &event) < 0)
        fail("epoll_ctl");
}

static void open_all(int *connections, int count)
{
    struct epoll_event events[64];
    int started = 0, open = 0;
    while (open < count) {
        for (; started < count && started - open < OPENING; started++)
            start_connection();
        int ready = epoll_wait(epoll, events, 64, 30000);
        if (ready <= 0)
            fail("no connection in 30 s");
        for (int index = 0; index < ready; index++) {
            finish_connection(events[index].data.fd);
            connections[open++] = events[index].data.fd;
        }
    }
}

static void ask(int connection)
{
    if (send(connection, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1)
        fail("send");
}

/* An answer is one small segment, and so one piece. */
static void read_answer(int connection)
{
    char answer[4096];
    ssize_t length = recv(connection, answer, sizeof answer - 1, 0);
    if (length <= 0)
        fail(length == 0 ? "end of file" : "recv");
    answer[length] = 0;
    size_t body = sizeof BODY - 1;
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || (size_t)length < body || strcmp(answer + length - body, BODY) != 0) {
        fprintf(stderr, "crowd: not an answer: %s\n", answer);
        exit(1);
    }
}

static void ask_all(const int *connections, int count, long requests)
{
    struct epoll_event events[64];
    long asked = 0, answered = 0;
    while (answered < requests) {
        for (; asked < requests && asked - answered < PENDING && asked - answered < count; asked++)
            ask(connections[asked % count]);
        int ready = epoll_wait(epoll, events, 64, 30000);
        if (ready <= 0)
            fail("no answer in 30 s");
        for (int index = 0; index < ready; index++)
            read_answer(events[index].data.fd);
        if (answered < requests / 2 && answered + ready >= requests / 2)
            puts("half");
        answered += ready;
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int count = atoi(argv[3]);
    int *connections = calloc((size_t)count, sizeof *connections);
    sigset_t end;
    int signal;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    server.sin_family = AF_INET;
    server.sin_port = htons((unsigned short)atoi(argv[2]));
    inet_pton(AF_INET, argv[1], &server.sin_addr);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    open_all(connections, count);
    puts("open");
    ask_all(connections, count, atol(argv[4]));
    puts("done");
    sigwait(&end, &signal);
    return 0;
}

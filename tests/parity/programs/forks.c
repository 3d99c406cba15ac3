/* Sockets in children: listeners that workers accept from, and what parent and child do with what both have. */
#include "parity.h"

#include <sys/epoll.h>

static const char *so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno_named(errno);
    return error ? errno_named(error) : "none";
}

/* Answers with its own number, so that the client knows who it was. */
static void work(int listening, int number, int requests)
{
    /* In case that nobody asks. */
    alarm(2 * PATIENCE_MS / 1000);
    for (int i = 0; i < requests; i++) {
        char byte = (char)('0' + number), ask;
        int fd = accept(listening, NULL, NULL);

        if (fd < 0 || recv(fd, &ask, 1, 0) != 1 || send(fd, &byte, 1, 0) != 1)
            _exit(1);
        close(fd);
    }
    _exit(0);
}

static char asked(int to)
{
    char answer = '?';
    int fd = connected_to(to);

    if (send(fd, "q", 1, MSG_NOSIGNAL) != 1 || !await(fd, POLLIN) || recv(fd, &answer, 1, 0) != 1)
        answer = '!';
    close(fd);
    return answer;
}

static void accepted_in_one_child(void)
{
    int listening = listener(AF_INET, 8);
    pid_t worker = forked_child();

    if (worker == 0)
        work(listening, 7, 3);
    for (int i = 0; i < 3; i++)
        fact(label("answer %d", i), "%c", asked(listening));
    fact("worker", "%s", end_of(worker));
}

/* Each worker has its share to do, so that all must accept. */
static void accepted_in_four_children(void)
{
    enum { WORKERS = 4, REQUESTS = 5 };
    int listening = listener(AF_INET, 64);
    pid_t workers[WORKERS];
    int answers[WORKERS] = {0}, wrong = 0;

    for (int i = 0; i < WORKERS; i++)
        if ((workers[i] = forked_child()) == 0)
            work(listening, i, REQUESTS);
    for (int i = 0; i < WORKERS * REQUESTS; i++) {
        int who = asked(listening) - '0';

        if (who >= 0 && who < WORKERS)
            answers[who]++;
        else
            wrong++;
    }
    fact("no answer", "%d", wrong);
    for (int i = 0; i < WORKERS; i++) {
        fact(label("answers of %d", i), "%d", answers[i]);
        if (wrong)
            kill(workers[i], SIGKILL);
        fact(label("worker %d", i), "%s", end_of(workers[i]));
    }
}

/* The parent closes its copy: workers go on, and the port is free when they are gone. */
static void accepted_after_the_parent_closed(void)
{
    int listening = listener(AF_INET, 8);
    union address address = loopback(AF_INET, port_of(listening));
    pid_t worker = forked_child();
    char answer = '?';
    int fd;

    if (worker == 0)
        work(listening, 3, 1);
    MUST(close(listening));
    fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    fact("connect", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
    fact("send", "%s", outcome(send(fd, "q", 1, MSG_NOSIGNAL)));
    await(fd, POLLIN);
    fact("answer", "%s", received(&answer, recv(fd, &answer, 1, MSG_DONTWAIT)));
    fact("worker", "%s", end_of(worker));
    fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    fact("connect afterwards", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
}

/* As daemons do: the parent makes the listener and goes. */
static void accepted_after_the_parent_ended(void)
{
    int report[2], ready[2];
    char byte;

    MUST(pipe(report));
    MUST(pipe(ready));
    if (forked_child() == 0) {
        int listening = listener(AF_INET, 8);

        if (forked_child() == 0) {
            /* The parent is gone when its end of the pipe is. */
            close(ready[1]);
            (void)!read(ready[0], &byte, 1);
            if (forked_child() == 0)
                work(listening, 5, 1);
            fact("answer", "%c", asked(listening));
            _exit(0);
        }
        _exit(0);
    }
    close(ready[1]);
    close(report[1]);
    await(report[0], POLLHUP);
    fact("all are gone", "%d", read(report[0], &byte, 1) == 0);
}

/* A child is both client and server with what its parent prepared. */
static void used_in_the_child(void)
{
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        char bytes[16];
        int one = 1, value = 0;
        socklen_t length = sizeof value;

        fact("child, own name", "%s", local_name(ends[0]));
        fact("child, peer's name", "%s", peer_name(ends[0]));
        fact("child, accepted, own name", "%s", local_name(ends[1]));
        fact("child, send", "%s", outcome(send(ends[0], "from child", 10, MSG_NOSIGNAL)));
        await(ends[1], POLLIN);
        fact("child, recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
        fact("child, TCP_NODELAY", "%s", outcome(setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)));
        fact("child, TCP_NODELAY read", "%s", outcome(getsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &value, &length)));
        fact("child, TCP_NODELAY value", "%d", value);
        fact("child, SO_ERROR", "%s", so_error(ends[0]));
        fact("child, shutdown", "%s", outcome(shutdown(ends[0], SHUT_WR)));
        await(ends[1], POLLRDHUP);
        fact("child, the end", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
        _exit(0);
    }
    fact("child", "%s", end_of(other));
    fact("parent, events", "%s", events_of(ends[0]));
    fact("parent, send", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    fact("parent, other way", "%s", outcome(send(ends[1], "x", 1, MSG_NOSIGNAL)));
}

/* What was not connected before the fork is connected in the child. */
static void connected_in_the_child(void)
{
    int listening = listener(AF_INET, 8);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    pid_t other = forked_child();
    char byte = '?';
    int accepted;

    if (other == 0) {
        fact("child, connect", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
        fact("child, send", "%s", outcome(send(fd, "c", 1, MSG_NOSIGNAL)));
        _exit(0);
    }
    fact("child", "%s", end_of(other));
    fact("parent, peer's name", "%s", peer_name(fd));
    await(listening, POLLIN);
    set_nonblocking(listening);
    accepted = accept(listening, NULL, NULL);
    fact("accept", "%s", success(accepted));
    await(accepted, POLLIN);
    fact("recv", "%s", received(&byte, recv(accepted, &byte, 1, MSG_DONTWAIT)));
    fact("parent, send", "%s", outcome(send(fd, "p", 1, MSG_NOSIGNAL)));
    await(accepted, POLLIN);
    fact("recv from parent", "%s", received(&byte, recv(accepted, &byte, 1, MSG_DONTWAIT)));
}

static void bound_in_the_child(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    union address address = loopback(AF_INET, 0);
    pid_t other = forked_child();

    if (other == 0) {
        fact("child, bind", "%s", outcome(bind(fd, &address.any, sizeof address.v4)));
        fact("child, listen", "%s", outcome(listen(fd, 4)));
        fact("child, name", "%s", local_name(fd));
        _exit(0);
    }
    fact("child", "%s", end_of(other));
    fact("parent, name", "%s", local_name(fd));
    fact("parent connects", "%s", success(connected_to(fd)));
    set_nonblocking(fd);
    await(fd, POLLIN);
    fact("parent accepts", "%s", success(accept(fd, NULL, NULL)));
}

/* A socket made in the child, beside those of the parent, reaches the parent. */
static void made_in_the_child(void)
{
    int listening = listener(AF_INET, 8);
    union address address = loopback(AF_INET, port_of(listening));
    pid_t other = forked_child();
    char bytes[8];
    int fd;

    if (other == 0) {
        int own = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

        fact("child, connect", "%s", outcome(connect(own, &address.any, sizeof address.v4)));
        fact("child, send", "%s", outcome(send(own, "hello", 5, MSG_NOSIGNAL)));
        exit(0);
    }
    fact("arrives", "%d", await(listening, POLLIN));
    set_nonblocking(listening);
    fd = accept(listening, NULL, NULL);
    fact("accept", "%s", success(fd));
    await(fd, POLLIN | POLLRDHUP);
    fact("recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("then", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("child", "%s", end_of(other));
}

/* The peer sees the end when the last holder has closed, not before. */
static void closed_by_one_of_two(void)
{
    int ends[2], go[2];
    pid_t other;
    char byte;

    connection(AF_INET, ends);
    MUST(pipe(go));
    other = forked_child();
    if (other == 0) {
        close(go[1]);
        (void)!read(go[0], &byte, 1);
        fact("child, send", "%s", outcome(send(ends[0], "still", 5, MSG_NOSIGNAL)));
        _exit(0);
    }
    MUST(close(ends[0]));
    fact("after the parent's close", "%s", events_of(ends[1]));
    close(go[1]);
    fact("child", "%s", end_of(other));
    await(ends[1], POLLRDHUP);
    fact("after the child's end", "%s", events_of(ends[1]));
    fact("what came", "%s", drained(ends[1]));
}

static void killed(void)
{
    int ends[2], go[2];
    pid_t other;
    char byte;

    connection(AF_INET, ends);
    MUST(pipe(go));
    other = forked_child();
    if (other == 0) {
        fact("child, send", "%s", outcome(send(ends[0], "last words", 10, MSG_NOSIGNAL)));
        close(go[1]);
        pause();
    }
    close(go[1]);
    close(ends[0]);
    (void)!read(go[0], &byte, 1);
    kill(other, SIGKILL);
    fact("child", "%s", end_of(other));
    await(ends[1], POLLRDHUP);
    fact("what came", "%s", drained(ends[1]));
}

/* An inherited listener in an inherited epoll set, as nginx before it had its own. */
static void inherited_epoll(void)
{
    int listening = listener(AF_INET, 8), set = (int)MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    pid_t other;

    set_nonblocking(listening);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, listening, &event));
    other = forked_child();
    if (other == 0) {
        fact("child, epoll_wait", "%s", outcome(epoll_wait(set, &event, 1, PATIENCE_MS)));
        fact("child, accept", "%s", success(accept(listening, NULL, NULL)));
        _exit(0);
    }
    close(connected_to(listening));
    fact("child", "%s", end_of(other));
}

static void datagrams(void)
{
    int ends[2];
    pid_t other;
    char bytes[16];

    datagram_pair(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        await(ends[1], POLLIN);
        fact("child, recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
        fact("child, send", "%s", outcome(send(ends[1], "answer", 6, 0)));
        _exit(0);
    }
    MUST(send(ends[0], "question", 8, 0));
    fact("child", "%s", end_of(other));
    await(ends[0], POLLIN);
    fact("parent, recv", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void unconnected_datagrams(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int client = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    union address to = loopback(AF_INET, port_of(server)), from;
    socklen_t length = sizeof from;
    pid_t other = forked_child();
    char bytes[16];

    if (other == 0) {
        await(server, POLLIN);
        fact("child, recvfrom", "%s", received(bytes, recvfrom(server, bytes, sizeof bytes, MSG_DONTWAIT, &from.any, &length)));
        fact("child, from", "%s", address_named(&from, length));
        fact("child, sendto", "%s", outcome(sendto(server, "answer", 6, 0, &from.any, length)));
        _exit(0);
    }
    MUST(sendto(client, "question", 8, 0, &to.any, sizeof to.v4));
    fact("child", "%s", end_of(other));
    await(client, POLLIN);
    fact("parent, recv", "%s", received(bytes, recv(client, bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* Parent, child and grandchild, each with a server of its own that the others reach. */
static void generations(void)
{
    int listening = listener(AF_INET, 8);
    pid_t first = forked_child();

    if (first == 0) {
        pid_t second = forked_child();

        if (second == 0)
            work(listening, 2, 1);
        fact("child asks the grandchild", "%c", asked(listening));
        fact("grandchild", "%s", end_of(second));
        _exit(0);
    }
    fact("child", "%s", end_of(first));
}

const struct parity_case cases[] = {
    {"accepted_in_one_child", accepted_in_one_child},
    {"accepted_in_four_children", accepted_in_four_children},
    {"accepted_after_the_parent_closed", accepted_after_the_parent_closed},
    {"accepted_after_the_parent_ended", accepted_after_the_parent_ended},
    {"used_in_the_child", used_in_the_child},
    {"connected_in_the_child", connected_in_the_child},
    {"bound_in_the_child", bound_in_the_child},
    {"made_in_the_child", made_in_the_child},
    {"closed_by_one_of_two", closed_by_one_of_two},
    {"killed", killed},
    {"inherited_epoll", inherited_epoll},
    {"datagrams", datagrams},
    {"unconnected_datagrams", unconnected_datagrams},
    {"generations", generations},
    {NULL, NULL},
};

/*
 * Every state of a TCP socket's life: its events, SO_ERROR, and what read and write then give. Both ends are ours here;
 * tests/states.rs has the same with a peer on the kernel.
 */
#include "parity.h"

static const char *so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno_named(errno);
    return error ? errno_named(error) : "none";
}

/* What a program sees of a socket. SO_ERROR comes last, since reading it takes from read and write what they would say. */
static void view(const char *state, int fd)
{
    char bytes[16];
    ssize_t count;

    fact(label("%s, events", state), "%s", events_of(fd));
    count = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    fact(label("%s, read", state), "%s", received(bytes, count));
    fact(label("%s, write", state), "%s", outcome(send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL)));
    fact(label("%s, SO_ERROR", state), "%s", so_error(fd));
    fact(label("%s, events after", state), "%s", events_of(fd));
}

static void names(const char *state, int fd)
{
    fact(label("%s, own name", state), "%s", local_name(fd));
    fact(label("%s, peer's name", state), "%s", peer_name(fd));
}

static void fresh(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    view("fresh", fd);
    names("fresh", fd);
    MUST(close(fd));
    fd = bound_to(AF_INET, SOCK_STREAM, loopback(AF_INET, 0));
    view("bound", fd);
    names("bound", fd);
}

static void listening(void)
{
    int fd = listener(AF_INET, 4);
    int client;

    view("listening", fd);
    names("listening", fd);
    client = connected_to(fd);
    await(fd, POLLIN);
    view("one pending", fd);
    view("accepted by nobody", client);
    fact("accept", "%s", success(accept(fd, NULL, NULL)));
    fact("nobody is left", "%s", events_of(fd));
    set_nonblocking(fd);
    fact("accept again", "%s", success(accept(fd, NULL, NULL)));
}

static void listener_shut_down(void)
{
    int fd = listener(AF_INET, 4);

    fact("shutdown", "%s", outcome(shutdown(fd, SHUT_RDWR)));
    view("shut down", fd);
    names("shut down", fd);
    set_nonblocking(fd);
    fact("accept", "%s", success(accept(fd, NULL, NULL)));
    fact("listen again", "%s", outcome(listen(fd, 4)));
    view("listening again", fd);
}

/* A port that the program named stays its own: what was accepted there and lives keeps it from listening again, and no more. */
static void listener_of_a_port_shut_down(void)
{
    int fd = bound_to(AF_INET, SOCK_STREAM, loopback(AF_INET, free_port(AF_INET, SOCK_STREAM)));
    int elsewhere = listener(AF_INET, 4);
    union address there = loopback(AF_INET, port_of(elsewhere)), address;
    in_port_t port = port_of(fd);
    int other = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int client, accepted;

    MUST(listen(fd, 4));
    client = connected_to(fd);
    accepted = next_accepted(fd);
    fact("shutdown", "%s", outcome(shutdown(fd, SHUT_RDWR)));
    view("shut down", fd);
    names("shut down", fd);
    fact("the same port", "%d", port_of(fd) == port);
    fact("listen again", "%s", outcome(listen(fd, 4)));
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    fact("listen, sharing", "%s", outcome(listen(fd, 4)));
    names("not listening", fd);
    address = loopback(AF_INET, port);
    fact("bind again", "%s", outcome(bind(fd, &address.any, length_of(&address))));
    fact("bind another", "%s", outcome(bind(other, &address.any, length_of(&address))));
    reset_on_close(client);
    MUST(close(client));
    await(accepted, POLLHUP);
    MUST(close(accepted));
    fact("bind another, alone", "%s", outcome(bind(other, &address.any, length_of(&address))));
    fact("listen, alone", "%s", outcome(listen(fd, 4)));
    fact("the same port again", "%d", port_of(fd) == port);
    client = connected_to(fd);
    accepted = next_accepted(fd);
    fact("shutdown again", "%s", outcome(shutdown(fd, SHUT_RD)));
    fact("connect", "%s", outcome(connect(fd, &there.any, length_of(&there))));
    names("connected", fd);
    fact("from the same port", "%d", port_of(fd) == port);
}

static void listener_closed(void)
{
    int fd = listener(AF_INET, 4);
    int client = connected_to(fd);

    await(fd, POLLIN);
    MUST(close(fd));
    await(client, POLLHUP);
    view("never accepted", client);
}

/* A listener whose backlog is full answers no SYN. */
static void connecting(void)
{
    int listening = listener(AF_INET, 0);
    int first = connected_to(listening);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    char byte;

    await(listening, POLLIN);
    fact("connect", "%s", outcome(connect(fd, &address.any, length_of(&address))));
    fact("connect again", "%s", outcome(connect(fd, &address.any, length_of(&address))));
    fact("events", "%s", events_of(fd));
    fact("read", "%s", received(&byte, read(fd, &byte, 1)));
    fact("SO_ERROR", "%s", so_error(fd));
    names("connecting", fd);
    fact("first", "%s", events_of(first));
}

static void refused_by(const char *how, bool nonblocking, bool error_first)
{
    union address address = loopback(AF_INET, free_port(AF_INET, SOCK_STREAM));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    if (nonblocking)
        set_nonblocking(fd);
    fact(label("%s, connect", how), "%s", outcome(connect(fd, &address.any, length_of(&address))));
    if (nonblocking)
        await(fd, POLLERR);
    if (error_first)
        fact(label("%s, SO_ERROR first", how), "%s", so_error(fd));
    view(how, fd);
    names(how, fd);
}

static void refused(void)
{
    refused_by("blocking", false, false);
    refused_by("non-blocking", true, false);
    refused_by("non-blocking, SO_ERROR", true, true);
}

/* After a refusal the same socket may connect again. */
static void refused_then_connected(void)
{
    union address nobody = loopback(AF_INET, free_port(AF_INET, SOCK_STREAM));
    int listening = listener(AF_INET, 4);
    union address somebody = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    fact("refused", "%s", outcome(connect(fd, &nobody.any, length_of(&nobody))));
    fact("refused again", "%s", outcome(connect(fd, &nobody.any, length_of(&nobody))));
    fact("then", "%s", outcome(connect(fd, &somebody.any, length_of(&somebody))));
    fact("accepted", "%s", success(accept(listening, NULL, NULL)));
    view("connected", fd);
    names("connected", fd);
}

static void connected(void)
{
    int ends[2];

    connection(AF_INET, ends);
    names("connected", ends[0]);
    names("accepted", ends[1]);
    view("connected", ends[0]);
    await(ends[1], POLLIN);
    view("accepted, with data", ends[1]);
}

static void connected_v6(void)
{
    int ends[2];

    connection(AF_INET6, ends);
    names("connected", ends[0]);
    names("accepted", ends[1]);
    view("connected", ends[0]);
    await(ends[1], POLLIN);
    view("accepted, with data", ends[1]);
}

static void connected_without_blocking(void)
{
    int listening = listener(AF_INET, 4);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

    fact("connect", "%s", outcome(connect(fd, &address.any, length_of(&address))));
    fact("becomes writable", "%d", await(fd, POLLOUT));
    fact("SO_ERROR", "%s", so_error(fd));
    fact("accept", "%s", success(accept(listening, NULL, NULL)));
    view("connected", fd);
    fact("connect again", "%s", outcome(connect(fd, &address.any, length_of(&address))));
}

static void full(void)
{
    int ends[2];

    connection(AF_INET, ends);
    fill(ends[0]);
    view("full", ends[0]);
    MUST(send(ends[1], "12345", 5, 0));
    await(ends[0], POLLIN);
    fill(ends[0]);
    view("full, data", ends[0]);
    shutdown(ends[1], SHUT_WR);
    await(ends[0], POLLRDHUP);
    fill(ends[0]);
    view("full, end", ends[0]);
}

static void peer_ended(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[1], "12345", 5, 0));
    MUST(shutdown(ends[1], SHUT_WR));
    await(ends[0], POLLIN | POLLRDHUP);
    view("data and end", ends[0]);
    view("end", ends[0]);
    names("end", ends[0]);
}

static void peer_closed(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(close(ends[1]));
    await(ends[0], POLLRDHUP);
    fact("closed, events", "%s", events_of(ends[0]));
    fact("closed, first write", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    await(ends[0], POLLHUP);
    view("after the answer", ends[0]);
    names("after the answer", ends[0]);
}

static void half_closed(void)
{
    static const struct {
        const char *name;
        int how;
    } ways[] = {{"SHUT_RD", SHUT_RD}, {"SHUT_WR", SHUT_WR}, {"SHUT_RDWR", SHUT_RDWR}};

    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        int ends[2];

        connection(AF_INET, ends);
        MUST(shutdown(ends[0], ways[i].how));
        if (ways[i].how != SHUT_RD)
            await(ends[1], POLLRDHUP);
        view(ways[i].name, ends[0]);
        names(ways[i].name, ends[0]);
        await(ends[1], POLLIN);
        fact(label("%s, peer's events", ways[i].name), "%s", events_of(ends[1]));
    }
}

static void closed_both_ways(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(shutdown(ends[0], SHUT_WR));
    await(ends[1], POLLRDHUP);
    MUST(shutdown(ends[1], SHUT_WR));
    await(ends[0], POLLHUP);
    view("active", ends[0]);
    names("active", ends[0]);
    await(ends[1], POLLHUP);
    view("passive", ends[1]);
    names("passive", ends[1]);
}

static void reset(void)
{
    int ends[2];

    connection(AF_INET, ends);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    view("reset", ends[0]);
    names("reset", ends[0]);
}

static void reset_told_by_so_error(void)
{
    int ends[2];

    connection(AF_INET, ends);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    fact("SO_ERROR", "%s", so_error(ends[0]));
    view("afterwards", ends[0]);
}

static void reset_told_by_write(void)
{
    int ends[2];

    connection(AF_INET, ends);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    fact("send", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    fact("send again", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    view("afterwards", ends[0]);
}

static void reset_behind_data(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[1], "12345", 5, 0));
    await(ends[0], POLLIN);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    view("data", ends[0]);
    view("reset", ends[0]);
}

static void reset_by_unread_data(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[0], "unread", 6, 0));
    await(ends[1], POLLIN);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    view("reset", ends[0]);
}

static void dissolved(void)
{
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    int ends[2];

    connection(AF_INET, ends);
    fact("connect to AF_UNSPEC", "%s", outcome(connect(ends[0], &nowhere, sizeof nowhere)));
    view("dissolved", ends[0]);
    names("dissolved", ends[0]);
    await(ends[1], POLLHUP);
    view("its peer", ends[1]);
}

static void connected_to_itself(void)
{
    int fd = bound_to(AF_INET, SOCK_STREAM, loopback(AF_INET, 0));
    union address address = loopback(AF_INET, port_of(fd));
    char bytes[8];

    set_nonblocking(fd);
    fact("connect", "%s", success(connect(fd, &address.any, length_of(&address)) < 0 && errno != EINPROGRESS ? -1 : 0));
    fact("writable", "%d", await(fd, POLLOUT));
    names("itself", fd);
    fact("send", "%s", outcome(send(fd, "echo", 4, MSG_NOSIGNAL)));
    await(fd, POLLIN);
    fact("receive", "%s", received(bytes, recv(fd, bytes, sizeof bytes, 0)));
}

static void connected_to_the_wildcard(void)
{
    int listening = listener(AF_INET, 4);
    union address address = wildcard(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    fact("connect to 0.0.0.0", "%s", outcome(connect(fd, &address.any, length_of(&address))));
    names("to 0.0.0.0", fd);
}

const struct parity_case cases[] = {
    {"fresh", fresh},
    {"listening", listening},
    {"listener_shut_down", listener_shut_down},
    {"listener_of_a_port_shut_down", listener_of_a_port_shut_down},
    {"listener_closed", listener_closed},
    {"connecting", connecting},
    {"refused", refused},
    {"refused_then_connected", refused_then_connected},
    {"connected", connected},
    {"connected_v6", connected_v6},
    {"connected_without_blocking", connected_without_blocking},
    {"full", full},
    {"peer_ended", peer_ended},
    {"peer_closed", peer_closed},
    {"half_closed", half_closed},
    {"closed_both_ways", closed_both_ways},
    {"reset", reset},
    {"reset_told_by_so_error", reset_told_by_so_error},
    {"reset_told_by_write", reset_told_by_write},
    {"reset_behind_data", reset_behind_data},
    {"reset_by_unread_data", reset_by_unread_data},
    {"dissolved", dissolved},
    {"connected_to_itself", connected_to_itself},
    {"connected_to_the_wildcard", connected_to_the_wildcard},
    {NULL, NULL},
};

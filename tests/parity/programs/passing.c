/* Sockets passed to another process by SCM_RIGHTS: one forked before they were made, or a program of its own. */
#include "parity.h"

#include <sys/un.h>

static const char *pass(int through, int fd)
{
    struct iovec vector = {"f", 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head;

    memset(&control, 0, sizeof control);
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return outcome(sendmsg(through, &message, 0));
}

static int take(int through)
{
    char byte;
    struct iovec vector = {&byte, 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head;
    int fd = -1;

    await(through, POLLIN);
    if (recvmsg(through, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1 || !(head = CMSG_FIRSTHDR(&message)))
        return -1;
    memcpy(&fd, CMSG_DATA(head), sizeof fd);
    return fd;
}

/* The receiver is forked before there is any socket, so that it has none by inheritance. */
static pid_t receiver(void (*body)(int), int *through)
{
    int pair[2];
    pid_t other;

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    other = (pid_t)MUST(fork());
    if (other == 0) {
        close(pair[0]);
        body(pair[1]);
        _exit(0);
    }
    close(pair[1]);
    *through = pair[0];
    return other;
}

static void use_connection(int through)
{
    int fd = take(through), one = 1;
    char bytes[16];

    fact("receiver, has it", "%d", fd >= 0);
    fact("receiver, own name", "%s", local_name(fd));
    fact("receiver, peer's name", "%s", peer_name(fd));
    fact("receiver, TCP_NODELAY", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)));
    await(fd, POLLIN);
    fact("receiver, recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("receiver, send", "%s", outcome(send(fd, "answer", 6, MSG_NOSIGNAL)));
    fact("receiver, shutdown", "%s", outcome(shutdown(fd, SHUT_WR)));
}

static void connected(void)
{
    int through, ends[2];
    pid_t other = receiver(use_connection, &through);

    connection(AF_INET, ends);
    MUST(send(ends[0], "question", 8, 0));
    fact("pass", "%s", pass(through, ends[1]));
    close(ends[1]);
    await(ends[0], POLLIN | POLLRDHUP);
    fact("answer", "%s", drained(ends[0]));
    fact("receiver", "%s", end_of(other));
}

static void use_listener(int through)
{
    int listening = take(through), fd;

    fact("receiver, has it", "%d", listening >= 0);
    fact("receiver, listener's name", "%s", local_name(listening));
    fd = accept(listening, NULL, NULL);
    fact("receiver, accept", "%s", success(fd));
    fact("receiver, peer's name", "%s", peer_name(fd));
    fact("receiver, send", "%s", outcome(send(fd, "hello", 5, MSG_NOSIGNAL)));
}

static void listening(void)
{
    int through, fd, client;
    pid_t other = receiver(use_listener, &through);

    fd = listener(AF_INET, 4);
    client = connected_to(fd);
    fact("pass", "%s", pass(through, fd));
    close(fd);
    await(client, POLLIN | POLLRDHUP);
    fact("answer", "%s", drained(client));
    fact("receiver", "%s", end_of(other));
}

static void use_datagrams(int through)
{
    int fd = take(through);
    union address from;
    socklen_t length = sizeof from;
    char bytes[16];

    fact("receiver, has it", "%d", fd >= 0);
    await(fd, POLLIN);
    fact("receiver, recvfrom", "%s", received(bytes, recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, &from.any, &length)));
    fact("receiver, sendto", "%s", outcome(sendto(fd, "answer", 6, 0, &from.any, length)));
}

static void datagrams(void)
{
    int through, server, client;
    pid_t other = receiver(use_datagrams, &through);
    char bytes[16];

    server = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    client = connected_to(server);
    fact("pass", "%s", pass(through, server));
    close(server);
    MUST(send(client, "question", 8, 0));
    fact("receiver", "%s", end_of(other));
    await(client, POLLIN);
    fact("recv", "%s", received(bytes, recv(client, bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* The receiver makes the socket, and the one that asked for it uses it. */
static void make_connection(int through)
{
    int ends[2];

    connection(AF_INET, ends);
    fact("receiver, pass one end", "%s", pass(through, ends[0]));
    fact("receiver, pass the other", "%s", pass(through, ends[1]));
}

static void made_by_another(void)
{
    int through, ends[2];
    pid_t other = receiver(make_connection, &through);
    char bytes[16];

    ends[0] = take(through);
    ends[1] = take(through);
    fact("receiver", "%s", end_of(other));
    fact("peer's name", "%s", peer_name(ends[0]));
    fact("send", "%s", outcome(send(ends[0], "hello", 5, MSG_NOSIGNAL)));
    await(ends[1], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* A connection that is on its way to another process, and closed by the one that sent it, is not at its end. */
static void in_flight(void)
{
    int pair[2], ends[2], fd;

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    connection(AF_INET, ends);
    fact("pass", "%s", pass(pair[0], ends[1]));
    MUST(close(ends[1]));
    fact("peer's events", "%s", events_of(ends[0]));
    fd = take(pair[1]);
    fact("send", "%s", outcome(send(fd, "landed", 6, MSG_NOSIGNAL)));
    MUST(close(fd));
    await(ends[0], POLLRDHUP);
    fact("what came", "%s", drained(ends[0]));
}

/* A connection that nobody takes is closed when the message is thrown away. */
static void thrown_away(void)
{
    int pair[2], ends[2];

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    connection(AF_INET, ends);
    fact("pass", "%s", pass(pair[0], ends[1]));
    MUST(close(ends[1]));
    MUST(close(pair[0]));
    MUST(close(pair[1]));
    await(ends[0], POLLRDHUP);
    fact("what came", "%s", drained(ends[0]));
}

/* Executed: it shares nothing with the one that passes but the socket it was given. */
static void stranger(void)
{
    use_connection(atoi(arguments[0]));
}

static void execute_stranger(int through)
{
    char text[16];
    char *words[] = {own_path, (char *)"+stranger", text, NULL};

    snprintf(text, sizeof text, "%d", through);
    execv(own_path, words);
}

static void to_another_program(void)
{
    int through, ends[2];
    pid_t other = receiver(execute_stranger, &through);

    connection(AF_INET, ends);
    MUST(send(ends[0], "question", 8, 0));
    fact("pass", "%s", pass(through, ends[1]));
    close(ends[1]);
    await(ends[0], POLLIN | POLLRDHUP);
    fact("answer", "%s", drained(ends[0]));
    fact("receiver", "%s", end_of(other));
}

const struct parity_case cases[] = {
    {"connected", connected},
    {"listening", listening},
    {"datagrams", datagrams},
    {"made_by_another", made_by_another},
    {"in_flight", in_flight},
    {"thrown_away", thrown_away},
    {"to_another_program", to_another_program},
    {"+stranger", stranger},
    {NULL, NULL},
};

/* The calls by number, through syscall(2), as libuv, jemalloc and others make them. */
#include "parity.h"

#include <sys/epoll.h>
#include <sys/syscall.h>

static void connected(void)
{
    union address address = loopback(AF_INET, 0), peer;
    socklen_t length = sizeof address;
    char bytes[16];
    int one = 1, value = 0;
    long listening = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0), client, accepted;

    fact("socket", "%s", success(listening));
    fact("bind", "%s", outcome(syscall(SYS_bind, listening, &address, sizeof address.v4)));
    fact("listen", "%s", outcome(syscall(SYS_listen, listening, 4)));
    fact("getsockname", "%s", outcome(syscall(SYS_getsockname, listening, &address, &length)));
    fact("its name", "%s", address_named(&address, length));
    client = syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
    fact("connect", "%s", outcome(syscall(SYS_connect, client, &address, sizeof address.v4)));
    length = sizeof peer;
    accepted = syscall(SYS_accept4, listening, &peer, &length, SOCK_NONBLOCK);
    fact("accept4", "%s", success(accepted));
    fact("from", "%s", address_named(&peer, length));
    fact("its flags", "%#lx", syscall(SYS_fcntl, accepted, F_GETFL));
    length = sizeof peer;
    fact("getpeername", "%s", outcome(syscall(SYS_getpeername, client, &peer, &length)));
    fact("setsockopt", "%s", outcome(syscall(SYS_setsockopt, client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)));
    length = sizeof value;
    fact("getsockopt", "%s", outcome(syscall(SYS_getsockopt, client, IPPROTO_TCP, TCP_NODELAY, &value, &length)));
    fact("its value", "%d", value);
    fact("sendto", "%s", outcome(syscall(SYS_sendto, client, "hello", 5, MSG_NOSIGNAL, NULL, 0)));
    await((int)accepted, POLLIN);
    fact("ioctl", "%s", outcome(syscall(SYS_ioctl, accepted, FIONREAD, &value)));
    fact("FIONREAD", "%d", value);
    fact("recvfrom", "%s", received(bytes, syscall(SYS_recvfrom, accepted, bytes, sizeof bytes, 0, NULL, NULL)));
    fact("write", "%s", outcome(syscall(SYS_write, accepted, "back", 4)));
    fact("read", "%s", received(bytes, syscall(SYS_read, client, bytes, sizeof bytes)));
    fact("shutdown", "%s", outcome(syscall(SYS_shutdown, client, SHUT_WR)));
    await((int)accepted, POLLRDHUP);
    fact("read the end", "%s", received(bytes, syscall(SYS_read, accepted, bytes, sizeof bytes)));
    fact("close", "%s", outcome(syscall(SYS_close, accepted)));
    fact("close again", "%s", outcome(syscall(SYS_close, accepted)));
    fact("getpeername of nobody", "%s", outcome(syscall(SYS_getpeername, listening, &peer, &length)));
}

static void vectors(void)
{
    struct iovec out[2] = {{"one", 3}, {"two", 3}};
    char bytes[16];
    struct iovec in = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    int ends[2];

    connection(AF_INET, ends);
    fact("writev", "%s", outcome(syscall(SYS_writev, ends[0], out, 2)));
    await_readable(ends[1], 6);
    fact("readv", "%s", received(bytes, syscall(SYS_readv, ends[1], &in, 1)));
    fact("sendmsg", "%s", outcome(syscall(SYS_sendmsg, ends[0], &message, MSG_NOSIGNAL)));
    await_readable(ends[1], 6);
    message = (struct msghdr){.msg_iov = &in, .msg_iovlen = 1};
    fact("recvmsg", "%s", received(bytes, syscall(SYS_recvmsg, ends[1], &message, 0)));
}

static void datagrams(void)
{
    union address from;
    char bytes[16];
    struct iovec out = {"batch", 5}, in = {bytes, sizeof bytes};
    struct mmsghdr batch = {.msg_hdr = {.msg_iov = &out, .msg_iovlen = 1}};
    int server = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int client = connected_to(server);

    fact("sendmmsg", "%s", outcome(syscall(SYS_sendmmsg, client, &batch, 1, 0)));
    await(server, POLLIN);
    batch = (struct mmsghdr){.msg_hdr = {.msg_iov = &in, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from}};
    fact("recvmmsg", "%s", outcome(syscall(SYS_recvmmsg, server, &batch, 1, 0, NULL)));
    fact("its length", "%u", batch.msg_len);
    fact("its name", "%s", address_named(&from, batch.msg_hdr.msg_namelen));
    fact("sendto", "%s", outcome(syscall(SYS_sendto, server, "answer", 6, 0, &from, sizeof from.v4)));
    await(client, POLLIN);
    fact("read", "%s", received(bytes, syscall(SYS_read, client, bytes, sizeof bytes)));
}

static void descriptors(void)
{
    struct pollfd entry;
    int ends[2];
    long copy;

    connection(AF_INET, ends);
    copy = syscall(SYS_dup, ends[0]);
    fact("dup", "%s", success(copy));
    fact("dup2", "%s", outcome(syscall(SYS_dup2, copy, 300)));
    fact("dup3", "%s", outcome(syscall(SYS_dup3, copy, 301, O_CLOEXEC)));
    fact("fcntl", "%s", outcome(syscall(SYS_fcntl, copy, F_DUPFD, 302)));
    fact("close_range", "%s", outcome(syscall(SYS_close_range, 301, 302, 0)));
    fact("name", "%s", peer_name(300));
    entry = (struct pollfd){.fd = 300, .events = POLLOUT};
    fact("poll", "%s", outcome(syscall(SYS_poll, &entry, 1, 0)));
    fact("events", "%s", events_named(entry.revents));
    fact("socketpair", "%s", outcome(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends)));
}

static void ended(void)
{
    int listening = listener(AF_INET, 4), fd;
    pid_t child = (pid_t)MUST(fork());

    if (child == 0) {
        int own = connected_to(listening);

        MUST(send(own, "last", 4, 0));
        syscall(SYS_exit_group, 7);
    }
    fact("child", "%s", end_of(child));
    fd = next_accepted(listening);
    fact("what came", "%s", drained(fd));
}

const struct parity_case cases[] = {
    {"connected", connected},
    {"vectors", vectors},
    {"datagrams", datagrams},
    {"descriptors", descriptors},
    {"ended", ended},
    {NULL, NULL},
};

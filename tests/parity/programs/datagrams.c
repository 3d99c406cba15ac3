/* UDP: connected and not, truncation, flags, empty datagrams, and a port where nobody listens. */
#include "parity.h"

static const char *so_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno_named(errno);
    return error ? errno_named(error) : "none";
}

static void fresh(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    char byte = 'x';

    fact("events", "%s", events_of(fd));
    fact("own name", "%s", local_name(fd));
    fact("peer's name", "%s", peer_name(fd));
    fact("send", "%s", outcome(send(fd, &byte, 1, 0)));
    fact("write", "%s", outcome(write(fd, &byte, 1)));
    fact("recv", "%s", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
    fact("shutdown", "%s", outcome(shutdown(fd, SHUT_RDWR)));
    fact("listen", "%s", outcome(listen(fd, 1)));
    fact("accept", "%s", outcome(accept(fd, NULL, NULL)));
}

static void unconnected(int family)
{
    int a = bound_to(family, SOCK_DGRAM, loopback(family, 0));
    int b = bound_to(family, SOCK_DGRAM, loopback(family, 0));
    union address to = loopback(family, port_of(b));
    union address from;
    socklen_t length = sizeof from;
    char bytes[64];

    fact("sendto", "%s", outcome(sendto(a, "one", 3, 0, &to.any, length_of(&to))));
    fact("sendto again", "%s", outcome(sendto(a, "two more", 8, 0, &to.any, length_of(&to))));
    fact("arrives", "%d", await(b, POLLIN));
    fact("events", "%s", events_of(b));
    fact("recvfrom", "%s", received(bytes, recvfrom(b, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("from the right port", "%d", (family == AF_INET ? from.v4.sin_port : from.v6.sin6_port) == port_of(a));
    await(b, POLLIN);
    length = 5;
    fact("recvfrom, little room for the address", "%s", received(bytes, recvfrom(b, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("recvfrom, little room, length", "%u", length);
    fact("recvfrom, nothing left", "%s", received(bytes, recvfrom(b, bytes, sizeof bytes, MSG_DONTWAIT, NULL, NULL)));
    fact("answer", "%s", outcome(sendto(b, "back", 4, 0, &from.any, 5)));
    fact("sendto without length", "%s", outcome(sendto(b, "back", 4, 0, &from.any, 0)));
    fact("sendto nobody", "%s", outcome(sendto(b, "back", 4, 0, NULL, 0)));
    to = loopback(family, 0);
    fact("sendto port 0", "%s", outcome(sendto(b, "back", 4, 0, &to.any, length_of(&to))));
    to = loopback(family == AF_INET ? AF_INET6 : AF_INET, port_of(a));
    fact("sendto the other family", "%s", outcome(sendto(b, "back", 4, 0, &to.any, length_of(&to))));
}

static void unconnected_v4(void)
{
    unconnected(AF_INET);
}

static void unconnected_v6(void)
{
    unconnected(AF_INET6);
}

/* The first datagram binds. */
static void bound_by_sending(void)
{
    int b = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int a = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    union address to = loopback(AF_INET, port_of(b));
    union address from;
    socklen_t length = sizeof from;
    char bytes[8];

    fact("sendto", "%s", outcome(sendto(a, "x", 1, 0, &to.any, sizeof to.v4)));
    fact("own name", "%s", local_name(a));
    await(b, POLLIN);
    fact("recvfrom", "%s", received(bytes, recvfrom(b, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("answer", "%s", outcome(sendto(b, "y", 1, 0, &from.any, length)));
    await(a, POLLIN);
    fact("answer arrives", "%s", received(bytes, recv(a, bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void connected(void)
{
    int ends[2], stranger = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    union address to, other = loopback(AF_INET, port_of(stranger));
    char bytes[16];

    datagram_pair(AF_INET, ends);
    to = loopback(AF_INET, port_of(ends[1]));
    fact("own name", "%s", local_name(ends[0]));
    fact("peer's name", "%s", peer_name(ends[0]));
    fact("events", "%s", events_of(ends[0]));
    MUST(sendto(stranger, "stranger", 8, 0, &to.any, sizeof to.v4));
    fact("send", "%s", outcome(send(ends[0], "friend", 6, 0)));
    fact("write", "%s", outcome(write(ends[0], "written", 7)));
    await(ends[1], POLLIN);
    fact("only from the peer", "%s", received(bytes, read(ends[1], bytes, sizeof bytes)));
    await(ends[1], POLLIN);
    fact("the second", "%s", received(bytes, read(ends[1], bytes, sizeof bytes)));
    fact("no third", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("sendto another", "%s", outcome(sendto(ends[0], "elsewhere", 9, 0, &other.any, sizeof other.v4)));
    await(stranger, POLLIN);
    fact("the other has it", "%s", received(bytes, recv(stranger, bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void connected_again(void)
{
    int ends[2], third = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    union address to = loopback(AF_INET, port_of(third));
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    char bytes[16];

    datagram_pair(AF_INET, ends);
    fact("connect to a third", "%s", outcome(connect(ends[0], &to.any, sizeof to.v4)));
    fact("send", "%s", outcome(send(ends[0], "hello", 5, 0)));
    await(third, POLLIN);
    fact("the third has it", "%s", received(bytes, recv(third, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("dissolve", "%s", outcome(connect(ends[0], &nowhere, sizeof nowhere)));
    fact("own name", "%s", local_name(ends[0]));
    fact("peer's name", "%s", peer_name(ends[0]));
    fact("send without a peer", "%s", outcome(send(ends[0], "hello", 5, 0)));
    fact("sendto", "%s", outcome(sendto(ends[0], "again", 5, 0, &to.any, sizeof to.v4)));
    await(third, POLLIN);
    fact("the third has that", "%s", received(bytes, recv(third, bytes, sizeof bytes, MSG_DONTWAIT)));
    MUST(connect(ends[1], &nowhere, sizeof nowhere));
    fact("bound, dissolved, own name", "%s", local_name(ends[1]));
}

/* What was queued before connect(2) stays, from whomever it was. */
static void queued_before_connect(void)
{
    int a = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int b = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int c = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    union address to = loopback(AF_INET, port_of(b));
    union address peer = loopback(AF_INET, port_of(c));
    char bytes[16];

    MUST(sendto(a, "early", 5, 0, &to.any, sizeof to.v4));
    await(b, POLLIN);
    MUST(connect(b, &peer.any, sizeof peer.v4));
    fact("recv", "%s", received(bytes, recv(b, bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void truncated(void)
{
    int ends[2];
    char bytes[8];
    struct iovec vector = {bytes, 4};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    datagram_pair(AF_INET, ends);
    for (int i = 0; i < 5; i++)
        MUST(send(ends[0], "datagram", 8, 0));
    await_readable(ends[1], 8);
    fact("recv of 4", "%s", received(bytes, recv(ends[1], bytes, 4, 0)));
    await(ends[1], POLLIN);
    fact("MSG_TRUNC", "%s", outcome(recv(ends[1], bytes, 4, MSG_TRUNC)));
    await(ends[1], POLLIN);
    fact("recvmsg", "%s", outcome(recvmsg(ends[1], &message, 0)));
    fact("recvmsg, flags", "%#x", message.msg_flags);
    await(ends[1], POLLIN);
    fact("MSG_PEEK | MSG_TRUNC", "%s", outcome(recv(ends[1], NULL, 0, MSG_PEEK | MSG_TRUNC)));
    fact("recv of nothing", "%s", outcome(recv(ends[1], bytes, 0, 0)));
    await(ends[1], POLLIN);
    vector.iov_len = 8;
    fact("recvmsg whole", "%s", outcome(recvmsg(ends[1], &message, 0)));
    fact("recvmsg whole, flags", "%#x", message.msg_flags);
    fact("then nothing", "%s", outcome(recv(ends[1], bytes, 4, MSG_DONTWAIT)));
}

static void peeked(void)
{
    int ends[2];
    char bytes[16];
    int ready = -1;

    datagram_pair(AF_INET, ends);
    MUST(send(ends[0], "first", 5, 0));
    MUST(send(ends[0], "second one", 10, 0));
    await(ends[1], POLLIN);
    fact("FIONREAD is of the first", "%s", outcome(ioctl(ends[1], FIONREAD, &ready)));
    fact("FIONREAD", "%d", ready);
    fact("MSG_PEEK", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_PEEK)));
    fact("MSG_PEEK again", "%s", received(bytes, recv(ends[1], bytes, 2, MSG_PEEK)));
    fact("MSG_WAITALL", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_WAITALL)));
    await(ends[1], POLLIN);
    fact("the second", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("FIONREAD of nothing", "%s", outcome(ioctl(ends[1], FIONREAD, &ready)));
    fact("FIONREAD then", "%d", ready);
    fact("MSG_OOB", "%s", outcome(recv(ends[1], bytes, 1, MSG_OOB | MSG_DONTWAIT)));
    fact("send MSG_OOB", "%s", outcome(send(ends[0], "x", 1, MSG_OOB)));
    fact("SIOCATMARK", "%s", outcome(ioctl(ends[0], SIOCATMARK, &ready)));
}

static void empty(void)
{
    int ends[2];
    char bytes[4];
    union address from;
    socklen_t length = sizeof from;
    int ready = -1;

    datagram_pair(AF_INET, ends);
    fact("send", "%s", outcome(send(ends[0], "", 0, 0)));
    fact("arrives", "%d", await(ends[1], POLLIN));
    fact("events", "%s", events_of(ends[1]));
    fact("FIONREAD", "%s", outcome(ioctl(ends[1], FIONREAD, &ready)));
    fact("FIONREAD's number", "%d", ready);
    fact("recvfrom", "%s", outcome(recvfrom(ends[1], bytes, sizeof bytes, 0, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("nothing left", "%s", outcome(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("write", "%s", outcome(write(ends[0], "", 0)));
    MUST(send(ends[0], "x", 1, 0));
    await(ends[1], POLLIN);
    fact("written", "%s", outcome(recv(ends[1], bytes, sizeof bytes, 0)));
    await(ends[1], POLLIN);
    fact("behind it", "%s", outcome(recv(ends[1], bytes, sizeof bytes, 0)));
}

static void nobody_listens(void)
{
    union address to = loopback(AF_INET, free_port(AF_INET, SOCK_DGRAM));
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    char byte;

    MUST(connect(fd, &to.any, sizeof to.v4));
    fact("send", "%s", outcome(send(fd, "x", 1, 0)));
    fact("shows POLLERR", "%d", await(fd, POLLERR));
    fact("events", "%s", events_of(fd));
    fact("recv", "%s", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
    fact("recv again", "%s", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
    fact("events after", "%s", events_of(fd));
    MUST(send(fd, "x", 1, 0));
    await(fd, POLLERR);
    fact("second send", "%s", outcome(send(fd, "x", 1, 0)));
    fact("third send", "%s", outcome(send(fd, "x", 1, 0)));
    await(fd, POLLERR);
    fact("SO_ERROR", "%s", so_error(fd));
    fact("SO_ERROR again", "%s", so_error(fd));
}

/* A blocked receive ends with the error. */
static void *receive_blocked(void *fd)
{
    char byte;

    fact("blocked recv", "%s", outcome(recv(*(int *)fd, &byte, 1, 0)));
    return NULL;
}

static void nobody_listens_while_blocked(void)
{
    int closing = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int fd = connected_to(closing);
    pthread_t thread;

    close(closing);
    pthread_create(&thread, NULL, receive_blocked, &fd);
    MUST(send(fd, "x", 1, 0));
    pthread_join(thread, NULL);
}

/* Without connect(2) nobody is told. */
static void nobody_listens_and_nobody_asks(void)
{
    union address to = loopback(AF_INET, free_port(AF_INET, SOCK_DGRAM));
    int fd = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    char byte;

    for (int i = 1; i <= 3; i++)
        fact(label("sendto %d", i), "%s", outcome(sendto(fd, "x", 1, 0, &to.any, sizeof to.v4)));
    fact("SO_ERROR", "%s", so_error(fd));
    fact("recv", "%s", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
}

static void sizes(void)
{
    static const int SIZES[] = {1, 1472, 1473, 9000, 65507, 65508, 65536, 100000};
    static char block[100000], room[100000];
    int ends[2];

    datagram_pair(AF_INET, ends);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        ssize_t sent = send(ends[0], block, (size_t)SIZES[i], 0);

        fact(label("send %d", SIZES[i]), "%s", outcome(sent));
        if (sent >= 0) {
            await(ends[1], POLLIN);
            fact(label("receive %d", SIZES[i]), "%s", outcome(recv(ends[1], room, sizeof room, MSG_DONTWAIT)));
        }
    }
}

static void sizes_v6(void)
{
    static char block[100000], room[100000];
    int ends[2];

    datagram_pair(AF_INET6, ends);
    fact("send 65487", "%s", outcome(send(ends[0], block, 65487, 0)));
    await(ends[1], POLLIN);
    fact("receive", "%s", outcome(recv(ends[1], room, sizeof room, MSG_DONTWAIT)));
    fact("send 65527", "%s", outcome(send(ends[0], block, 65527, 0)));
    fact("send 65528", "%s", outcome(send(ends[0], block, 65528, 0)));
}

static void shut_down(void)
{
    int ends[2];
    char bytes[8];

    datagram_pair(AF_INET, ends);
    fact("SHUT_WR", "%s", outcome(shutdown(ends[0], SHUT_WR)));
    fact("SHUT_WR, events", "%s", events_of(ends[0]));
    fact("SHUT_WR, send", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    MUST(send(ends[1], "late", 4, 0));
    await(ends[0], POLLIN);
    fact("SHUT_WR, recv", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("SHUT_RD", "%s", outcome(shutdown(ends[1], SHUT_RD)));
    fact("SHUT_RD, events", "%s", events_of(ends[1]));
    fact("SHUT_RD, recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("SHUT_RD, send", "%s", outcome(send(ends[1], "x", 1, MSG_NOSIGNAL)));
}

/* What came before SHUT_RD can be read, and what comes after; only then is it the end. */
static void read_after_shut_rd(void)
{
    char text[16], bytes[16];
    struct iovec vector = {.iov_base = bytes, .iov_len = 4};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    union address from;
    socklen_t length = sizeof from;
    int ends[2];

    datagram_pair(AF_INET, ends);
    for (int i = 0; i < 40; i++)
        MUST(send(ends[0], text, (size_t)sprintf(text, "before %d", i), 0));
    await(ends[1], POLLIN);
    fact("SHUT_RD", "%s", outcome(shutdown(ends[1], SHUT_RD)));
    fact("events", "%s", events_of(ends[1]));
    for (int i = 0; i < 40; i++)
        fact(label("datagram %d", i), "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("none is left", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("send", "%s", outcome(send(ends[0], "after", 5, 0)));
    fact("send another", "%s", outcome(send(ends[0], "", 0, 0)));
    fact("events again", "%s", events_of(ends[1]));
    fact("MSG_PEEK", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_PEEK)));
    fact("MSG_PEEK and MSG_TRUNC", "%s", outcome(recv(ends[1], bytes, 2, MSG_PEEK | MSG_TRUNC)));
    fact("cut", "%s", received(bytes, recvmsg(ends[1], &message, 0)));
    fact("MSG_TRUNC", "%d", (message.msg_flags & MSG_TRUNC) != 0);
    fact("empty", "%s", outcome(recvfrom(ends[1], bytes, sizeof bytes, 0, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("after all", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("from its own", "%s", outcome(send(ends[1], "x", 1, 0)));
    MUST(send(ends[0], "later", 5, 0));
    await(ends[1], POLLIN);
    fact("without waiting", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("without waiting, nothing", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* More than fits is dropped, and the sender is not told. */
static void overrun(void)
{
    static char block[1000];
    struct pollfd entry = {.events = POLLIN};
    int ends[2], sent = 0, got = 0;

    datagram_pair(AF_INET, ends);
    entry.fd = ends[1];
    set_int(ends[1], SOL_SOCKET, SO_RCVBUF, 8192);
    while (sent < 500 && send(ends[0], block, sizeof block, 0) == sizeof block)
        sent++;
    fact("sent", "%d", sent);
    while (poll(&entry, 1, 300) == 1 && recv(ends[1], block, sizeof block, MSG_DONTWAIT) == sizeof block)
        got++;
    fact("some are dropped", "%d", got > 0 && got < 500);
    fact("it goes on", "%s", outcome(send(ends[0], block, 10, 0)));
    await(ends[1], POLLIN);
    fact("and arrives", "%s", outcome(recv(ends[1], block, sizeof block, MSG_DONTWAIT)));
}

static void order(void)
{
    int ends[2], wrong = 0;
    char bytes[16], expected[16];

    datagram_pair(AF_INET, ends);
    for (int i = 0; i < 100; i++)
        MUST(send(ends[0], bytes, (size_t)sprintf(bytes, "%d", i), 0));
    for (int i = 0; i < 100; i++) {
        ssize_t count;

        await(ends[1], POLLIN);
        count = recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT);
        wrong += count != sprintf(expected, "%d", i) || memcmp(bytes, expected, (size_t)count);
    }
    fact("out of place", "%d", wrong);
}

static void gathered(void)
{
    int ends[2];
    char a[3], b[8];
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}};
    struct iovec in[2] = {{a, sizeof a}, {b, sizeof b}};

    datagram_pair(AF_INET, ends);
    fact("writev", "%s", outcome(writev(ends[0], out, 3)));
    await(ends[1], POLLIN);
    fact("readv", "%s", outcome(readv(ends[1], in, 2)));
    fact("first", "%.3s", a);
    fact("second", "%.3s", b);
}

/* Port 0 is nobody's; but a socket can be connected to it, and learns when it sends. */
static void connected_to_port_0(int family)
{
    union address nobody = loopback(family, 0);
    int fd = bound_to(family, SOCK_DGRAM, loopback(family, 0));
    char bytes[8];

    fact("connect", "%s", outcome(connect(fd, &nobody.any, length_of(&nobody))));
    fact("peer", "%s", peer_name(fd));
    fact("send", "%s", outcome(send(fd, "nobody", 6, 0)));
    fact("an error shows", "%d", await(fd, POLLERR));
    fact("recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("sendto", "%s", outcome(sendto(fd, "nobody", 6, 0, &nobody.any, length_of(&nobody))));
}

static void connected_to_port_0_v4(void)
{
    connected_to_port_0(AF_INET);
}

static void connected_to_port_0_v6(void)
{
    connected_to_port_0(AF_INET6);
}

/* A datagram to a socket that is bound to the wildcard leaves from the address it went to. */
static void wildcard_answers(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, wildcard(AF_INET, 0));
    int client = connected_to(server);
    union address from;
    socklen_t length = sizeof from;
    char bytes[8];

    fact("server's name", "%s", local_name(server));
    fact("client's name", "%s", local_name(client));
    fact("client's peer", "%s", peer_name(client));
    MUST(send(client, "ask", 3, 0));
    await(server, POLLIN);
    fact("recvfrom", "%s", received(bytes, recvfrom(server, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("sendto", "%s", outcome(sendto(server, "tell", 4, 0, &from.any, length)));
    fact("arrives", "%d", await(client, POLLIN));
    fact("recv", "%s", received(bytes, recv(client, bytes, sizeof bytes, MSG_DONTWAIT)));
}

const struct parity_case cases[] = {
    {"fresh", fresh},
    {"unconnected_v4", unconnected_v4},
    {"unconnected_v6", unconnected_v6},
    {"bound_by_sending", bound_by_sending},
    {"connected", connected},
    {"connected_again", connected_again},
    {"queued_before_connect", queued_before_connect},
    {"truncated", truncated},
    {"peeked", peeked},
    {"empty", empty},
    {"nobody_listens", nobody_listens},
    {"nobody_listens_while_blocked", nobody_listens_while_blocked},
    {"nobody_listens_and_nobody_asks", nobody_listens_and_nobody_asks},
    {"sizes", sizes},
    {"sizes_v6", sizes_v6},
    {"shut_down", shut_down},
    {"read_after_shut_rd", read_after_shut_rd},
    {"overrun", overrun},
    {"order", order},
    {"gathered", gathered},
    {"connected_to_port_0_v4", connected_to_port_0_v4},
    {"connected_to_port_0_v6", connected_to_port_0_v6},
    {"wildcard_answers", wildcard_answers},
    {NULL, NULL},
};

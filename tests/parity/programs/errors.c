/* Calls out of order, and with arguments that cannot be: which errno, and that nothing else happens. */
#include "parity.h"

#include <sys/un.h>

static void sockets(void)
{
    fact("stream with UDP", "%s", success(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)));
    fact("datagram with TCP", "%s", success(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP)));
    fact("stream with TCP", "%s", success(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)));
    fact("datagram with UDP", "%s", success(socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP)));
    fact("protocol of nobody", "%s", success(socket(AF_INET, SOCK_STREAM, 251)));
    fact("protocol out of range", "%s", success(socket(AF_INET, SOCK_STREAM, 4711)));
    fact("negative protocol", "%s", success(socket(AF_INET, SOCK_STREAM, -1)));
    fact("sequenced packets", "%s", success(socket(AF_INET, SOCK_SEQPACKET, 0)));
    fact("no such type", "%s", success(socket(AF_INET, 77, 0)));
    fact("raw without protocol", "%s", success(socket(AF_INET, SOCK_RAW, 0)));
    fact("no such family", "%s", success(socket(99, SOCK_STREAM, 0)));
    fact("flags", "%s", success(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)));
    fact("pair", "%s", outcome(socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0, 0})));
}

static void descriptor_flags(void)
{
    int plain = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int both = (int)MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int listening = listener(AF_INET, 4);
    int client = connected_to(listening);
    int accepted;

    fact("plain, status", "%#x", fcntl(plain, F_GETFL));
    fact("plain, descriptor", "%#x", fcntl(plain, F_GETFD));
    fact("with flags, status", "%#x", fcntl(both, F_GETFL));
    fact("with flags, descriptor", "%#x", fcntl(both, F_GETFD));
    set_nonblocking(listening);
    accepted = next_accepted(listening);
    fact("accepted, status", "%#x", fcntl(accepted, F_GETFL));
    fact("accepted, descriptor", "%#x", fcntl(accepted, F_GETFD));
    close(client);
    client = connected_to(listening);
    await(listening, POLLIN);
    accepted = (int)MUST(accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    fact("accept4, status", "%#x", fcntl(accepted, F_GETFL));
    fact("accept4, descriptor", "%#x", fcntl(accepted, F_GETFD));
    fact("accept4 with other flags", "%s", success(accept4(listening, NULL, NULL, 1)));
}

/* Each on a socket of its own. */
static void try_bind(const char *name, int family, const union address *address, socklen_t length)
{
    int fd = (int)MUST(socket(family, SOCK_STREAM, 0));

    fact(name, "%s", outcome(bind(fd, &address->any, length)));
    close(fd);
}

static union address numeric(int family, const char *text)
{
    union address address = wildcard(family, 0);

    inet_pton(family, text, family == AF_INET ? (void *)&address.v4.sin_addr : (void *)&address.v6.sin6_addr);
    return address;
}

static void binds(void)
{
    union address own = loopback(AF_INET, 0);
    union address address = own;
    socklen_t length = sizeof own.v4;
    int other = listener(AF_INET, 4);
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    try_bind("one byte too short", AF_INET, &own, length - 1);
    try_bind("no length", AF_INET, &own, 0);
    try_bind("longer than needed", AF_INET, &own, sizeof own);
    try_bind("longer than can be", AF_INET, &own, sizeof own + 1);
    fact("null", "%s", outcome(bind(fd, NULL, length)));
    address.v4.sin_port = port_of(other);
    try_bind("taken", AF_INET, &address, length);
    address = numeric(AF_INET, "192.0.2.1");
    try_bind("not ours", AF_INET, &address, length);
    address = numeric(AF_INET, "224.0.0.1");
    try_bind("multicast", AF_INET, &address, length);
    address = numeric(AF_INET, "255.255.255.255");
    try_bind("broadcast", AF_INET, &address, length);
    address = numeric(AF_INET, "127.1.2.3");
    try_bind("another of the loopback", AF_INET, &address, length);
    address = loopback(AF_INET6, 0);
    try_bind("the other family", AF_INET, &address, sizeof address.v6);
    address = own;
    address.any.sa_family = AF_UNSPEC;
    try_bind("AF_UNSPEC with an address", AF_INET, &address, length);
    address = wildcard(AF_INET, 0);
    address.any.sa_family = AF_UNSPEC;
    try_bind("AF_UNSPEC with the wildcard", AF_INET, &address, length);
    fact("once", "%s", outcome(bind(fd, &own.any, length)));
    fact("twice", "%s", outcome(bind(fd, &own.any, length)));
    fact("of a connection", "%s", outcome(bind(connected_to(other), &own.any, length)));
}

static void binds_v6(void)
{
    union address address = loopback(AF_INET6, 0);

    try_bind("short", AF_INET6, &address, 24 - 1);
    try_bind("without the scope", AF_INET6, &address, 24);
    address = loopback(AF_INET, 0);
    try_bind("the other family", AF_INET6, &address, sizeof address.v4);
    address = numeric(AF_INET6, "2001:db8::1");
    try_bind("not ours", AF_INET6, &address, sizeof address.v6);
    address = numeric(AF_INET6, "fe80::1");
    try_bind("link-local without scope", AF_INET6, &address, sizeof address.v6);
    address = numeric(AF_INET6, "ff02::1");
    try_bind("multicast without scope", AF_INET6, &address, sizeof address.v6);
    address = numeric(AF_INET6, "::ffff:127.0.0.1");
    try_bind("mapped", AF_INET6, &address, sizeof address.v6);
}

static void connects(void)
{
    int listening = listener(AF_INET, 4);
    union address address = loopback(AF_INET, port_of(listening));
    union address other = loopback(AF_INET6, address.v4.sin_port);
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    fact("too short", "%s", outcome(connect(fd, &address.any, sizeof address.v4 - 1)));
    fact("no length", "%s", outcome(connect(fd, &address.any, 0)));
    fact("null", "%s", outcome(connect(fd, NULL, sizeof address.v4)));
    fact("the other family", "%s", outcome(connect(fd, &other.any, sizeof other.v6)));
    other = loopback(AF_INET, 0);
    fact("port 0", "%s", outcome(connect(fd, &other.any, sizeof other.v4)));
    other = address;
    other.v4.sin_addr.s_addr = INADDR_BROADCAST;
    fact("broadcast", "%s", outcome(connect(fd, &other.any, sizeof other.v4)));
    other.v4.sin_addr.s_addr = inet_addr("224.0.0.1");
    fact("multicast", "%s", outcome(connect(fd, &other.any, sizeof other.v4)));
    fact("a listener", "%s", outcome(connect(listening, &address.any, sizeof address.v4)));
    fact("after all that", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
    fact("twice", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
}

static void listens(void)
{
    int ends[2];
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int datagram = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

    connection(AF_INET, ends);
    fact("a datagram socket", "%s", outcome(listen(datagram, 4)));
    fact("a connection", "%s", outcome(listen(ends[0], 4)));
    fact("unbound", "%s", outcome(listen(fd, 4)));
    fact("unbound, then its name", "%s", local_name(fd));
    fact("again", "%s", outcome(listen(fd, 1)));
    fact("negative backlog", "%s", outcome(listen(fd, -1)));
}

static void accepts(void)
{
    union address address;
    socklen_t length = sizeof address;
    int listening = listener(AF_INET, 4);
    int clients[3] = {connected_to(listening), connected_to(listening), connected_to(listening)};

    (void)clients;
    fact("a datagram socket", "%s", success(accept((int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), NULL, NULL)));
    fact("a fresh socket", "%s", success(accept((int)MUST(socket(AF_INET, SOCK_STREAM, 0)), NULL, NULL)));
    fact("a connection", "%s", success(accept(clients[0], NULL, NULL)));
    fact("with address", "%s", success(accept(listening, &address.any, &length)));
    fact("with address, the address", "%s", address_named(&address, length));
    length = 4;
    memset(&address, 0, sizeof address);
    fact("little room", "%s", success(accept(listening, &address.any, &length)));
    fact("little room, length", "%u", length);
    fact("little room, address cut", "%d", address.v4.sin_addr.s_addr == 0);
    fact("address without length", "%s", success(accept(listening, &address.any, NULL)));
    set_nonblocking(listening);
    length = sizeof address;
    fact("nobody", "%s", success(accept(listening, &address.any, &length)));
}

static void names(void)
{
    union address address;
    socklen_t length;
    int ends[2];

    connection(AF_INET, ends);
    length = 0;
    fact("getsockname, no room", "%s", outcome(getsockname(ends[0], &address.any, &length)));
    fact("getsockname, no room, length", "%u", length);
    length = 8;
    fact("getpeername, half the room", "%s", outcome(getpeername(ends[0], &address.any, &length)));
    fact("getpeername, half the room, length", "%u", length);
    length = (socklen_t)-1;
    fact("getsockname, negative length", "%s", outcome(getsockname(ends[0], &address.any, &length)));
    length = sizeof address;
    fact("getsockname, null", "%s", outcome(getsockname(ends[0], NULL, &length)));
    fact("getsockname, null length", "%s", outcome(getsockname(ends[0], &address.any, NULL)));
}

static void data(void)
{
    union address address = loopback(AF_INET, 0);
    char byte = 'x';
    void *volatile null = NULL;
    int ends[2];
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    connection(AF_INET, ends);
    fact("send, unconnected", "%s", outcome(send(fd, &byte, 1, MSG_NOSIGNAL)));
    fact("recv, unconnected", "%s", outcome(recv(fd, &byte, 1, 0)));
    fact("shutdown, unconnected", "%s", outcome(shutdown(fd, SHUT_WR)));
    fact("shutdown, no such way", "%s", outcome(shutdown(ends[0], 3)));
    fact("shutdown, negative", "%s", outcome(shutdown(ends[0], -1)));
    address.v4.sin_port = port_of(ends[1]);
    fact("sendto of a connection", "%s", outcome(sendto(ends[0], &byte, 1, 0, &address.any, sizeof address.v4)));
    fact("send, null", "%s", outcome(send(ends[0], null, 1, MSG_NOSIGNAL)));
    fact("write, null", "%s", outcome(write(ends[0], null, 1)));
    fact("send, nothing", "%s", outcome(send(ends[0], &byte, 0, 0)));
    fact("recv, nothing", "%s", outcome(recv(ends[0], &byte, 0, MSG_DONTWAIT)));
    fact("recv, nothing there", "%s", outcome(recv(ends[0], &byte, 1, MSG_DONTWAIT)));
    await(ends[1], POLLIN);
    fact("recv, null", "%s", outcome(recv(ends[1], null, 1, MSG_DONTWAIT)));
    fact("recv afterwards", "%s", received(&byte, recv(ends[1], &byte, 1, MSG_DONTWAIT)));
}

/* Null where an address or its length should be: what is looked at first. */
static void null_addresses(void)
{
    union address address = loopback(AF_INET, 0);
    void *volatile null = NULL;
    int listening = listener(AF_INET, 4), ends[2];
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int datagrams = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    socklen_t length = sizeof address, none = 0, negative = (socklen_t)-1;
    char byte = 'x';

    connection(AF_INET, ends);
    fact("getpeername, unconnected", "%s", outcome(getpeername(fd, null, null)));
    fact("getpeername, address", "%s", outcome(getpeername(ends[0], null, &length)));
    fact("getpeername, address without a length", "%s", outcome(getpeername(ends[0], null, &none)));
    fact("what its length is", "%u", none);
    fact("getpeername, length", "%s", outcome(getpeername(ends[0], &address.any, null)));
    fact("getsockname, both", "%s", outcome(getsockname(fd, null, null)));
    fact("getsockname, address, negative", "%s", outcome(getsockname(fd, null, &negative)));
    fact("bind, no length", "%s", outcome(bind(fd, null, 0)));
    fact("bind, longer than can be", "%s", outcome(bind(fd, null, 129)));
    fact("bind, negative", "%s", outcome(bind(fd, null, negative)));
    fact("connect, no length", "%s", outcome(connect(fd, null, 0)));
    fact("connect, longer than can be", "%s", outcome(connect(fd, null, 129)));
    fact("connect", "%s", outcome(connect(fd, null, 16)));
    set_nonblocking(listening);
    fact("accept, nobody", "%s", outcome(accept(listening, &address.any, null)));
    connected_to(listening);
    await(listening, POLLIN);
    fact("accept, length", "%s", outcome(accept(listening, &address.any, null)));
    fact("accept, nobody again", "%s", outcome(accept(listening, &address.any, null)));
    connected_to(listening);
    await(listening, POLLIN);
    length = 7;
    fact("accept, address", "%s", success(accept(listening, null, &length)));
    fact("what the length is", "%u", length);
    fact("sendto, length without an address", "%s", outcome(sendto(datagrams, &byte, 1, 0, null, 129)));
    fact("sendto, longer than can be", "%s", outcome(sendto(datagrams, &byte, 1, 0, &address.any, 129)));
    fact("sendto, of a connection", "%s", outcome(sendto(ends[0], &byte, 1, 0, &address.any, 129)));
    fact("sendto, nothing of it", "%s", outcome(sendto(datagrams, null, 1, 0, &address.any, 0)));
}

/* Null where data, a message or an option should be. */
static void null_values(void)
{
    void *volatile null = NULL;
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), ends[2], pair[2], value = 0;
    socklen_t length = sizeof value, none = 0, negative = (socklen_t)-1;
    struct iovec vector = {.iov_base = null, .iov_len = 1}, long_one = {.iov_base = &value, .iov_len = (size_t)-1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1}, longer = {.msg_iov = &long_one, .msg_iovlen = 1};
    struct iovec part = {.iov_base = &value, .iov_len = SIZE_MAX / 2}, three[3] = {part, part, part};
    struct msghdr much = {.msg_iov = three, .msg_iovlen = 3}, absent = {.msg_iov = null, .msg_iovlen = 1};

    connection(AF_INET, ends);
    datagram_pair(AF_INET, pair);
    fact("getsockopt, value", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_TYPE, null, &length)));
    fact("getsockopt, value without a length", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_TYPE, null, &none)));
    fact("getsockopt, value, negative", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_TYPE, null, &negative)));
    fact("getsockopt, length", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, null)));
    fact("getsockopt, none such, value", "%s", outcome(getsockopt(fd, SOL_SOCKET, 999, null, &length)));
    fact("getsockopt, none such, length", "%s", outcome(getsockopt(fd, SOL_SOCKET, 999, &value, null)));
    fact("getsockopt, none such of TCP, value", "%s", outcome(getsockopt(fd, IPPROTO_TCP, 999, null, &length)));
    fact("getsockopt, no such level, value", "%s", outcome(getsockopt(fd, 999, 1, null, &length)));
    fact("setsockopt", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, null, sizeof value)));
    fact("setsockopt without a length", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, null, 0)));
    fact("setsockopt, negative", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, null, negative)));
    fact("setsockopt, none such", "%s", outcome(setsockopt(fd, SOL_SOCKET, 999, null, sizeof value)));
    fact("setsockopt, none such of TCP", "%s", outcome(setsockopt(fd, IPPROTO_TCP, 999, null, sizeof value)));
    fact("setsockopt, none such of IP", "%s", outcome(setsockopt(fd, IPPROTO_IP, 999, null, sizeof value)));
    fact("setsockopt, no such level", "%s", outcome(setsockopt(fd, 999, 1, null, sizeof value)));
    for (int i = 0; i < 2; i++) {
        int at = i ? pair[1] : ends[1], from = i ? pair[0] : ends[0];
        const char *kind = i ? "datagrams" : "stream";

        fact(label("sendmsg, %s", kind), "%s", outcome(sendmsg(from, null, MSG_NOSIGNAL)));
        fact(label("sendmsg, data, %s", kind), "%s", outcome(sendmsg(from, &message, MSG_NOSIGNAL)));
        fact(label("sendmsg, vector, %s", kind), "%s", outcome(sendmsg(from, &absent, MSG_NOSIGNAL)));
        fact(label("sendmsg, too long, %s", kind), "%s", outcome(sendmsg(from, &longer, MSG_NOSIGNAL)));
        fact(label("recvmsg, nothing there, %s", kind), "%s", outcome(recvmsg(at, null, MSG_DONTWAIT)));
        MUST(send(from, "1", 1, 0));
        await(at, POLLIN);
        fact(label("recvmsg, %s", kind), "%s", outcome(recvmsg(at, null, MSG_DONTWAIT)));
        fact(label("recvmsg, vector, %s", kind), "%s", outcome(recvmsg(at, &absent, MSG_DONTWAIT)));
        fact(label("recvmsg, too long, %s", kind), "%s", outcome(recvmsg(at, &longer, MSG_DONTWAIT)));
        fact(label("recvmsg, too long, MSG_TRUNC, %s", kind), "%s", outcome(recvmsg(at, &longer, MSG_DONTWAIT | MSG_TRUNC)));
        fact(label("recvmsg, much, MSG_PEEK, %s", kind), "%s", outcome(recvmsg(at, &much, MSG_DONTWAIT | MSG_PEEK)));
        fact(label("recvmsg, much, MSG_PEEK and MSG_WAITALL, %s", kind), "%s",
             outcome(recvmsg(at, &much, MSG_DONTWAIT | MSG_PEEK | MSG_WAITALL)));
        fact(label("recvmsg, data, %s", kind), "%s", outcome(recvmsg(at, &message, MSG_DONTWAIT)));
    }
}

/* A stream ignores where a message is to go. */
static void addressed(void)
{
    union address address = loopback(AF_INET, 9);
    char byte = 'x';
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address.v4, .msg_iov = &part, .msg_iovlen = 1};
    int ends[2], pair[2];

    connection(AF_INET, ends);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    fact("connected", "%s", outcome(sendmsg(ends[0], &message, MSG_NOSIGNAL)));
    fact("arrives", "%s", received(&byte, recv(ends[1], &byte, 1, 0)));
    fact("not connected", "%s", outcome(sendmsg((int)MUST(socket(AF_INET, SOCK_STREAM, 0)), &message, MSG_NOSIGNAL)));
    fact("none of ours", "%s", outcome(sendmsg(pair[0], &message, MSG_NOSIGNAL)));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("shut", "%s", outcome(sendmsg(ends[0], &message, MSG_NOSIGNAL)));
}

/* No memory at all where the kernel looks for a vector or a message, of what is none of ours. */
static void wild_pointers(void)
{
    void *volatile wild = (void *)16;
    struct msghdr message = {.msg_iov = wild, .msg_iovlen = 1};
    int ends[2], pair[2];

    MUST(pipe(ends));
    MUST(write(ends[1], "x", 1));
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    MUST(send(pair[1], "x", 1, 0));
    fact("readv", "%s", outcome(readv(ends[0], wild, 1)));
    fact("readv, closed", "%s", outcome(readv(-1, wild, 1)));
    fact("writev", "%s", outcome(writev(ends[1], wild, 1)));
    fact("recvmsg", "%s", outcome(recvmsg(pair[0], wild, 0)));
    fact("recvmsg, closed", "%s", outcome(recvmsg(-1, wild, 0)));
    fact("recvmsg, vector", "%s", outcome(recvmsg(pair[0], &message, 0)));
    fact("recvmsg, vector, MSG_TRUNC", "%s", outcome(recvmsg(pair[0], &message, MSG_TRUNC)));
    fact("sendmsg", "%s", outcome(sendmsg(pair[0], wild, 0)));
    fact("sendmsg, closed", "%s", outcome(sendmsg(-1, wild, 0)));
}

static void not_a_socket(void)
{
    union address address = loopback(AF_INET, 0);
    socklen_t length = sizeof address;
    char byte = 'x';
    int value = 0;
    int file = (int)MUST(open("/dev/null", O_RDWR));
    const struct {
        const char *name;
        int fd;
    } descriptors[] = {{"a file", file}, {"closed", 77}, {"negative", -1}};

    for (size_t i = 0; i < sizeof descriptors / sizeof descriptors[0]; i++) {
        const char *name = descriptors[i].name;
        int fd = descriptors[i].fd;

        fact(label("bind, %s", name), "%s", outcome(bind(fd, &address.any, sizeof address.v4)));
        fact(label("connect, %s", name), "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
        fact(label("listen, %s", name), "%s", outcome(listen(fd, 1)));
        fact(label("accept, %s", name), "%s", outcome(accept(fd, NULL, NULL)));
        fact(label("getsockname, %s", name), "%s", outcome(getsockname(fd, &address.any, &length)));
        fact(label("getpeername, %s", name), "%s", outcome(getpeername(fd, &address.any, &length)));
        fact(label("getsockopt, %s", name), "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length)));
        fact(label("setsockopt, %s", name), "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value)));
        fact(label("shutdown, %s", name), "%s", outcome(shutdown(fd, SHUT_WR)));
        fact(label("send, %s", name), "%s", outcome(send(fd, &byte, 1, 0)));
        fact(label("recv, %s", name), "%s", outcome(recv(fd, &byte, 1, 0)));
        fact(label("ioctl, %s", name), "%s", outcome(ioctl(fd, FIONREAD, &value)));
        fact(label("close, %s", name), "%s", outcome(close(fd)));
    }
}

/* Sockets of another family are the kernel's, and stay it. */
static void other_families(void)
{
    union address address = loopback(AF_INET, 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t length = sizeof name;
    int pair[2], type = 0;
    socklen_t type_length = sizeof type;

    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    fact("getsockname", "%s", outcome(getsockname(pair[0], (struct sockaddr *)&name, &length)));
    fact("getsockname, length", "%u", length);
    fact("connect to AF_INET", "%s", outcome(connect((int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)), &address.any, sizeof address.v4)));
    fact("bind to AF_INET", "%s", outcome(bind((int)MUST(socket(AF_UNIX, SOCK_STREAM, 0)), &address.any, sizeof address.v4)));
    fact("SO_DOMAIN", "%s", outcome(getsockopt(pair[0], SOL_SOCKET, SO_DOMAIN, &type, &type_length)));
    fact("SO_DOMAIN is AF_UNIX", "%d", type == AF_UNIX);
    fact("TCP_NODELAY", "%s", outcome(setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &type, sizeof type)));
    fact("IP_TOS", "%s", outcome(setsockopt(pair[0], IPPROTO_IP, IP_TOS, &type, sizeof type)));
    fact("netlink", "%s", success(socket(AF_NETLINK, SOCK_RAW, 0)));
}

const struct parity_case cases[] = {
    {"sockets", sockets},
    {"descriptor_flags", descriptor_flags},
    {"binds", binds},
    {"binds_v6", binds_v6},
    {"connects", connects},
    {"listens", listens},
    {"accepts", accepts},
    {"names", names},
    {"data", data},
    {"null_addresses", null_addresses},
    {"null_values", null_values},
    {"addressed", addressed},
    {"wild_pointers", wild_pointers},
    {"not_a_socket", not_a_socket},
    {"other_families", other_families},
    {NULL, NULL},
};

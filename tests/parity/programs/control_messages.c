/* Control messages: what recvmsg(2) tells beside the data, and what sendmsg(2) can be told. */
#include "parity.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/ip.h>
#include <sys/time.h>

union control {
    char bytes[512];
    struct cmsghdr align;
};

/* A control message as text. */
static const char *control_named(struct cmsghdr *message)
{
    int level = message->cmsg_level, type = message->cmsg_type;
    char text[INET6_ADDRSTRLEN], other[INET6_ADDRSTRLEN];
    int number;

    memcpy(&number, CMSG_DATA(message), sizeof number);
    if (level == IPPROTO_IP && type == IP_PKTINFO) {
        struct in_pktinfo info;

        memcpy(&info, CMSG_DATA(message), sizeof info);
        inet_ntop(AF_INET, &info.ipi_addr, text, sizeof text);
        inet_ntop(AF_INET, &info.ipi_spec_dst, other, sizeof other);
        return label("IP_PKTINFO to %s, own %s, interface %s", text, other, info.ipi_ifindex ? "known" : "0");
    }
    if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
        struct in6_pktinfo info;

        memcpy(&info, CMSG_DATA(message), sizeof info);
        inet_ntop(AF_INET6, &info.ipi6_addr, text, sizeof text);
        return label("IPV6_PKTINFO to %s, interface %s", text, info.ipi6_ifindex ? "known" : "0");
    }
    if (level == IPPROTO_IP && type == IP_TTL)
        return label("IP_TTL %d (%zu)", number, message->cmsg_len - CMSG_LEN(0));
    if (level == IPPROTO_IP && type == IP_TOS)
        return label("IP_TOS %#x (%zu)", *CMSG_DATA(message), message->cmsg_len - CMSG_LEN(0));
    if (level == IPPROTO_IPV6 && type == IPV6_HOPLIMIT)
        return label("IPV6_HOPLIMIT %d", number);
    if (level == IPPROTO_IPV6 && type == IPV6_TCLASS)
        return label("IPV6_TCLASS %#x", number);
    if (level == IPPROTO_IP && type == IP_ORIGDSTADDR)
        return "IP_ORIGDSTADDR";
    if (level == SOL_SOCKET && type == SCM_TIMESTAMP)
        return label("SCM_TIMESTAMP (%zu)", message->cmsg_len - CMSG_LEN(0));
    if (level == SOL_SOCKET && type == SCM_TIMESTAMPNS)
        return label("SCM_TIMESTAMPNS (%zu)", message->cmsg_len - CMSG_LEN(0));
    if (level == SOL_SOCKET && type == SCM_TIMESTAMPING) {
        struct scm_timestamping times;

        memcpy(&times, CMSG_DATA(message), sizeof times);
        return label("SCM_TIMESTAMPING (%zu), by software %d, by hardware %d", message->cmsg_len - CMSG_LEN(0),
                     times.ts[0].tv_sec > 1000000000, times.ts[2].tv_sec != 0);
    }
    if (level == IPPROTO_IP && type == IP_RECVERR) {
        struct sock_extended_err error;

        memcpy(&error, CMSG_DATA(message), sizeof error);
        return label("IP_RECVERR %s, origin %d, info %u, data %u", errno_named((int)error.ee_errno), error.ee_origin, error.ee_info, error.ee_data);
    }
    return label("level %d, type %d", level, type);
}

/* Receives a datagram and tells its control messages. */
static void receive(const char *what, int fd, size_t room, int flags)
{
    char bytes[64];
    struct iovec vector = {bytes, sizeof bytes};
    union control control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = room};
    ssize_t count;
    int number = 0;

    if (!(flags & MSG_ERRQUEUE))
        await(fd, POLLIN);
    count = recvmsg(fd, &message, flags | MSG_DONTWAIT);
    fact(label("%s, recvmsg", what), "%s", received(bytes, count));
    if (count < 0)
        return;
    fact(label("%s, flags", what), "%#x", message.msg_flags);
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each))
        fact(label("%s, message %d", what, number++), "%s", control_named(each));
    fact(label("%s, messages", what), "%d", number);
}

/* Sends with one control message. */
static const char *send_with(int fd, int level, int type, const void *value, size_t length)
{
    struct iovec vector = {"told", 4};
    union control control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_SPACE(length)};
    struct cmsghdr *head;

    memset(&control, 0, sizeof control);
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = level;
    head->cmsg_type = type;
    head->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(head), value, length);
    return outcome(sendmsg(fd, &message, 0));
}

/* As an option that must not end the case when it is refused. */
static void turn_on(int fd, int level, int name, const char *text)
{
    int one = 1;

    fact(text, "%s", outcome(setsockopt(fd, level, name, &one, sizeof one)));
}

static void received_v4(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, wildcard(AF_INET, 0));
    int client = connected_to(server);

    MUST(send(client, "none", 4, 0));
    receive("nothing asked for", server, sizeof(union control), 0);
    turn_on(server, IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO");
    MUST(send(client, "pktinfo", 7, 0));
    receive("IP_PKTINFO", server, sizeof(union control), 0);
    turn_on(server, IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL");
    turn_on(server, IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS");
    MUST(send(client, "all", 3, 0));
    receive("all", server, sizeof(union control), 0);
    MUST(send(client, "room", 4, 0));
    receive("room for one", server, CMSG_SPACE(sizeof(struct in_pktinfo)), 0);
    MUST(send(client, "no room", 7, 0));
    receive("no room", server, 0, 0);
    turn_on(client, IPPROTO_IP, IP_TTL, "IP_TTL");
    set_int(client, IPPROTO_IP, IP_TOS, 0x10);
    set_int(client, IPPROTO_IP, IP_TTL, 7);
    MUST(send(client, "set", 3, 0));
    receive("TTL and TOS set", server, sizeof(union control), 0);
}

static void received_v6(void)
{
    int server = bound_to(AF_INET6, SOCK_DGRAM, wildcard(AF_INET6, 0));
    int client = connected_to(server);

    turn_on(server, IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
    turn_on(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT");
    turn_on(server, IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS");
    MUST(send(client, "all", 3, 0));
    receive("all", server, sizeof(union control), 0);
    turn_on(client, IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS");
    set_int(client, IPPROTO_IPV6, IPV6_TCLASS, 0x10);
    MUST(send(client, "set", 3, 0));
    receive("hops and class set", server, sizeof(union control), 0);
}

/* IPv4 at a socket of IPv6: PKTINFO of the mapped address, and IPv4's own where they are asked for. */
static void received_mapped(void)
{
    int server = bound_to(AF_INET6, SOCK_DGRAM, wildcard(AF_INET6, 0));
    int client = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    union address to = loopback(AF_INET, port_of(server));

    turn_on(server, IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
    turn_on(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT");
    turn_on(server, IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO");
    turn_on(server, IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL");
    MUST(sendto(client, "mapped", 6, 0, &to.any, sizeof to.v4));
    receive("mapped", server, sizeof(union control), 0);
}

static void sent_v4(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, wildcard(AF_INET, 0));
    int client = connected_to(server);
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = inet_addr("127.0.0.1")};
    int ttl = 9, tos = 0x10, bad = 4711;

    turn_on(server, IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO");
    turn_on(server, IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL");
    turn_on(server, IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS");
    fact("with IP_TTL", "%s", send_with(client, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl));
    receive("with IP_TTL", server, sizeof(union control), 0);
    fact("with IP_TOS", "%s", send_with(client, IPPROTO_IP, IP_TOS, &tos, sizeof tos));
    receive("with IP_TOS", server, sizeof(union control), 0);
    fact("with IP_PKTINFO", "%s", send_with(client, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    receive("with IP_PKTINFO", server, sizeof(union control), 0);
    info.ipi_spec_dst.s_addr = inet_addr("192.0.2.1");
    fact("with a source that is not ours", "%s", send_with(client, IPPROTO_IP, IP_PKTINFO, &info, sizeof info));
    fact("with a bad TTL", "%s", send_with(client, IPPROTO_IP, IP_TTL, &bad, sizeof bad));
    fact("with a short TTL", "%s", send_with(client, IPPROTO_IP, IP_TTL, &ttl, 1));
    fact("with an unknown one", "%s", send_with(client, IPPROTO_IP, 9999, &ttl, sizeof ttl));
    fact("of an unknown level", "%s", send_with(client, 4711, 1, &ttl, sizeof ttl));
    fact("of SOL_SOCKET, unknown", "%s", send_with(client, SOL_SOCKET, 9999, &ttl, sizeof ttl));
}

/* The answer leaves from the address that the question went to. */
static void answered_from_another_address(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, wildcard(AF_INET, 0));
    int client = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    union address to = loopback(AF_INET, port_of(client)), from;
    socklen_t length = sizeof from;
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = inet_addr("127.0.0.7")};
    struct iovec vector = {"seven", 5};
    union control control;
    struct msghdr message = {.msg_name = &to,
                             .msg_namelen = sizeof to.v4,
                             .msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_SPACE(sizeof info)};
    struct cmsghdr *head;
    char bytes[8];

    memset(&control, 0, sizeof control);
    head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = IPPROTO_IP;
    head->cmsg_type = IP_PKTINFO;
    head->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(head), &info, sizeof info);
    fact("sendmsg", "%s", outcome(sendmsg(server, &message, 0)));
    await(client, POLLIN);
    fact("recvfrom", "%s", received(bytes, recvfrom(client, bytes, sizeof bytes, MSG_DONTWAIT, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
}

static void sent_v6(void)
{
    int server = bound_to(AF_INET6, SOCK_DGRAM, wildcard(AF_INET6, 0));
    int client = connected_to(server);
    int hops = 9, class = 0x10;

    turn_on(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT");
    turn_on(server, IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS");
    fact("with IPV6_HOPLIMIT", "%s", send_with(client, IPPROTO_IPV6, IPV6_HOPLIMIT, &hops, sizeof hops));
    receive("with IPV6_HOPLIMIT", server, sizeof(union control), 0);
    fact("with IPV6_TCLASS", "%s", send_with(client, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof class));
    receive("with IPV6_TCLASS", server, sizeof(union control), 0);
    fact("with IPv4's TTL", "%s", send_with(client, IPPROTO_IP, IP_TTL, &hops, sizeof hops));
}

static void times(void)
{
    int ends[2];

    datagram_pair(AF_INET, ends);
    turn_on(ends[1], SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP");
    MUST(send(ends[0], "when", 4, 0));
    receive("SO_TIMESTAMP", ends[1], sizeof(union control), 0);
    turn_on(ends[1], SOL_SOCKET, SO_TIMESTAMPNS, "SO_TIMESTAMPNS");
    MUST(send(ends[0], "when", 4, 0));
    receive("SO_TIMESTAMPNS", ends[1], sizeof(union control), 0);
}

/* SO_TIMESTAMPING of what arrives. The kernel begins a moment after it was told. */
static void times_by_software(void)
{
    int ends[2], flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;
    char bytes[8];
    struct iovec vector = {bytes, sizeof bytes};
    union control control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes};

    datagram_pair(AF_INET, ends);
    fact("SO_TIMESTAMPING", "%s", outcome(setsockopt(ends[1], SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags)));
    for (int tries = 0; tries < 1000; tries++) {
        MUST(send(ends[0], "when", 4, 0));
        await(ends[1], POLLIN);
        message.msg_controllen = sizeof control;
        MUST(recvmsg(ends[1], &message, MSG_DONTWAIT));
        if (message.msg_controllen)
            break;
        poll(NULL, 0, 1);
    }
    fact("arrived", "%s", message.msg_controllen ? control_named(CMSG_FIRSTHDR(&message)) : "without");
}

/* Of what is sent they come in the error queue, and are no errors. */
static void times_of_leaving(void)
{
    int ends[2], flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY |
                         SOF_TIMESTAMPING_OPT_ID;
    char byte;

    datagram_pair(AF_INET, ends);
    fact("SO_TIMESTAMPING", "%s", outcome(setsockopt(ends[0], SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags)));
    fact("before", "%s", events_of(ends[0]));
    MUST(send(ends[0], "when", 4, 0));
    fact("shows POLLERR", "%d", await(ends[0], POLLERR));
    MUST(send(ends[0], "then", 4, 0));
    fact("recv", "%s", outcome(recv(ends[0], &byte, 1, MSG_DONTWAIT)));
    fact("events", "%s", events_of(ends[0]));
    receive("left", ends[0], sizeof(union control), MSG_ERRQUEUE);
    fact("one is left, events", "%s", events_of(ends[0]));
    receive("left again", ends[0], sizeof(union control), MSG_ERRQUEUE);
    fact("none is left, events", "%s", events_of(ends[0]));
    receive("nothing", ends[0], sizeof(union control), MSG_ERRQUEUE);
}

/* A stream has none, and takes some. */
static void of_a_stream(void)
{
    int ends[2], value = 1;

    connection(AF_INET, ends);
    MUST(send(ends[0], "plain", 5, 0));
    receive("plain", ends[1], sizeof(union control), 0);
    fact("with SCM_RIGHTS", "%s", send_with(ends[0], SOL_SOCKET, SCM_RIGHTS, &ends[0], sizeof(int)));
    fact("with SCM_RIGHTS of nothing", "%s", send_with(ends[0], SOL_SOCKET, SCM_RIGHTS, &value, 0));
    fact("of another level", "%s", send_with(ends[0], IPPROTO_IP, IP_TTL, &value, sizeof value));
    fact("unknown", "%s", send_with(ends[0], SOL_SOCKET, 9999, &value, sizeof value));
}

static void error_queue(void)
{
    union address to = loopback(AF_INET, free_port(AF_INET, SOCK_DGRAM)), name;
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    char bytes[64];
    struct iovec vector = {bytes, sizeof bytes};
    union control control;
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_name = &name, .msg_namelen = sizeof name};
    struct cmsghdr *head;
    ssize_t count;

    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control;
    receive("empty", fd, sizeof control, MSG_ERRQUEUE);
    turn_on(fd, IPPROTO_IP, IP_RECVERR, "IP_RECVERR");
    MUST(connect(fd, &to.any, sizeof to.v4));
    MUST(send(fd, "lost", 4, 0));
    await(fd, POLLERR);
    fact("events", "%s", events_of(fd));
    count = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    fact("recvmsg", "%s", received(bytes, count));
    if (count < 0)
        return;
    fact("flags", "%#x", message.msg_flags);
    fact("name", "%s", address_named(&name, message.msg_namelen));
    head = CMSG_FIRSTHDR(&message);
    fact("IP_RECVERR is there", "%d", head && head->cmsg_level == IPPROTO_IP && head->cmsg_type == IP_RECVERR);
    if (head) {
        struct sock_extended_err error;

        memcpy(&error, CMSG_DATA(head), sizeof error);
        fact("error", "%s, origin %d, type %d, code %d", errno_named((int)error.ee_errno), error.ee_origin, error.ee_type, error.ee_code);
    }
    fact("recv then", "%s", outcome(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void error_queue_unconnected(void)
{
    union address to = loopback(AF_INET, free_port(AF_INET, SOCK_DGRAM));
    int fd = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    char byte;

    turn_on(fd, IPPROTO_IP, IP_RECVERR, "IP_RECVERR");
    MUST(sendto(fd, "lost", 4, 0, &to.any, sizeof to.v4));
    fact("shows POLLERR", "%d", await(fd, POLLERR));
    fact("recv", "%s", outcome(recv(fd, &byte, 1, MSG_DONTWAIT)));
}

const struct parity_case cases[] = {
    {"received_v4", received_v4},
    {"received_v6", received_v6},
    {"received_mapped", received_mapped},
    {"sent_v4", sent_v4},
    {"answered_from_another_address", answered_from_another_address},
    {"sent_v6", sent_v6},
    {"times", times},
    {"times_by_software", times_by_software},
    {"times_of_leaving", times_of_leaving},
    {"of_a_stream", of_a_stream},
    {"error_queue", error_queue},
    {"error_queue_unconnected", error_queue_unconnected},
    {NULL, NULL},
};

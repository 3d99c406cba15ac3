/* ICMP echo sockets (icmp(7)): what ping uses as an ordinary user. */
#include "parity.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

static void sockets(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);

    fact("IPv4", "%s", success(fd));
    fact("IPv6", "%s", success(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6)));
    fact("IPv6's protocol over IPv4", "%s", success(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6)));
    fact("events", "%s", events_of(fd));
    fact("name", "%s", local_name(fd));
}

static int of_type(int fd, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    return getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0 ? -errno : value;
}

static void options(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)), one = 1;

    fact("SO_TYPE", "%d", of_type(fd, SO_TYPE));
    fact("SO_PROTOCOL", "%d", of_type(fd, SO_PROTOCOL));
    fact("IP_RECVTTL", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof one)));
    fact("IP_RECVERR", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one)));
    fact("IP_TTL", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof one)));
    fact("SO_TIMESTAMP", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one)));
    fact("listen", "%s", outcome(listen(fd, 1)));
}

static void echo(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    union address to = loopback(AF_INET, 0), from;
    socklen_t length = sizeof from;
    struct {
        struct icmphdr head;
        char text[8];
    } request = {.head = {.type = ICMP_ECHO, .un.echo = {.id = 77, .sequence = htons(5)}}, .text = "payload"}, answer;

    fact("sendto", "%s", outcome(sendto(fd, &request, sizeof request, 0, &to.any, sizeof to.v4)));
    fact("bound then", "%s", local_name(fd));
    fact("arrives", "%d", await(fd, POLLIN));
    fact("recvfrom", "%s", outcome(recvfrom(fd, &answer, sizeof answer, MSG_DONTWAIT, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("type", "%d", answer.head.type);
    fact("sequence", "%d", ntohs(answer.head.un.echo.sequence));
    fact("identifier is the port", "%d", answer.head.un.echo.id == port_of(fd));
    fact("payload", "%.8s", answer.text);
}

static void echo_v6(void)
{
    int fd = (int)MUST(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
    union address to = loopback(AF_INET6, 0);
    struct {
        struct icmp6_hdr head;
        char text[8];
    } request = {.text = "payload"}, answer;

    request.head.icmp6_type = ICMP6_ECHO_REQUEST;
    request.head.icmp6_seq = htons(9);
    fact("connect", "%s", outcome(connect(fd, &to.any, sizeof to.v6)));
    fact("send", "%s", outcome(send(fd, &request, sizeof request, 0)));
    fact("arrives", "%d", await(fd, POLLIN));
    fact("recv", "%s", outcome(recv(fd, &answer, sizeof answer, MSG_DONTWAIT)));
    fact("type", "%d", answer.head.icmp6_type);
    fact("sequence", "%d", ntohs(answer.head.icmp6_seq));
    fact("payload", "%.8s", answer.text);
}

static void refused(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP));
    union address to = loopback(AF_INET, 0);
    struct icmphdr request = {.type = ICMP_TIMESTAMP};

    fact("another type", "%s", outcome(sendto(fd, &request, sizeof request, 0, &to.any, sizeof to.v4)));
    request.type = ICMP_ECHO;
    request.code = 1;
    fact("another code", "%s", outcome(sendto(fd, &request, sizeof request, 0, &to.any, sizeof to.v4)));
    fact("too short", "%s", outcome(sendto(fd, &request, 4, 0, &to.any, sizeof to.v4)));
    fact("to nobody", "%s", outcome(send(fd, &request, sizeof request, 0)));
}

const struct parity_case cases[] = {
    {"sockets", sockets},
    {"options", options},
    {"echo", echo},
    {"echo_v6", echo_v6},
    {"refused", refused},
    {NULL, NULL},
};

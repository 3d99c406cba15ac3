/*
 * Every option of the five levels: its default, values set and read back, and lengths other than an int's. Each on a socket
 * of its own. What needs privileges is left out, and so are defaults that belong to the machine.
 */
#include "parity.h"

#include <linux/filter.h>
#include <netinet/udp.h>
#include <sys/time.h>

enum { VALUES = 8 };

struct option {
    int level;
    int name;
    const char *text;
    bool varies; /* the default is the machine's affair */
    int count;
    int values[VALUES];
};

#define COUNT(...) (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))
#define OPTION(level, name, ...) {level, name, #name, false, COUNT(__VA_ARGS__), {__VA_ARGS__}}
#define VARYING(level, name, ...) {level, name, #name, true, COUNT(__VA_ARGS__), {__VA_ARGS__}}

enum { NO_SUCH_OPTION = 9999 };

static const struct option OF_SOCKETS[] = {
    OPTION(SOL_SOCKET, SO_DEBUG, 0),
    OPTION(SOL_SOCKET, SO_REUSEADDR, 1, 7, 0, -1),
    OPTION(SOL_SOCKET, SO_REUSEPORT, 1, 0),
    OPTION(SOL_SOCKET, SO_TYPE, 1),
    OPTION(SOL_SOCKET, SO_PROTOCOL, 1),
    OPTION(SOL_SOCKET, SO_DOMAIN, 1),
    OPTION(SOL_SOCKET, SO_ERROR, 1),
    OPTION(SOL_SOCKET, SO_ACCEPTCONN, 1),
    OPTION(SOL_SOCKET, SO_DONTROUTE, 1, 0),
    OPTION(SOL_SOCKET, SO_BROADCAST, 1, 0),
    VARYING(SOL_SOCKET, SO_SNDBUF, 1, 4096, 100000),
    VARYING(SOL_SOCKET, SO_RCVBUF, 1, 4096, 100000),
    OPTION(SOL_SOCKET, SO_KEEPALIVE, 1, 2, 0),
    OPTION(SOL_SOCKET, SO_OOBINLINE, 1, 0),
    OPTION(SOL_SOCKET, SO_NO_CHECK, 1, 0),
    OPTION(SOL_SOCKET, SO_PRIORITY, 0, 3, 6),
    OPTION(SOL_SOCKET, SO_BSDCOMPAT, 1),
    OPTION(SOL_SOCKET, SO_RCVLOWAT, 1, 100, 0, -1),
    OPTION(SOL_SOCKET, SO_SNDLOWAT, 1, 100),
    OPTION(SOL_SOCKET, SO_TIMESTAMP, 1, 0),
    OPTION(SOL_SOCKET, SO_TIMESTAMPNS, 1, 0),
    OPTION(SOL_SOCKET, SO_TIMESTAMPING, 0),
    OPTION(SOL_SOCKET, SO_MARK, 0),
    OPTION(SOL_SOCKET, SO_RXQ_OVFL, 1, 0),
    OPTION(SOL_SOCKET, SO_PEEK_OFF, 0, 5, -1, -2),
    OPTION(SOL_SOCKET, SO_LOCK_FILTER, 0),
    OPTION(SOL_SOCKET, SO_DETACH_FILTER, 0),
    OPTION(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1, 0),
    OPTION(SOL_SOCKET, SO_MAX_PACING_RATE, 1000000, -1),
    OPTION(SOL_SOCKET, SO_ZEROCOPY, 1, 0, 2),
    OPTION(SOL_SOCKET, SO_PEERSEC),
    OPTION(SOL_SOCKET, NO_SUCH_OPTION, 1),
};

static const struct option OF_TCP[] = {
    OPTION(IPPROTO_TCP, TCP_NODELAY, 1, 2, 0),
    OPTION(IPPROTO_TCP, TCP_MAXSEG, 536, 1400, 87, 88, 32767, 32768, 0),
    OPTION(IPPROTO_TCP, TCP_CORK, 1, 0),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE, 1, 10, 32767, 0, 32768, -1),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL, 1, 10, 32767, 0, 32768, -1),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT, 1, 10, 127, 0, 128, -1),
    OPTION(IPPROTO_TCP, TCP_SYNCNT, 1, 10, 127, 0, 128),
    OPTION(IPPROTO_TCP, TCP_LINGER2, 1, 10, 120, 121, 0, -1),
    OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, 1, 5, 0, -1),
    OPTION(IPPROTO_TCP, TCP_WINDOW_CLAMP, 1, 65535, 0),
    OPTION(IPPROTO_TCP, TCP_QUICKACK, 0, 1, 2),
    OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, 1, 10000, 0, -1),
    OPTION(IPPROTO_TCP, TCP_FASTOPEN, 5, 0, -1),
    OPTION(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1, 0, 2),
    OPTION(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1, 0, 2),
    VARYING(IPPROTO_TCP, TCP_TIMESTAMP, 1),
    OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1, 16384, 0, -1),
    OPTION(IPPROTO_TCP, TCP_SAVE_SYN, 1, 0, 2),
    OPTION(IPPROTO_TCP, TCP_INQ, 1, 0, 2),
    OPTION(IPPROTO_TCP, TCP_TX_DELAY, 0),
    OPTION(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1, 0, 2),
    OPTION(IPPROTO_TCP, TCP_THIN_DUPACK, 1, 0, 2),
    OPTION(IPPROTO_TCP, TCP_MD5SIG, 1),
    OPTION(IPPROTO_TCP, TCP_QUEUE_SEQ, 1),
    OPTION(IPPROTO_TCP, NO_SUCH_OPTION, 1),
};

static const struct option OF_IP[] = {
    OPTION(IPPROTO_IP, IP_TOS, 0x10, 0xb8, 255, 256, -1, 3),
    OPTION(IPPROTO_IP, IP_TTL, 1, 64, 255, 0, 256, -1, -2),
    OPTION(IPPROTO_IP, IP_HDRINCL, 1),
    OPTION(IPPROTO_IP, IP_RECVOPTS, 1, 0),
    OPTION(IPPROTO_IP, IP_RETOPTS, 1, 0),
    OPTION(IPPROTO_IP, IP_PKTINFO, 1, 0),
    OPTION(IPPROTO_IP, IP_MTU_DISCOVER, 0, 1, 2, 3, 4, 5, 6, -1),
    OPTION(IPPROTO_IP, IP_MTU, 1500),
    OPTION(IPPROTO_IP, IP_RECVERR, 1, 0),
    OPTION(IPPROTO_IP, IP_RECVTTL, 1, 0),
    OPTION(IPPROTO_IP, IP_RECVTOS, 1, 0),
    OPTION(IPPROTO_IP, IP_FREEBIND, 1, 0),
    OPTION(IPPROTO_IP, IP_TRANSPARENT, 0),
    OPTION(IPPROTO_IP, IP_RECVORIGDSTADDR, 1, 0),
    OPTION(IPPROTO_IP, IP_MINTTL, 1, 255, 256, 0, -1),
    OPTION(IPPROTO_IP, IP_NODEFRAG, 1),
    OPTION(IPPROTO_IP, IP_CHECKSUM, 1, 0),
    OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1, 0, 2),
    OPTION(IPPROTO_IP, IP_RECVFRAGSIZE, 1),
    OPTION(IPPROTO_IP, IP_RECVERR_RFC4884, 1, 0, 2),
    OPTION(IPPROTO_IP, IP_MULTICAST_TTL, 0, 5, 255, 256, -1, -2),
    OPTION(IPPROTO_IP, IP_MULTICAST_LOOP, 0, 1),
    OPTION(IPPROTO_IP, IP_MULTICAST_ALL, 0, 1, 2),
    OPTION(IPPROTO_IP, IP_UNICAST_IF, 0),
    OPTION(IPPROTO_IP, NO_SUCH_OPTION, 1),
};

static const struct option OF_IPV6[] = {
    OPTION(IPPROTO_IPV6, IPV6_V6ONLY, 1, 2, 0),
    OPTION(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 1, 64, 255, -1, 0, 256, -2),
    OPTION(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 0, 5, 255, -1, 256, -2),
    OPTION(IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, 1, 2),
    OPTION(IPPROTO_IPV6, IPV6_MULTICAST_IF, 0, 4711),
    OPTION(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0, 1, 2),
    OPTION(IPPROTO_IPV6, IPV6_MTU_DISCOVER, 0, 1, 2, 3, 6),
    OPTION(IPPROTO_IPV6, IPV6_MTU, 1280, 1279, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVERR, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_2292PKTINFO, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVTCLASS, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_TCLASS, 0x10, 0xb8, 255, -1, 256, -2),
    OPTION(IPPROTO_IPV6, IPV6_DONTFRAG, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVPATHMTU, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_PATHMTU),
    OPTION(IPPROTO_IPV6, IPV6_FREEBIND, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_TRANSPARENT, 0),
    OPTION(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_MINHOPCOUNT, 1, 255, 256, -1),
    OPTION(IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, 1, 2, 3),
    OPTION(IPPROTO_IPV6, IPV6_UNICAST_IF, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVRTHDR, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVHOPOPTS, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVDSTOPTS, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 1, 0),
    OPTION(IPPROTO_IPV6, IPV6_RECVERR_RFC4884, 1, 0, 2),
    OPTION(IPPROTO_IPV6, IPV6_CHECKSUM, 1),
    OPTION(IPPROTO_IPV6, IPV6_HDRINCL, 1),
    OPTION(IPPROTO_IPV6, NO_SUCH_OPTION, 1),
};

static const struct option OF_UDP[] = {
    OPTION(IPPROTO_UDP, UDP_CORK, 1, 0),
    OPTION(IPPROTO_UDP, UDP_ENCAP, 0, 77),
    OPTION(IPPROTO_UDP, UDP_NO_CHECK6_TX, 1, 0),
    OPTION(IPPROTO_UDP, UDP_NO_CHECK6_RX, 1, 0),
    OPTION(IPPROTO_UDP, UDP_SEGMENT, 1000, 65535, 65536, 0, -1),
    OPTION(IPPROTO_UDP, UDP_GRO, 1, 0),
    OPTION(IPPROTO_UDP, NO_SUCH_OPTION, 1),
};

#define LENGTH(table) (sizeof(table) / sizeof(table)[0])

/* What can be read with room for so many bytes. The length that comes back is part of it. */
static const char *value_of(int fd, const struct option *option, socklen_t room)
{
    unsigned char bytes[16] = {0};
    socklen_t length = room;
    int number;

    if (getsockopt(fd, option->level, option->name, bytes, &length) < 0)
        return errno_named(errno);
    memcpy(&number, bytes, sizeof number);
    return label("%d (%u)", number, length);
}

/* Its default, and each value set and read back. */
static void survey_values(int family, int type, const struct option *option, int count)
{
    int fd = (int)MUST(socket(family, type, 0));

    if (!option->varies)
        fact(option->text, "%s", value_of(fd, option, sizeof(int)));
    for (int i = 0; i < count; i++) {
        const int *value = &option->values[i];
        const char *set = outcome(setsockopt(fd, option->level, option->name, value, sizeof *value));
        bool changed = strcmp(set, "0") == 0 || !option->varies;

        fact(label("%s = %d", option->text, *value), "%s, %s", set, changed ? value_of(fd, option, sizeof *value) : "as it was");
    }
    close(fd);
}

/* Lengths that are not an int's. */
static void survey_lengths(int family, int type, const struct option *option)
{
    static const socklen_t ROOMS[] = {0, 1, 8}, LENGTHS[] = {0, 1, 3};
    unsigned char bytes[8] = {1};

    for (size_t i = 0; i < LENGTH(ROOMS); i++) {
        int fd = (int)MUST(socket(family, type, 0));

        if (!option->varies)
            fact(label("%s read into %u", option->text, ROOMS[i]), "%s", value_of(fd, option, ROOMS[i]));
        if (option->count > 0)
            fact(label("%s set from %u", option->text, LENGTHS[i]), "%s",
                 outcome(setsockopt(fd, option->level, option->name, bytes, LENGTHS[i])));
        close(fd);
    }
}

static void survey(int family, int type, const struct option *table, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        survey_values(family, type, &table[i], table[i].count);
        survey_lengths(family, type, &table[i]);
    }
}

/* Where another survey has shown the values' bounds, or there is nothing to set. */
static void glance(int family, int type, const struct option *table, size_t length)
{
    for (size_t i = 0; i < length; i++)
        survey_values(family, type, &table[i], table[i].count > 0);
}

#define SURVEY(how, name, family, type, table)   \
    static void name(void)                       \
    {                                            \
        how(family, type, table, LENGTH(table)); \
    }

SURVEY(survey, socket_stream, AF_INET, SOCK_STREAM, OF_SOCKETS)
SURVEY(survey, socket_datagram, AF_INET, SOCK_DGRAM, OF_SOCKETS)
SURVEY(survey, tcp, AF_INET, SOCK_STREAM, OF_TCP)
SURVEY(glance, tcp_v6, AF_INET6, SOCK_STREAM, OF_TCP)
SURVEY(glance, tcp_of_datagram, AF_INET, SOCK_DGRAM, OF_TCP)
SURVEY(survey, ip_stream, AF_INET, SOCK_STREAM, OF_IP)
SURVEY(survey, ip_datagram, AF_INET, SOCK_DGRAM, OF_IP)
SURVEY(glance, ip_of_v6, AF_INET6, SOCK_DGRAM, OF_IP)
SURVEY(glance, ipv6_stream, AF_INET6, SOCK_STREAM, OF_IPV6)
SURVEY(survey, ipv6_datagram, AF_INET6, SOCK_DGRAM, OF_IPV6)
SURVEY(glance, ipv6_of_v4, AF_INET, SOCK_DGRAM, OF_IPV6)
SURVEY(glance, ipv6_of_v4_stream, AF_INET, SOCK_STREAM, OF_IPV6)
SURVEY(survey, udp, AF_INET, SOCK_DGRAM, OF_UDP)
SURVEY(glance, udp_v6, AF_INET6, SOCK_DGRAM, OF_UDP)
SURVEY(glance, udp_of_stream, AF_INET, SOCK_STREAM, OF_UDP)

static void levels(void)
{
    static const int LEVELS[] = {-1, 2, IPPROTO_ICMP, IPPROTO_RAW, SOL_PACKET, 4711};
    int types[] = {SOCK_STREAM, SOCK_DGRAM};

    for (int t = 0; t < 2; t++)
        for (size_t i = 0; i < LENGTH(LEVELS); i++) {
            int value = 1;
            socklen_t length = sizeof value;
            int fd = (int)MUST(socket(AF_INET, types[t], 0));

            fact(label("type %d, get of level %d", types[t], LEVELS[i]), "%s", outcome(getsockopt(fd, LEVELS[i], 1, &value, &length)));
            fact(label("type %d, set of level %d", types[t], LEVELS[i]), "%s",
                 outcome(setsockopt(fd, LEVELS[i], 1, &value, sizeof value)));
            close(fd);
        }
}

static void pointers(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int value = 1;
    socklen_t length = sizeof value;

    fact("get into null", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, NULL, &length)));
    fact("get with null length", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, NULL)));
    length = (socklen_t)-1;
    fact("get with negative length", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length)));
    length = (socklen_t)-1;
    fact("get of TCP with negative length", "%s", outcome(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length)));
    fact("set from null", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof value)));
    fact("set of TCP from null", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, NULL, sizeof value)));
    fact("set of TCP with negative length", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, (socklen_t)-1)));
    fact("set with negative length", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, (socklen_t)-1)));
}

static const char *linger_of(int fd)
{
    struct linger linger = {-1, -1};
    socklen_t length = sizeof linger;

    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) < 0)
        return errno_named(errno);
    return label("%d %d (%u)", linger.l_onoff, linger.l_linger, length);
}

static void linger(void)
{
    static const struct linger VALUES_SET[] = {{1, 0}, {1, 5}, {0, 7}, {7, 1}};
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    fact("default", "%s", linger_of(fd));
    for (size_t i = 0; i < LENGTH(VALUES_SET); i++) {
        const struct linger *value = &VALUES_SET[i];
        const char *set = outcome(setsockopt(fd, SOL_SOCKET, SO_LINGER, value, sizeof *value));

        fact(label("set %d %d", value->l_onoff, value->l_linger), "%s, %s", set, linger_of(fd));
    }
    fact("set from an int", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_LINGER, &VALUES_SET[0], sizeof(int))));
    fact("of a datagram socket", "%s", linger_of((int)MUST(socket(AF_INET, SOCK_DGRAM, 0))));
}

static const char *time_of(int fd, int name)
{
    struct timeval time = {-1, -1};
    socklen_t length = sizeof time;

    if (getsockopt(fd, SOL_SOCKET, name, &time, &length) < 0)
        return errno_named(errno);
    return label("%ld s %ld us (%u)", (long)time.tv_sec, (long)time.tv_usec, length);
}

static void times(void)
{
    static const struct timeval VALUES_SET[] = {{1, 500000}, {0, 1000}, {0, 1}, {-1, 0}, {0, -1}, {0, 1000000}, {0, 0}};
    static const int NAMES[] = {SO_RCVTIMEO, SO_SNDTIMEO};
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    for (int n = 0; n < 2; n++) {
        const char *name = n ? "SO_SNDTIMEO" : "SO_RCVTIMEO";

        fact(name, "%s", time_of(fd, NAMES[n]));
        for (size_t i = 0; i < LENGTH(VALUES_SET); i++) {
            const struct timeval *value = &VALUES_SET[i];
            const char *set = outcome(setsockopt(fd, SOL_SOCKET, NAMES[n], value, sizeof *value));

            /* One microsecond is a tick of the machine's clock. */
            fact(label("%s = %ld s %ld us", name, (long)value->tv_sec, (long)value->tv_usec), "%s, %s", set,
                 value->tv_usec == 1 ? "a tick" : time_of(fd, NAMES[n]));
        }
        fact(label("%s from an int", name), "%s", outcome(setsockopt(fd, SOL_SOCKET, NAMES[n], &VALUES_SET[0], sizeof(int))));
    }
}

static void congestion(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    char name[16] = "";
    socklen_t length = sizeof name;

    fact("reno", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4)));
    fact("read", "%s", outcome(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length)));
    fact("read, name", "%s (%u)", name, length);
    length = 2;
    memset(name, 0, sizeof name);
    fact("read into 2", "%s", outcome(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length)));
    fact("read into 2, name", "%s (%u)", name, length);
    fact("no such name", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nobody's", 8)));
    fact("no name", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0)));
    fact("of a datagram socket", "%s",
         outcome(setsockopt((int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), IPPROTO_TCP, TCP_CONGESTION, "reno", 4)));
    fact("TCP_ULP", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "nobody's", 8)));
}

static void devices(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    char name[16] = "?";
    socklen_t length = sizeof name;

    fact("read", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length)));
    fact("read, length", "%u", length);
    fact("none", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "", 0)));
    fact("no such device", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nobody's", 8)));
    fact("lo", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)));
    length = sizeof name;
    fact("read again", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length)));
    fact("read again, name", "%.*s (%u)", (int)length, name, length);
    length = 3;
    fact("read into 3", "%s", outcome(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length)));
}

static void filters(void)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    char byte;
    int ends[2];

    datagram_pair(AF_INET, ends);
    fact("attach", "%s", outcome(setsockopt(ends[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)));
    fact("send", "%s", outcome(send(ends[0], "filtered", 8, 0)));
    fact("receive", "%s", outcome(recv(ends[1], &byte, 1, MSG_DONTWAIT)));
    fact("detach", "%s", outcome(setsockopt(ends[1], SOL_SOCKET, SO_DETACH_FILTER, &byte, sizeof(int))));
    program.len = 0;
    fact("attach nothing", "%s", outcome(setsockopt(ends[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)));
}

static int int_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    return getsockopt(fd, level, name, &value, &length) < 0 ? -errno : value;
}

/* Of a connection, where the values say something of it. */
static void of_a_connection(void)
{
    struct tcp_info info;
    struct {
        int process, user, group;
    } peer;
    socklen_t length = sizeof info;
    int ends[2];

    connection(AF_INET, ends);
    memset(&info, 0xff, sizeof info);
    fact("TCP_INFO", "%s", outcome(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length)));
    fact("TCP_INFO, length", "%u", length);
    fact("TCP_INFO, state", "%d", info.tcpi_state);
    fact("TCP_INFO, options", "%#x", info.tcpi_options);
    length = 1;
    fact("TCP_INFO into 1", "%s (%u)", outcome(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length)), length);
    length = 0;
    fact("TCP_INFO into 0", "%s (%u)", outcome(getsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, &length)), length);
    fact("TCP_INFO set", "%s", outcome(setsockopt(ends[0], IPPROTO_TCP, TCP_INFO, &info, sizeof(int))));
    fact("IP_MTU says something", "%d", int_of(ends[0], IPPROTO_IP, IP_MTU) >= 1280);
    fact("TCP_MAXSEG says something", "%d", int_of(ends[0], IPPROTO_TCP, TCP_MAXSEG) >= 536);
    fact("SO_ACCEPTCONN", "%d", int_of(ends[1], SOL_SOCKET, SO_ACCEPTCONN));
    fact("SO_TYPE", "%d", int_of(ends[1], SOL_SOCKET, SO_TYPE));
    fact("SO_PROTOCOL", "%d", int_of(ends[1], SOL_SOCKET, SO_PROTOCOL));
    fact("SO_DOMAIN", "%d", int_of(ends[1], SOL_SOCKET, SO_DOMAIN));
    fact("IPV6_V6ONLY of IPv4", "%d", int_of(ends[1], IPPROTO_IPV6, IPV6_V6ONLY));
    length = sizeof peer;
    fact("SO_PEERCRED", "%s", outcome(getsockopt(ends[0], SOL_SOCKET, SO_PEERCRED, &peer, &length)));
    fact("SO_PEERCRED, process", "%d (%u)", peer.process, length);
    /* netfilter's SO_ORIGINAL_DST, which proxies ask for. */
    length = sizeof(struct sockaddr_in);
    fact("SO_ORIGINAL_DST", "%s", outcome(getsockopt(ends[1], IPPROTO_IP, 80, &info, &length)));
    fact("SO_DOMAIN of IPv6", "%d", int_of((int)MUST(socket(AF_INET6, SOCK_DGRAM, 0)), SOL_SOCKET, SO_DOMAIN));
    fact("SO_ACCEPTCONN of a listener", "%d", int_of(listener(AF_INET, 4), SOL_SOCKET, SO_ACCEPTCONN));
}

/* What an accepted connection has from its listener. */
static void inherited(void)
{
    static const struct option SET[] = {
        OPTION(SOL_SOCKET, SO_REUSEADDR, 1),      OPTION(SOL_SOCKET, SO_KEEPALIVE, 1),
        OPTION(SOL_SOCKET, SO_OOBINLINE, 1),      OPTION(SOL_SOCKET, SO_SNDBUF, 20000),
        OPTION(SOL_SOCKET, SO_RCVBUF, 20000),     OPTION(SOL_SOCKET, SO_RCVLOWAT, 2),
        OPTION(SOL_SOCKET, SO_DONTROUTE, 1),      OPTION(SOL_SOCKET, SO_PRIORITY, 3),
        OPTION(IPPROTO_TCP, TCP_NODELAY, 1),      OPTION(IPPROTO_TCP, TCP_KEEPIDLE, 77),
        OPTION(IPPROTO_TCP, TCP_KEEPINTVL, 78),   OPTION(IPPROTO_TCP, TCP_KEEPCNT, 79),
        OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT, 7000), OPTION(IPPROTO_TCP, TCP_LINGER2, 33),
        OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4000), OPTION(IPPROTO_TCP, TCP_SYNCNT, 3),
        OPTION(IPPROTO_TCP, TCP_DEFER_ACCEPT, 0), OPTION(IPPROTO_IP, IP_TOS, 0x10),
        OPTION(IPPROTO_IP, IP_TTL, 33),           OPTION(IPPROTO_IP, IP_MTU_DISCOVER, 0),
    };
    struct linger linger = {1, 3};
    struct timeval time = {2, 0};
    int listening = listener(AF_INET, 4);
    int client, fd;

    for (size_t i = 0; i < LENGTH(SET); i++)
        fact(label("set %s", SET[i].text), "%s",
             outcome(setsockopt(listening, SET[i].level, SET[i].name, &SET[i].values[0], sizeof(int))));
    MUST(setsockopt(listening, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    MUST(setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    client = connected_to(listening);
    fd = next_accepted(listening);
    for (size_t i = 0; i < LENGTH(SET); i++)
        fact(SET[i].text, "%s", value_of(fd, &SET[i], sizeof(int)));
    fact("SO_LINGER", "%s", linger_of(fd));
    fact("SO_RCVTIMEO", "%s", time_of(fd, SO_RCVTIMEO));
    close(client);
}

const struct parity_case cases[] = {
    {"socket_stream", socket_stream},
    {"socket_datagram", socket_datagram},
    {"tcp", tcp},
    {"tcp_v6", tcp_v6},
    {"tcp_of_datagram", tcp_of_datagram},
    {"ip_stream", ip_stream},
    {"ip_datagram", ip_datagram},
    {"ip_of_v6", ip_of_v6},
    {"ipv6_stream", ipv6_stream},
    {"ipv6_datagram", ipv6_datagram},
    {"ipv6_of_v4", ipv6_of_v4},
    {"ipv6_of_v4_stream", ipv6_of_v4_stream},
    {"udp", udp},
    {"udp_v6", udp_v6},
    {"udp_of_stream", udp_of_stream},
    {"levels", levels},
    {"pointers", pointers},
    {"linger", linger},
    {"times", times},
    {"congestion", congestion},
    {"devices", devices},
    {"filters", filters},
    {"of_a_connection", of_a_connection},
    {"inherited", inherited},
    {NULL, NULL},
};

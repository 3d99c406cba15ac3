/* TCP_CORK, MSG_MORE, TCP_NODELAY and UDP_CORK: how many segments what was written makes, and when they leave. */
#include "parity.h"

#include <netinet/udp.h>

/* Segments with data that a socket has sent. */
static unsigned segments(int fd)
{
    /* glibc's tcp_info ends before the field that is wanted: tcpi_data_segs_out, at 152 of the kernel's. */
    unsigned char bytes[256] = {0};
    socklen_t length = sizeof bytes;
    unsigned count;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, bytes, &length) < 0)
        return 9999;
    memcpy(&count, bytes + 152, sizeof count);
    return count;
}

static void write_three(int fd, int flags)
{
    for (int i = 0; i < 3; i++)
        MUST(send(fd, "abcd", 4, i < 2 ? flags : 0));
}

static void corked(void)
{
    int ends[2];
    char bytes[32];

    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_CORK, 1);
    write_three(ends[0], 0);
    fact("corked", "%s", events_of(ends[1]));
    set_int(ends[0], IPPROTO_TCP, TCP_CORK, 0);
    fact("all arrives", "%d", await_readable(ends[1], 12));
    fact("bytes", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("segments", "%u", segments(ends[0]));
}

static void with_more(void)
{
    int ends[2];
    char bytes[32];

    connection(AF_INET, ends);
    write_three(ends[0], MSG_MORE);
    fact("all arrives", "%d", await_readable(ends[1], 12));
    fact("bytes", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("segments", "%u", segments(ends[0]));
}

static void without_delay(void)
{
    int ends[2];

    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_NODELAY, 1);
    for (int i = 1; i <= 3; i++) {
        MUST(send(ends[0], "abcd", 4, 0));
        fact(label("arrives %d", i), "%d", await_readable(ends[1], 4 * i));
    }
    fact("segments", "%u", segments(ends[0]));
}

/* TCP_NODELAY does not undo MSG_MORE. */
static void without_delay_but_more(void)
{
    int ends[2];

    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_NODELAY, 1);
    write_three(ends[0], MSG_MORE);
    fact("all arrives", "%d", await_readable(ends[1], 12));
    fact("segments", "%u", segments(ends[0]));
}

/* A cork does not hold what fills a segment, nor an end. */
static void corked_and_closed(void)
{
    int ends[2];

    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_CORK, 1);
    MUST(send(ends[0], "abcd", 4, 0));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("shutdown", "%s", drained(ends[1]));
    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_CORK, 1);
    MUST(send(ends[0], "abcd", 4, 0));
    MUST(close(ends[0]));
    fact("close", "%s", drained(ends[1]));
}

/* Nobody waits for ever: Linux lets go after 200 ms. */
static void corked_for_long(void)
{
    int ends[2];

    connection(AF_INET, ends);
    set_int(ends[0], IPPROTO_TCP, TCP_CORK, 1);
    MUST(send(ends[0], "abcd", 4, 0));
    fact("arrives", "%d", await(ends[1], POLLIN));
}

static void datagrams_with_more(void)
{
    int ends[2];
    char bytes[32];

    datagram_pair(AF_INET, ends);
    fact("MSG_MORE", "%s", outcome(send(ends[0], "one ", 4, MSG_MORE)));
    fact("held", "%s", events_of(ends[1]));
    fact("the rest", "%s", outcome(send(ends[0], "datagram", 8, 0)));
    await(ends[1], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("nothing more", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void datagrams_corked(void)
{
    int ends[2], one = 1, zero = 0;
    char bytes[32];

    datagram_pair(AF_INET, ends);
    fact("UDP_CORK", "%s", outcome(setsockopt(ends[0], IPPROTO_UDP, UDP_CORK, &one, sizeof one)));
    fact("first", "%s", outcome(send(ends[0], "one ", 4, 0)));
    fact("second", "%s", outcome(send(ends[0], "datagram", 8, 0)));
    fact("held", "%s", events_of(ends[1]));
    fact("uncorked", "%s", outcome(setsockopt(ends[0], IPPROTO_UDP, UDP_CORK, &zero, sizeof zero)));
    await(ends[1], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* UDP_SEGMENT cuts one send into datagrams. */
static void datagrams_cut(void)
{
    int ends[2], size = 4;
    char bytes[32];

    datagram_pair(AF_INET, ends);
    fact("UDP_SEGMENT", "%s", outcome(setsockopt(ends[0], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size)));
    fact("send", "%s", outcome(send(ends[0], "abcdefghij", 10, 0)));
    for (int i = 1; i <= 3; i++) {
        await(ends[1], POLLIN);
        fact(label("recv %d", i), "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    }
}

const struct parity_case cases[] = {
    {"corked", corked},
    {"with_more", with_more},
    {"without_delay", without_delay},
    {"without_delay_but_more", without_delay_but_more},
    {"corked_and_closed", corked_and_closed},
    {"corked_for_long", corked_for_long},
    {"datagrams_with_more", datagrams_with_more},
    {"datagrams_corked", datagrams_corked},
    {"datagrams_cut", datagrams_cut},
    {NULL, NULL},
};

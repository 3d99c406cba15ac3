/* SO_RCVTIMEO and SO_SNDTIMEO, in every call that they bound. */
#include "parity.h"

#include <sys/time.h>
#include <time.h>

enum { TIMEOUT_MS = 100 };

static void bound(int fd, int name, long milliseconds)
{
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};

    MUST(setsockopt(fd, SOL_SOCKET, name, &time, sizeof time));
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

/* The result, and whether it came neither at once nor long after its time. */
#define TIMED(name, call)                                                                    \
    do {                                                                                     \
        long begun = now_ms();                                                               \
        const char *result = (call);                                                         \
        long took = now_ms() - begun;                                                        \
        fact(name, "%s, %s", result, took < TIMEOUT_MS - 10 ? "early" : took > PATIENCE_MS ? "late" : "in time"); \
    } while (0)

static void receiving(void)
{
    char bytes[16];
    struct iovec vector = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    struct mmsghdr messages = {.msg_hdr = message};
    int ends[2];

    connection(AF_INET, ends);
    bound(ends[0], SO_RCVTIMEO, TIMEOUT_MS);
    TIMED("recv", outcome(recv(ends[0], bytes, sizeof bytes, 0)));
    TIMED("read", outcome(read(ends[0], bytes, sizeof bytes)));
    TIMED("readv", outcome(readv(ends[0], &vector, 1)));
    TIMED("recvmsg", outcome(recvmsg(ends[0], &message, 0)));
    TIMED("recvmmsg", outcome(recvmmsg(ends[0], &messages, 1, 0, NULL)));
    MUST(send(ends[1], "some", 4, 0));
    TIMED("MSG_WAITALL", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_WAITALL)));
    fact("MSG_DONTWAIT", "%s", outcome(recv(ends[0], bytes, 1, MSG_DONTWAIT)));
    bound(ends[0], SO_RCVTIMEO, PATIENCE_MS);
    MUST(send(ends[1], "data", 4, 0));
    fact("data comes first", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, 0)));
}

/* Nothing, or what the peer made room for meanwhile. */
static const char *gave_up(ssize_t result)
{
    return result > 0 || (result < 0 && errno == EAGAIN) ? "gave up" : outcome(result);
}

static void sending(void)
{
    static char block[1 << 16];
    struct iovec vector = {block, sizeof block};
    int ends[2];

    connection(AF_INET, ends);
    fill(ends[0]);
    bound(ends[0], SO_SNDTIMEO, TIMEOUT_MS);
    TIMED("send", gave_up(send(ends[0], block, sizeof block, 0)));
    TIMED("write", gave_up(write(ends[0], block, sizeof block)));
    TIMED("writev", gave_up(writev(ends[0], &vector, 1)));
}

static void sending_some(void)
{
    static char block[64 << 20];
    int ends[2];
    ssize_t sent;

    connection(AF_INET, ends);
    bound(ends[0], SO_SNDTIMEO, TIMEOUT_MS);
    sent = send(ends[0], block, sizeof block, 0);
    fact("some", "%s", sent > 0 && sent < (ssize_t)sizeof block ? "some" : outcome(sent));
}

static void accepting(void)
{
    int fd = listener(AF_INET, 4);
    struct timeval time;
    socklen_t length = sizeof time;
    int accepted;

    bound(fd, SO_RCVTIMEO, TIMEOUT_MS);
    TIMED("accept", outcome(accept(fd, NULL, NULL)));
    connected_to(fd);
    accepted = accept(fd, NULL, NULL);
    fact("accept somebody", "%s", success(accepted));
    MUST(getsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &time, &length));
    fact("of the accepted", "%ld", (long)time.tv_usec);
}

/* SO_SNDTIMEO bounds connect(2), which goes on in the background. */
static void connecting(void)
{
    int listening = listener(AF_INET, 0);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    connected_to(listening);
    await(listening, POLLIN);
    bound(fd, SO_SNDTIMEO, TIMEOUT_MS);
    TIMED("connect", outcome(connect(fd, &address.any, sizeof address.v4)));
    set_nonblocking(fd);
    fact("again", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
}

static void datagrams(void)
{
    char byte;
    int ends[2];

    datagram_pair(AF_INET, ends);
    bound(ends[0], SO_RCVTIMEO, TIMEOUT_MS);
    TIMED("recv", outcome(recv(ends[0], &byte, 1, 0)));
    TIMED("recvfrom", outcome(recvfrom(ends[0], &byte, 1, 0, NULL, NULL)));
}

/* poll(2) and select(2) have times of their own. */
static void polling(void)
{
    struct pollfd entry;
    int ends[2];

    connection(AF_INET, ends);
    bound(ends[0], SO_RCVTIMEO, 1);
    entry = (struct pollfd){.fd = ends[0], .events = POLLIN};
    TIMED("poll", outcome(poll(&entry, 1, TIMEOUT_MS)));
}

/* Set before connect(2), by which some shims change what is behind a descriptor. */
static void set_before_connecting(void)
{
    int listening = listener(AF_INET, 4);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    char byte;

    bound(fd, SO_RCVTIMEO, TIMEOUT_MS);
    MUST(connect(fd, &address.any, sizeof address.v4));
    TIMED("recv", outcome(recv(fd, &byte, 1, 0)));
}

/* SO_RCVLOWAT: poll(2) and recv(2) wait for so much. */
static void low_water(void)
{
    char bytes[16];
    int ends[2];

    connection(AF_INET, ends);
    set_int(ends[0], SOL_SOCKET, SO_RCVLOWAT, 4);
    bound(ends[0], SO_RCVTIMEO, TIMEOUT_MS);
    MUST(send(ends[1], "12", 2, 0));
    await_readable(ends[0], 2);
    fact("events with 2 of 4", "%s", events_of(ends[0]));
    TIMED("recv with 2 of 4", received(bytes, recv(ends[0], bytes, sizeof bytes, 0)));
    MUST(send(ends[1], "1234", 4, 0));
    await(ends[0], POLLIN);
    fact("events with 4", "%s", events_of(ends[0]));
    fact("recv with 4", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, 0)));
}

const struct parity_case cases[] = {
    {"receiving", receiving},
    {"sending", sending},
    {"sending_some", sending_some},
    {"accepting", accepting},
    {"connecting", connecting},
    {"datagrams", datagrams},
    {"polling", polling},
    {"set_before_connecting", set_before_connecting},
    {"low_water", low_water},
    {NULL, NULL},
};

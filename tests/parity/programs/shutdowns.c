/* shutdown(2) of every kind, again and in any order, at both ends, and what each then reads and writes. */
#include "parity.h"

#include <sys/ioctl.h>

static const struct {
    const char *name;
    int how;
} WAYS[] = {{"RD", SHUT_RD}, {"WR", SHUT_WR}, {"RDWR", SHUT_RDWR}};

static void look(const char *when, int fd)
{
    char bytes[16];

    fact(label("%s, events", when), "%s", events_of(fd));
    fact(label("%s, recv", when), "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact(label("%s, send", when), "%s", outcome(send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT)));
}

/* One end twice, in every order of two. */
static void twice(void)
{
    for (int first = 0; first < 3; first++)
        for (int second = 0; second < 3; second++) {
            const char *name = label("%s %s", WAYS[first].name, WAYS[second].name);
            int ends[2];

            connection(AF_INET, ends);
            fact(label("%s, first", name), "%s", outcome(shutdown(ends[0], WAYS[first].how)));
            if (WAYS[first].how != SHUT_RD)
                await(ends[1], POLLRDHUP);
            fact(label("%s, second", name), "%s", outcome(shutdown(ends[0], WAYS[second].how)));
            if (WAYS[first].how != SHUT_RD || WAYS[second].how != SHUT_RD)
                await(ends[1], POLLRDHUP);
            look(name, ends[0]);
        }
}

/* Both ends, in every order of two. */
static void both(void)
{
    for (int here = 0; here < 3; here++)
        for (int there = 0; there < 3; there++) {
            const char *name = label("%s here, %s there", WAYS[here].name, WAYS[there].name);
            int ends[2];

            connection(AF_INET, ends);
            MUST(shutdown(ends[0], WAYS[here].how));
            if (WAYS[here].how != SHUT_RD)
                await(ends[1], POLLRDHUP);
            fact(label("%s, shutdown", name), "%s", outcome(shutdown(ends[1], WAYS[there].how)));
            if (WAYS[there].how != SHUT_RD)
                await(ends[0], POLLRDHUP);
            /* Which FIN answers which settles a moment later. */
            if (WAYS[here].how != SHUT_RD && WAYS[there].how != SHUT_RD) {
                await(ends[0], POLLHUP);
                await(ends[1], POLLHUP);
            }
            fact(label("%s, events here", name), "%s", events_of(ends[0]));
            fact(label("%s, events there", name), "%s", events_of(ends[1]));
        }
}

/* Data goes on in the way that is open, for long. */
static void half_open(void)
{
    static char block[300000];
    int ends[2], status;
    pid_t child;

    connection(AF_INET, ends);
    MUST(shutdown(ends[0], SHUT_WR));
    await(ends[1], POLLRDHUP);
    child = (pid_t)MUST(fork());
    if (child == 0) {
        for (size_t sent = 0; sent < sizeof block;)
            sent += (size_t)MUST(write(ends[1], block + sent, sizeof block - sent));
        _exit(0);
    }
    close(ends[1]);
    fact("received", "%s", drained(ends[0]));
    waitpid(child, &status, 0);
}

/* What arrived before SHUT_RD can be read; what comes later can, too, on Linux. */
static void data_and_shut_rd(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    MUST(send(ends[1], "before", 6, 0));
    await(ends[0], POLLIN);
    MUST(shutdown(ends[0], SHUT_RD));
    fact("before", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("end", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("send", "%s", outcome(send(ends[1], "after", 5, MSG_NOSIGNAL)));
    await_readable(ends[0], 5);
    fact("after", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("peer's events", "%s", events_of(ends[1]));
    look("then", ends[0]);
}

static void unread_and_shut_down(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[1], "unread", 6, 0));
    await(ends[0], POLLIN);
    fact("SHUT_RDWR", "%s", outcome(shutdown(ends[0], SHUT_RDWR)));
    await(ends[1], POLLRDHUP);
    fact("peer's events", "%s", events_of(ends[1]));
    look("unread", ends[0]);
    MUST(close(ends[0]));
    look("peer", ends[1]);
}

/* What is queued when SHUT_WR comes is delivered first. */
static void queued_and_shut_down(void)
{
    static char block[1 << 18];
    int ends[2];
    ssize_t sent;

    connection(AF_INET, ends);
    sent = send(ends[0], block, sizeof block, MSG_DONTWAIT);
    MUST(shutdown(ends[0], SHUT_WR));
    fact("all that was sent, and the end", "%d", strcmp(drained(ends[1]), label("%zd bytes, end", sent)) == 0);
}

static void queues(void)
{
    int ends[2], number = -1;

    connection(AF_INET, ends);
    fact("SIOCINQ, fresh", "%s, %d", outcome(ioctl(ends[1], FIONREAD, &number)), number);
    MUST(send(ends[0], "12345", 5, 0));
    await_readable(ends[1], 5);
    MUST(shutdown(ends[0], SHUT_WR));
    await(ends[1], POLLRDHUP);
    fact("SIOCINQ, data and end", "%s, %d", outcome(ioctl(ends[1], FIONREAD, &number)), number);
    number = -1;
    fact("SIOCINQ of a listener", "%s, %d", outcome(ioctl(listener(AF_INET, 1), FIONREAD, &number)), number);
    fact("unknown request", "%s", outcome(ioctl(ends[0], 0x12345678, &number)));
    number = 1;
    fact("FIONBIO", "%s", outcome(ioctl(ends[0], FIONBIO, &number)));
    fact("FIONBIO, flags", "%#x", fcntl(ends[0], F_GETFL));
    fact("recv", "%s", outcome(recv(ends[0], &number, 1, 0)));
}

const struct parity_case cases[] = {
    {"twice", twice},
    {"both", both},
    {"half_open", half_open},
    {"data_and_shut_rd", data_and_shut_rd},
    {"unread_and_shut_down", unread_and_shut_down},
    {"queued_and_shut_down", queued_and_shut_down},
    {"queues", queues},
    {NULL, NULL},
};

/* Urgent data: MSG_OOB, SO_OOBINLINE, SIOCATMARK, sockatmark(3), POLLPRI and the mark at which reads stop. */
#include "parity.h"

#include <sys/select.h>

static const char *at_mark(int fd)
{
    return outcome(sockatmark(fd));
}

static void beside(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    fact("none, MSG_OOB", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_OOB)));
    fact("none, at mark", "%s", at_mark(ends[1]));
    MUST(send(ends[0], "ab", 2, 0));
    fact("send", "%s", outcome(send(ends[0], "c!", 2, MSG_OOB)));
    MUST(send(ends[0], "de", 2, 0));
    fact("POLLPRI", "%d", await(ends[1], POLLPRI));
    await_readable(ends[1], 3);
    fact("events", "%s", events_of(ends[1]));
    fact("at mark", "%s", at_mark(ends[1]));
    fact("up to the mark", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("at mark then", "%s", at_mark(ends[1]));
    fact("MSG_OOB | MSG_PEEK", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_OOB | MSG_PEEK)));
    fact("MSG_OOB", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_OOB)));
    fact("MSG_OOB again", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_OOB)));
    await_readable(ends[1], 2);
    fact("behind the mark", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("events afterwards", "%s", events_of(ends[1]));
}

static void in_line(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    set_int(ends[1], SOL_SOCKET, SO_OOBINLINE, 1);
    MUST(send(ends[0], "ab", 2, 0));
    fact("send", "%s", outcome(send(ends[0], "!", 1, MSG_OOB)));
    MUST(send(ends[0], "de", 2, 0));
    await(ends[1], POLLPRI);
    await_readable(ends[1], 5);
    fact("MSG_OOB", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_OOB)));
    fact("up to the mark", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("at mark", "%s", at_mark(ends[1]));
    fact("from the mark", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* Waits until this is the urgent byte. */
static void await_urgent(int fd, char expected)
{
    char byte = 0;

    for (int i = 0; i < PATIENCE_MS && (recv(fd, &byte, 1, MSG_OOB | MSG_PEEK) != 1 || byte != expected); i++)
        poll(NULL, 0, 1);
}

/* A second urgent byte makes the first an ordinary one. */
static void superseded(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    fact("send", "%s", outcome(send(ends[0], "1", 1, MSG_OOB)));
    await(ends[1], POLLPRI);
    fact("send again", "%s", outcome(send(ends[0], "2", 1, MSG_OOB)));
    await_urgent(ends[1], '2');
    fact("MSG_OOB", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_OOB)));
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("then", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void skipped(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    MUST(send(ends[0], "ab", 2, 0));
    fact("send", "%s", outcome(send(ends[0], "!", 1, MSG_OOB)));
    MUST(send(ends[0], "cd", 2, 0));
    await(ends[1], POLLPRI);
    await_readable(ends[1], 2);
    fact("before", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    await_readable(ends[1], 2);
    fact("behind", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void selected(void)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    fd_set except;
    int ends[2];

    connection(AF_INET, ends);
    fact("send", "%s", outcome(send(ends[0], "!", 1, MSG_OOB)));
    FD_ZERO(&except);
    FD_SET(ends[1], &except);
    fact("select", "%s", outcome(select(ends[1] + 1, NULL, NULL, &except, &patience)));
}

const struct parity_case cases[] = {
    {"beside", beside},
    {"in_line", in_line},
    {"superseded", superseded},
    {"skipped", skipped},
    {"selected", selected},
    {NULL, NULL},
};

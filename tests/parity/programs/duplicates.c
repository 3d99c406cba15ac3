/* Descriptors: dup and its family, numbers, flags, closing ranges, and limits. */
#include "parity.h"

#include <sys/resource.h>
#include <sys/stat.h>

static const char *alive(int from, int to)
{
    char bytes[8];

    if (send(from, "ping", 4, MSG_NOSIGNAL) != 4)
        return errno_named(errno);
    await(to, POLLIN);
    return received(bytes, recv(to, bytes, sizeof bytes, MSG_DONTWAIT));
}

static void numbers(void)
{
    int pipes[2], first, second, third;

    MUST(pipe(pipes));
    first = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    second = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
    fact("the next number", "%d", first == pipes[1] + 1);
    fact("and the next", "%d", second == first + 1);
    close(first);
    third = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));
    fact("the lowest that is free", "%d", third == first);
    close(0);
    fact("even 0", "%s", outcome(socket(AF_INET, SOCK_STREAM, 0)));
}

static void duplicated(void)
{
    int ends[2], copy;

    connection(AF_INET, ends);
    copy = dup(ends[0]);
    fact("dup", "%s", success(copy));
    fact("name of the copy", "%s", peer_name(copy));
    MUST(close(ends[0]));
    fact("the copy works", "%s", alive(copy, ends[1]));
    fact("peer's events", "%s", events_of(ends[1]));
    copy = dup2(copy, 200);
    fact("dup2", "%s", outcome(copy));
    fact("on itself", "%s", outcome(dup2(200, 200)));
    fact("dup3 on itself", "%s", outcome(dup3(200, 200, 0)));
    fact("dup3", "%s", outcome(dup3(200, 201, O_CLOEXEC)));
    fact("dup3, flags", "%d", fcntl(201, F_GETFD));
    fact("F_DUPFD", "%s", outcome(fcntl(200, F_DUPFD, 300)));
    fact("F_DUPFD_CLOEXEC", "%s", outcome(fcntl(200, F_DUPFD_CLOEXEC, 300)));
    fact("F_DUPFD_CLOEXEC, flags", "%d", fcntl(301, F_GETFD));
    fact("a copy of a copy works", "%s", alive(300, ends[1]));
}

/* O_NONBLOCK is of the open file; FD_CLOEXEC of the descriptor. */
static void shared_flags(void)
{
    int ends[2], copy, one = 1, number = 0;
    socklen_t length = sizeof number;

    connection(AF_INET, ends);
    copy = (int)MUST(dup(ends[0]));
    set_nonblocking(copy);
    fact("O_NONBLOCK of the other", "%d", !!(fcntl(ends[0], F_GETFL) & O_NONBLOCK));
    MUST(fcntl(copy, F_SETFD, FD_CLOEXEC));
    fact("FD_CLOEXEC of the other", "%d", fcntl(ends[0], F_GETFD));
    MUST(setsockopt(copy, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    MUST(getsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &number, &length));
    fact("option of the other", "%d", number);
    MUST(shutdown(copy, SHUT_WR));
    fact("the other after shutdown", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
}

/* dup2 over a socket closes it; its peer sees the end. */
static void replaced(void)
{
    int ends[2], others[2], null = (int)MUST(open("/dev/null", O_RDWR));

    connection(AF_INET, ends);
    connection(AF_INET, others);
    fact("a file over a socket", "%d", dup2(null, ends[0]) == ends[0]);
    await(ends[1], POLLRDHUP);
    fact("its peer", "%s", drained(ends[1]));
    fact("the name is gone", "%s", peer_name(ends[0]));
    fact("a socket over a file", "%d", dup2(others[0], null) == null);
    fact("it works", "%s", alive(null, others[1]));
    connection(AF_INET, ends);
    fact("a socket over a socket", "%d", dup2(others[0], ends[0]) == ends[0]);
    await(ends[1], POLLRDHUP);
    fact("the replaced one's peer", "%s", drained(ends[1]));
    fact("the other works", "%s", alive(ends[0], others[1]));
    fact("dup2 of a closed one", "%s", outcome(dup2(900, others[0])));
    fact("still there", "%s", alive(others[0], others[1]));
}

static void standard_streams(void)
{
    int ends[2], saved;

    connection(AF_INET, ends);
    saved = facts_to = (int)MUST(dup(1));
    MUST(dup2(ends[0], 1));
    fact("printf", "%d", printf("to the peer"));
    fact("fflush", "%d", fflush(stdout));
    MUST(dup2(saved, 1));
    close(ends[0]);
    await(ends[1], POLLRDHUP);
    fact("what came", "%s", drained(ends[1]));
}

static void closed_ranges(void)
{
    int ends[2], others[2];

    connection(AF_INET, ends);
    connection(AF_INET, others);
    MUST(dup2(ends[0], 500));
    MUST(dup2(others[0], 501));
    close(ends[0]);
    close(others[0]);
    fact("close_range", "%s", outcome(close_range(500, 500, 0)));
    fact("closed", "%s", peer_name(500));
    await(ends[1], POLLRDHUP);
    fact("its peer", "%s", drained(ends[1]));
    fact("the one beside it", "%s", alive(501, others[1]));
    fact("close_range with CLOEXEC", "%s", outcome(close_range(501, 600, CLOSE_RANGE_CLOEXEC)));
    fact("its flags", "%d", fcntl(501, F_GETFD));
    fact("still alive", "%s", alive(501, others[1]));
    fact("the wrong way round", "%s", outcome(close_range(10, 5, 0)));
    fact("with no such flag", "%s", outcome(close_range(700, 701, 64)));
}

/* The stack itself must outlive what programs do when they tidy up. */
static void closed_everything(void)
{
    int ends[2];

    connection(AF_INET, ends);
    fact("closefrom", "%s", (closefrom(3), "done"));
    fact("closed", "%s", peer_name(ends[0]));
    connection(AF_INET, ends);
    fact("a new connection", "%s", alive(ends[0], ends[1]));
    fact("close_range of all", "%s", outcome(close_range(3, ~0U, 0)));
    connection(AF_INET, ends);
    fact("another", "%s", alive(ends[0], ends[1]));
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    connection(AF_INET, ends);
    fact("after a loop", "%s", alive(ends[0], ends[1]));
}

static void closed_twice(void)
{
    int ends[2], listening = listener(AF_INET, 1);

    connection(AF_INET, ends);
    fact("close", "%s", outcome(close(ends[0])));
    fact("again", "%s", outcome(close(ends[0])));
    fact("send", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    fact("recv", "%s", outcome(recv(ends[0], &listening, 1, 0)));
    fact("fcntl", "%s", outcome(fcntl(ends[0], F_GETFL)));
    fact("listener", "%s", outcome(close(listening)));
    fact("accept", "%s", outcome(accept(listening, NULL, NULL)));
}

static void limited(void)
{
    struct rlimit limit = {20, 20};
    int fd, last = -1, count = 0;

    fact("setrlimit", "%s", outcome(setrlimit(RLIMIT_NOFILE, &limit)));
    while ((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0) {
        last = fd;
        count++;
    }
    fact("then", "%s", errno_named(errno));
    fact("the last number", "%d", last);
    close(last);
    fact("one is free", "%s", success(socket(AF_INET, SOCK_DGRAM, 0)));
    fact("the limit reads", "%s, %lu %lu", outcome(getrlimit(RLIMIT_NOFILE, &limit)), (unsigned long)limit.rlim_cur,
         (unsigned long)limit.rlim_max);
}

const struct parity_case cases[] = {
    {"numbers", numbers},
    {"duplicated", duplicated},
    {"shared_flags", shared_flags},
    {"replaced", replaced},
    {"standard_streams", standard_streams},
    {"closed_ranges", closed_ranges},
    {"closed_everything", closed_everything},
    {"closed_twice", closed_twice},
    {"limited", limited},
    {NULL, NULL},
};

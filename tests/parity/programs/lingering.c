/*
 * How a process ends with data unsent, and what its peer then reads: every way to end it; and SO_LINGER. The peer reads only when the
 * process is gone, so that what it reads was not delivered by the process alone.
 */
#include "parity.h"

#include <sys/time.h>
#include <time.h>

enum { BYTES = 2000000 };

static char block[BYTES];

/* Writes as much as is taken without waiting, and says how much that was. */
static void write_much(int fd, int report)
{
    long total = 0;
    ssize_t count;

    while (total < BYTES && (count = send(fd, block, BYTES - (size_t)total, MSG_DONTWAIT)) > 0)
        total += count;
    MUST(write(report, &total, sizeof total));
}

static void by_exit(void)
{
    exit(3);
}

static void by_underscore_exit(void)
{
    _exit(4);
}

static void by_quick_exit(void)
{
    quick_exit(5);
}

static void by_abort(void)
{
    abort();
}

static void by_kill(void)
{
    raise(SIGKILL);
}

static void by_term(void)
{
    raise(SIGTERM);
}

static void by_fault(void)
{
    volatile int *volatile nowhere = NULL;

    *nowhere = 1;
}

static void by_exec(void)
{
    execl(own_path, own_path, "+nothing", (char *)NULL);
    _exit(1);
}

static void by_close(void)
{
}

static void nothing(void)
{
}

/* What the child does: writes, and ends. */
static void write_and_end(int fd, int report, void (*how)(void), bool close_first)
{
    MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
    write_much(fd, report);
    if (close_first)
        close(fd);
    how();
    _exit(0);
}

static void judge(const char *whose, int fd, int report, pid_t child)
{
    long sent = -1;

    (void)!read(report, &sent, sizeof sent);
    fact(label("%s, child", whose), "%s", end_of(child));
    fact(label("%s, something was written", whose), "%d", sent > 0);
    fact(label("%s, all that was, and the end", whose), "%d", strcmp(drained(fd), label("%ld bytes, end", sent)) == 0);
}

/* A connection that the child has from its parent, then one of its own. */
static void ended(void (*how)(void), bool close_first)
{
    int listening = listener(AF_INET, 4), report[2], ends[2];
    pid_t child;

    connection(AF_INET, ends);
    MUST(pipe(report));
    child = (pid_t)MUST(fork());
    if (child == 0)
        write_and_end(ends[0], report[1], how, close_first);
    close(ends[0]);
    close(report[1]);
    judge("inherited", ends[1], report[0], child);

    MUST(pipe(report));
    child = (pid_t)MUST(fork());
    if (child == 0)
        write_and_end(connected_to(listening), report[1], how, close_first);
    close(report[1]);
    judge("own", next_accepted(listening), report[0], child);
}

#define ENDED(name, close_first)    \
    static void name##_ends(void)   \
    {                               \
        ended(name, close_first);   \
    }

ENDED(by_exit, false)
ENDED(by_underscore_exit, false)
ENDED(by_quick_exit, false)
ENDED(by_abort, false)
ENDED(by_kill, false)
ENDED(by_term, false)
ENDED(by_fault, false)
ENDED(by_exec, false)
ENDED(by_close, true)

/* The main thread ends the process while another is at work. */
static void *write_for_ever(void *fd)
{
    while (send(*(int *)fd, block, 1000, MSG_NOSIGNAL) > 0)
        ;
    return NULL;
}

static void with_a_thread_at_work(void)
{
    int listening = listener(AF_INET, 4), fd, opened;
    pthread_t thread;
    pid_t child = (pid_t)MUST(fork());
    char byte;

    if (child == 0) {
        opened = connected_to(listening);
        pthread_create(&thread, NULL, write_for_ever, &opened);
        recv(opened, &byte, 1, 0);
        exit(0);
    }
    fd = next_accepted(listening);
    MUST(send(fd, "x", 1, 0));
    fact("end", "%s", strstr(drained(fd), "end") ? "end" : "not in order");
    fact("child", "%s", end_of(child));
}

/* Unread data makes the end a reset, whoever closes. */
static void with_unread_data(void)
{
    int listening = listener(AF_INET, 4), fd, opened;
    pid_t child = (pid_t)MUST(fork());

    if (child == 0) {
        opened = connected_to(listening);
        await(opened, POLLIN);
        _exit(0);
    }
    fd = next_accepted(listening);
    MUST(send(fd, "unread", 6, 0));
    fact("child", "%s", end_of(child));
    await(fd, POLLHUP);
    fact("then", "%s", drained(fd));
}

static void while_connecting(void)
{
    int listening = listener(AF_INET, 4), fd;
    union address address = loopback(AF_INET, port_of(listening));
    pid_t child = (pid_t)MUST(fork());

    if (child == 0) {
        fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        (void)!connect(fd, &address.any, sizeof address.v4);
        _exit(0);
    }
    fact("child", "%s", end_of(child));
    fact("listener", "%d", await(listening, POLLIN));
    fd = next_accepted(listening);
    fact("then", "%s", drained(fd));
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

static void linger(int fd, int seconds)
{
    struct linger linger = {1, seconds};

    MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
}

static void close_slowly(const char *name, int fd, int at_least_ms, int at_most_ms)
{
    long begun = now_ms(), took;
    const char *result = outcome(close(fd));

    took = now_ms() - begun;
    fact(name, "%s, %s", result, took < at_least_ms ? "too soon" : took > at_most_ms ? "too late" : "in time");
}

/* With nothing to deliver, or when all can be, close does not wait. */
static void nothing_to_deliver(void)
{
    int ends[2];

    connection(AF_INET, ends);
    linger(ends[0], 3);
    close_slowly("idle", ends[0], 0, 1000);
    fact("idle, peer", "%s", drained(ends[1]));
    connection(AF_INET, ends);
    linger(ends[0], 3);
    MUST(send(ends[0], block, 1000, 0));
    close_slowly("little", ends[0], 0, 1000);
    fact("little, peer", "%s", drained(ends[1]));
}

static void peer_does_not_read(void)
{
    int ends[2];

    connection(AF_INET, ends);
    fill(ends[0]);
    linger(ends[0], 1);
    close_slowly("full", ends[0], 900, 3000);
    connection(AF_INET, ends);
    fill(ends[0]);
    linger(ends[0], 1);
    set_nonblocking(ends[0]);
    close_slowly("full, non-blocking", ends[0], 900, 3000);
    connection(AF_INET, ends);
    fill(ends[0]);
    close_slowly("full, without SO_LINGER", ends[0], 0, 500);
}

static void *read_later(void *fd)
{
    poll(NULL, 0, 200);
    return (void *)(intptr_t)(strstr(drained(*(int *)fd), ", end") != NULL);
}

static void peer_reads_later(void)
{
    int ends[2];
    pthread_t thread;
    void *in_order;

    connection(AF_INET, ends);
    fill(ends[0]);
    linger(ends[0], 10);
    pthread_create(&thread, NULL, read_later, &ends[1]);
    close_slowly("close", ends[0], 100, 5000);
    pthread_join(thread, &in_order);
    fact("peer", "%s", in_order ? "end" : "not in order");
}

/* The state of a connection once it is established no more: nothing is sent or read to find out, which would be an end by itself. */
static int state_then(int fd)
{
    struct tcp_info info = {.tcpi_state = TCP_ESTABLISHED};
    socklen_t length = sizeof info;

    for (int i = 0; i < PATIENCE_MS && info.tcpi_state == TCP_ESTABLISHED; i++) {
        MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
        poll(NULL, 0, 1);
    }
    return info.tcpi_state;
}

/* What sending ends with when the peer has gone. */
static const char *refusal(int fd)
{
    ssize_t sent = 0;

    for (int i = 0; i < PATIENCE_MS && (sent >= 0 || errno == EAGAIN); i++) {
        sent = send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        poll(NULL, 0, 1);
    }
    return outcome(sent);
}

static void at_once(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[0], "abc", 3, 0));
    await(ends[1], POLLIN);
    linger(ends[0], 0);
    close_slowly("close", ends[0], 0, 500);
    await(ends[1], POLLHUP);
    fact("peer", "%s", drained(ends[1]));
    connection(AF_INET, ends);
    fill(ends[0]);
    linger(ends[0], 0);
    close_slowly("close when full", ends[0], 0, 500);
    await(ends[1], POLLHUP);
    fact("peer gets a reset", "%d", strstr(drained(ends[1]), "ECONNRESET") != NULL);
    connection(AF_INET, ends);
    fill(ends[0]);
    linger(ends[0], 0);
    close_slowly("close when nothing is read", ends[0], 0, 500);
    fact("state of the peer, which goes on not reading", "%d", state_then(ends[1]));
    fact("peer, which goes on not reading", "%s", refusal(ends[1]));
}

/* No room for what the closer sends, so nobody looks what else there is of it. */
static void with_unread_data_when_full(void)
{
    int ends[2];

    connection(AF_INET, ends);
    MUST(send(ends[1], "unread", 6, 0));
    await(ends[0], POLLIN);
    fill(ends[0]);
    MUST(close(ends[0]));
    fact("state of the peer", "%d", state_then(ends[1]));
    fact("peer", "%s", refusal(ends[1]));
}

const struct parity_case cases[] = {
    {"by_exit", by_exit_ends},
    {"by_underscore_exit", by_underscore_exit_ends},
    {"by_quick_exit", by_quick_exit_ends},
    {"by_abort", by_abort_ends},
    {"by_kill", by_kill_ends},
    {"by_term", by_term_ends},
    {"by_fault", by_fault_ends},
    {"by_exec", by_exec_ends},
    {"by_close", by_close_ends},
    {"with_a_thread_at_work", with_a_thread_at_work},
    {"with_unread_data", with_unread_data},
    {"with_unread_data_when_full", with_unread_data_when_full},
    {"while_connecting", while_connecting},
    {"nothing_to_deliver", nothing_to_deliver},
    {"peer_does_not_read", peer_does_not_read},
    {"peer_reads_later", peer_reads_later},
    {"at_once", at_once},
    {"+nothing", nothing},
    {NULL, NULL},
};

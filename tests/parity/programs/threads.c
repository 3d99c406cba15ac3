/*
 * Threads that share sockets, cancellation of one that waits, and what becomes of a thread that waits on a socket when
 * another closes it or shuts it down.
 */
#include "parity.h"

#include <sys/syscall.h>

/* What a thread does, and whether it has begun to wait: seen by its state in /proc, which is that of a sleeper. */
struct waiter {
    pthread_t thread;
    int fd;
    const char *name;
    long (*call)(int fd);
    volatile pid_t id;
    const char *result;
};

static void *run_waiter(void *argument)
{
    struct waiter *waiter = argument;

    waiter->id = (pid_t)syscall(SYS_gettid);
    waiter->result = strdup(outcome(waiter->call(waiter->fd)));
    return NULL;
}

static bool sleeps(pid_t id)
{
    char path[64], text[256];
    ssize_t count;
    char *state;
    int fd;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return true;
    count = read(fd, text, sizeof text - 1);
    close(fd);
    text[count > 0 ? count : 0] = '\0';
    state = strrchr(text, ')');
    return state && state[2] == 'S';
}

/* Starts a thread, and returns when it waits. */
static void begin(struct waiter *waiter)
{
    int quiet = 0;

    pthread_create(&waiter->thread, NULL, run_waiter, waiter);
    /* Asleep for some time: on its way it may sleep for a lock. */
    for (int i = 0; i < PATIENCE_MS && quiet < 20; i++) {
        quiet = waiter->id && sleeps(waiter->id) ? quiet + 1 : 0;
        poll(NULL, 0, 1);
    }
}

static bool ends_in_time(struct waiter *waiter)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    return pthread_timedjoin_np(waiter->thread, NULL, &until) == 0;
}

/* The fact of how the wait ended. */
static void finish(struct waiter *waiter)
{
    fact(waiter->name, "%s", ends_in_time(waiter) ? waiter->result : "still waits");
}

static void cancel(struct waiter *waiter)
{
    void *result = NULL;
    struct timespec until;

    begin(waiter);
    pthread_cancel(waiter->thread);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    if (pthread_timedjoin_np(waiter->thread, &result, &until) != 0)
        fact(waiter->name, "still waits");
    else
        fact(waiter->name, "%s", result == PTHREAD_CANCELED ? "cancelled" : waiter->result);
}

#define WAITER(number, text, function) (struct waiter){.fd = number, .name = text, .call = function}

static void cancelled(void)
{
    int ends[2], listening = listener(AF_INET, 4), datagrams[2];
    char bytes[8];

    connection(AF_INET, ends);
    datagram_pair(AF_INET, datagrams);
    cancel(&WAITER(ends[0], "in read", wait_in_read));
    cancel(&WAITER(ends[0], "in readv", wait_in_readv));
    cancel(&WAITER(ends[0], "in recv", wait_in_recv));
    cancel(&WAITER(ends[0], "in recvfrom", wait_in_recvfrom));
    cancel(&WAITER(ends[0], "in recvmsg", wait_in_recvmsg));
    cancel(&WAITER(ends[0], "in recvmmsg", wait_in_recvmmsg));
    cancel(&WAITER(ends[0], "in poll", wait_in_poll));
    cancel(&WAITER(ends[0], "in select", wait_in_select));
    cancel(&WAITER(ends[0], "in epoll_wait", wait_in_epoll));
    cancel(&WAITER(listening, "in accept", wait_in_accept));
    cancel(&WAITER(datagrams[0], "in recv of a datagram", wait_in_recv));
    cancel(&WAITER(datagrams[0], "in recvmsg of a datagram", wait_in_recvmsg));
    fact("send", "%s", outcome(send(ends[1], "alive", 5, 0)));
    await(ends[0], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fill(ends[1]);
    cancel(&WAITER(ends[1], "in send", wait_in_send));
    fill(ends[1]);
    cancel(&WAITER(ends[1], "in write", wait_in_write));
}

static void cancelled_in_connect(void)
{
    int listening = listener(AF_INET, 0);

    connected_to(listening);
    await(listening, POLLIN);
    cancel(&WAITER(listening, "in connect", wait_in_connect));
    fact("another socket", "%s", success(listener(AF_INET, 1)));
}

static void disabled(void)
{
    int ends[2];
    char byte;

    connection(AF_INET, ends);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    MUST(send(ends[1], "x", 1, 0));
    fact("recv", "%s", received(&byte, recv(ends[0], &byte, 1, 0)));
}

/* close(2) wakes nobody who waits in read(2): the open file stays until they are done. */
static void closed_while_reading(void)
{
    int ends[2];
    struct waiter waiter;

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "reader", wait_in_read);
    begin(&waiter);
    fact("close", "%s", outcome(close(ends[0])));
    fact("peer's events", "%s", events_of(ends[1]));
    fact("send", "%s", outcome(send(ends[1], "x", 1, MSG_NOSIGNAL)));
    finish(&waiter);
}

static void closed_while_accepting(void)
{
    int fd = listener(AF_INET, 4), client;
    union address address = loopback(AF_INET, port_of(fd));
    struct waiter waiter = WAITER(fd, "accepter", wait_in_accept);

    begin(&waiter);
    fact("close", "%s", outcome(close(fd)));
    client = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    fact("connect", "%s", outcome(connect(client, &address.any, sizeof address.v4)));
    finish(&waiter);
}

static void closed_while_polling(void)
{
    int ends[2];
    struct waiter waiter;

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "poller", wait_in_poll);
    begin(&waiter);
    fact("close", "%s", outcome(close(ends[0])));
    fact("send", "%s", outcome(send(ends[1], "x", 1, MSG_NOSIGNAL)));
    finish(&waiter);
}

/* shutdown(2) does wake them. */
static void shut_down_while_waiting(void)
{
    int ends[2], datagrams[2], listening = listener(AF_INET, 4);
    struct waiter waiter;

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "reader", wait_in_read);
    begin(&waiter);
    MUST(shutdown(ends[0], SHUT_RD));
    finish(&waiter);

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "poller", wait_in_poll);
    begin(&waiter);
    MUST(shutdown(ends[0], SHUT_RDWR));
    finish(&waiter);

    connection(AF_INET, ends);
    fill(ends[0]);
    waiter = WAITER(ends[0], "writer", wait_in_send);
    begin(&waiter);
    MUST(shutdown(ends[0], SHUT_WR));
    finish(&waiter);

    waiter = WAITER(listening, "accepter", wait_in_accept);
    begin(&waiter);
    fact("shutdown of the listener", "%s", outcome(shutdown(listening, SHUT_RDWR)));
    finish(&waiter);

    datagram_pair(AF_INET, datagrams);
    waiter = WAITER(datagrams[0], "receiver of datagrams", wait_in_recv);
    begin(&waiter);
    fact("shutdown of datagrams", "%s", outcome(shutdown(datagrams[0], SHUT_RDWR)));
    finish(&waiter);
}

/* What the peer does wakes them as well. */
static void ended_by_the_peer(void)
{
    int ends[2];
    struct waiter waiter;

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "reader, end", wait_in_read);
    begin(&waiter);
    MUST(close(ends[1]));
    finish(&waiter);

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "reader, reset", wait_in_read);
    begin(&waiter);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    finish(&waiter);

    connection(AF_INET, ends);
    fill(ends[0]);
    waiter = WAITER(ends[0], "writer, reset", wait_in_send);
    begin(&waiter);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    finish(&waiter);

    connection(AF_INET, ends);
    waiter = WAITER(ends[0], "poller, reset", wait_in_poll);
    begin(&waiter);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    finish(&waiter);
}

static long wait_for_room(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLOUT};

    return poll(&entry, 1, PATIENCE_MS);
}

/* Nothing moves in either direction, and the peer closes with data unread: that data, and what it sent last, is lost. */
static void reset_when_full(void)
{
    struct {
        const char *name;
        long (*wait)(int);
    } waits[] = {{"writer", wait_in_send}, {"poller", wait_for_room}};
    struct waiter waiter;
    int ends[2];

    for (int i = 0; i < 2; i++) {
        connection(AF_INET, ends);
        fill(ends[0]);
        fill(ends[1]);
        waiter = WAITER(ends[0], waits[i].name, waits[i].wait);
        begin(&waiter);
        MUST(close(ends[1]));
        finish(&waiter);
        fact(label("%s, send then", waits[i].name), "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
        fact(label("%s, and then", waits[i].name), "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
        fact(label("%s, what had come is there, and an end", waits[i].name), "%d", strcmp(drained(ends[0]), "0 bytes, end") != 0);
        fact(label("%s, events", waits[i].name), "%s", events_of(ends[0]));
    }
}

enum { SHARERS = 4, MESSAGES = 200, MESSAGE_BYTES = 100 };

static void *write_messages(void *fd)
{
    char message[MESSAGE_BYTES];

    for (int i = 0; i < MESSAGES; i++) {
        memset(message, 'a' + i % 26, sizeof message);
        MUST(send(*(int *)fd, message, sizeof message, 0));
    }
    return NULL;
}

/* Several write, one reads: all arrives, and a send of this size stays whole. */
static void shared_by_writers(void)
{
    pthread_t threads[SHARERS];
    char message[MESSAGE_BYTES];
    int ends[2], count = 0, broken = 0;

    connection(AF_INET, ends);
    for (int i = 0; i < SHARERS; i++)
        pthread_create(&threads[i], NULL, write_messages, &ends[0]);
    while (count < SHARERS * MESSAGES && recv(ends[1], message, sizeof message, MSG_WAITALL) == sizeof message) {
        count++;
        for (size_t i = 1; i < sizeof message; i++)
            broken += message[i] != message[0];
    }
    for (int i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
    fact("messages", "%d", count);
    fact("broken", "%d", broken);
}

static void *read_all(void *fd)
{
    char byte;
    intptr_t count = 0;

    while (recv(*(int *)fd, &byte, 1, 0) == 1)
        count++;
    return (void *)count;
}

static void shared_by_readers(void)
{
    pthread_t threads[SHARERS];
    static char block[2000];
    intptr_t total = 0;
    int ends[2];

    connection(AF_INET, ends);
    for (int i = 0; i < SHARERS; i++)
        pthread_create(&threads[i], NULL, read_all, &ends[1]);
    MUST(send(ends[0], block, sizeof block, 0));
    MUST(shutdown(ends[0], SHUT_WR));
    for (int i = 0; i < SHARERS; i++) {
        void *count;

        pthread_join(threads[i], &count);
        total += (intptr_t)count;
    }
    fact("bytes", "%ld", (long)total);
}

static void *accept_some(void *fd)
{
    intptr_t count = 0;
    int accepted;

    while ((accepted = accept(*(int *)fd, NULL, NULL)) >= 0) {
        count++;
        close(accepted);
    }
    return (void *)count;
}

static void shared_by_accepters(void)
{
    pthread_t threads[SHARERS];
    int fd = listener(AF_INET, 128);
    intptr_t total = 0;
    char byte;

    for (int i = 0; i < SHARERS; i++)
        pthread_create(&threads[i], NULL, accept_some, &fd);
    for (int i = 0; i < 50; i++) {
        int client = connected_to(fd);

        /* Its end says that it was accepted. */
        (void)!recv(client, &byte, 1, 0);
        close(client);
    }
    MUST(shutdown(fd, SHUT_RD));
    for (int i = 0; i < SHARERS; i++) {
        void *count;

        pthread_join(threads[i], &count);
        total += (intptr_t)count;
    }
    fact("accepted", "%ld", (long)total);
}

/* One reads and one writes on the same descriptor, both blocked at times. */
static void *echo(void *fd)
{
    static char block[4096];
    ssize_t count;

    while ((count = recv(*(int *)fd, block, sizeof block, 0)) > 0)
        for (ssize_t sent = 0; sent < count;)
            sent += MUST(send(*(int *)fd, block + sent, (size_t)(count - sent), 0));
    shutdown(*(int *)fd, SHUT_WR);
    return NULL;
}

static void *write_a_megabyte(void *fd)
{
    static char block[1 << 20];

    for (size_t sent = 0; sent < sizeof block;)
        sent += (size_t)MUST(send(*(int *)fd, block + sent, sizeof block - sent, 0));
    shutdown(*(int *)fd, SHUT_WR);
    return NULL;
}

static void both_ways(void)
{
    pthread_t echoing, writing;
    int ends[2];

    connection(AF_INET, ends);
    pthread_create(&echoing, NULL, echo, &ends[1]);
    pthread_create(&writing, NULL, write_a_megabyte, &ends[0]);
    fact("echoed", "%s", drained(ends[0]));
    pthread_join(writing, NULL);
    pthread_join(echoing, NULL);
}

const struct parity_case cases[] = {
    {"cancelled", cancelled},
    {"cancelled_in_connect", cancelled_in_connect},
    {"disabled", disabled},
    {"closed_while_reading", closed_while_reading},
    {"closed_while_accepting", closed_while_accepting},
    {"closed_while_polling", closed_while_polling},
    {"shut_down_while_waiting", shut_down_while_waiting},
    {"ended_by_the_peer", ended_by_the_peer},
    {"reset_when_full", reset_when_full},
    {"shared_by_writers", shared_by_writers},
    {"shared_by_readers", shared_by_readers},
    {"shared_by_accepters", shared_by_accepters},
    {"both_ways", both_ways},
    {NULL, NULL},
};

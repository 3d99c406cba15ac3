/* epoll(7) on sockets: level, edge, one-shot, exclusive, nested, duplicates and closed descriptors. */
#include "parity.h"

#include <sys/epoll.h>

static const char *epoll_events(uint32_t events)
{
    static const struct {
        uint32_t event;
        const char *name;
    } names[] = {{EPOLLIN, "IN"}, {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"}, {EPOLLRDHUP, "RDHUP"}, {EPOLLHUP, "HUP"}, {EPOLLERR, "ERR"}};
    char text[64] = "";

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (events & names[i].event)
            strcat(strcat(text, text[0] ? " " : ""), names[i].name);
    return label("%s", text);
}

static int new_set(void)
{
    return (int)MUST(epoll_create1(EPOLL_CLOEXEC));
}

static const char *change(int set, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = 7};

    return outcome(epoll_ctl(set, operation, fd, &event));
}

/* The next event, or "none" after `patience_ms`. */
static const char *wait_for(int set, int patience_ms)
{
    struct epoll_event event;
    int count = epoll_wait(set, &event, 1, patience_ms);

    return count > 0 ? epoll_events(event.events) : count < 0 ? errno_named(errno) : "none";
}

static const char *next_event(int set)
{
    return wait_for(set, PATIENCE_MS);
}

static const char *no_event(int set)
{
    return wait_for(set, 0);
}

static void receive(int fd, size_t length)
{
    char bytes[64];

    MUST(recv(fd, bytes, length, MSG_DONTWAIT));
}

static void level(void)
{
    int ends[2], set = new_set();

    connection(AF_INET, ends);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN));
    fact("nothing", "%s", no_event(set));
    MUST(send(ends[0], "12", 2, 0));
    fact("data", "%s", next_event(set));
    fact("still", "%s", no_event(set));
    await_readable(ends[1], 2);
    receive(ends[1], 1);
    fact("half read", "%s", no_event(set));
    receive(ends[1], 1);
    fact("all read", "%s", no_event(set));
    fact("add again", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN));
    fact("modify", "%s", change(set, EPOLL_CTL_MOD, ends[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP));
    fact("writable", "%s", no_event(set));
    MUST(shutdown(ends[0], SHUT_WR));
    await(ends[1], POLLRDHUP);
    fact("end", "%s", no_event(set));
    fact("delete", "%s", change(set, EPOLL_CTL_DEL, ends[1], 0));
    fact("delete again", "%s", change(set, EPOLL_CTL_DEL, ends[1], 0));
    fact("nothing more", "%s", no_event(set));
}

/* Each arrival is told once. */
static void edge(void)
{
    int ends[2], set = new_set();

    connection(AF_INET, ends);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &(struct epoll_event){.events = EPOLLIN | EPOLLET}));
    fact("nothing", "%s", no_event(set));
    MUST(send(ends[0], "1234", 4, 0));
    fact("data", "%s", next_event(set));
    fact("told", "%s", no_event(set));
    await_readable(ends[1], 4);
    receive(ends[1], 2);
    fact("half read", "%s", no_event(set));
    MUST(send(ends[0], "56", 2, 0));
    fact("more data", "%s", next_event(set));
    await_readable(ends[1], 4);
    receive(ends[1], 4);
    fact("all read", "%s", no_event(set));
    fact("modify", "%s", change(set, EPOLL_CTL_MOD, ends[1], EPOLLIN | EPOLLOUT | EPOLLET));
    fact("after modify", "%s", no_event(set));
    fact("told that", "%s", no_event(set));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("end", "%s", next_event(set));
    fact("told the end", "%s", no_event(set));
}

/* Room is told once when there was none. */
static void edge_of_room(void)
{
    static char block[1 << 16];
    int ends[2], set = new_set();
    long got = 0;

    connection(AF_INET, ends);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.events = EPOLLOUT | EPOLLET}));
    fact("room", "%s", no_event(set));
    fact("told", "%s", no_event(set));
    fill(ends[0]);
    while (strcmp(no_event(set), "none"))
        fill(ends[0]);
    fact("full", "%s", events_of(ends[0]));
    set_nonblocking(ends[1]);
    while (!(events_of(ends[0])[0] == 'O') && await(ends[1], POLLIN)) {
        ssize_t count = recv(ends[1], block, sizeof block, 0);

        if (count <= 0)
            break;
        got += count;
    }
    fact("something was read", "%d", got > 0);
    fact("room again", "%s", next_event(set));
}

static void connecting(void)
{
    int listening = listener(AF_INET, 4), set = new_set();
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

    fact("add", "%s", change(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET));
    fact("fresh", "%s", no_event(set));
    fact("fresh, told", "%s", no_event(set));
    fact("connect", "%s", success(connect(fd, &address.any, sizeof address.v4) && errno == EINPROGRESS ? 0 : -1));
    fact("connected", "%s", next_event(set));
    fact("connected, told", "%s", no_event(set));
}

static void refused(void)
{
    int set = new_set(), fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    union address address = loopback(AF_INET, free_port(AF_INET, SOCK_STREAM));

    (void)!connect(fd, &address.any, sizeof address.v4);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP));
    await(fd, POLLERR);
    fact("refused", "%s", no_event(set));
}

static void one_shot(void)
{
    int ends[2], set = new_set();

    connection(AF_INET, ends);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN | EPOLLONESHOT));
    MUST(send(ends[0], "1", 1, 0));
    fact("data", "%s", next_event(set));
    fact("disabled", "%s", no_event(set));
    MUST(send(ends[0], "2", 1, 0));
    await_readable(ends[1], 2);
    fact("more data", "%s", no_event(set));
    fact("modify", "%s", change(set, EPOLL_CTL_MOD, ends[1], EPOLLIN | EPOLLONESHOT));
    fact("armed", "%s", next_event(set));
    fact("disabled again", "%s", no_event(set));
    reset_on_close(ends[0]);
    MUST(close(ends[0]));
    await(ends[1], POLLHUP);
    fact("reset while disabled", "%s", no_event(set));
}

static void listening(void)
{
    int fd = listener(AF_INET, 8), set = new_set();

    set_nonblocking(fd);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET));
    fact("nothing", "%s", no_event(set));
    connected_to(fd);
    fact("one", "%s", next_event(set));
    connected_to(fd);
    fact("two", "%s", next_event(set));
    fact("accept", "%s", success(accept(fd, NULL, NULL)));
    fact("one left", "%s", no_event(set));
    fact("accept that", "%s", success(accept(fd, NULL, NULL)));
    fact("accept nobody", "%s", success(accept(fd, NULL, NULL)));
}

enum { WAITERS = 4 };

static struct {
    int sets[WAITERS];
    pthread_barrier_t ready;
} waiters;

/* Each waits on a set of its own until its own pipe says that all is over. */
static void *wait_in_turn(void *number)
{
    int set = waiters.sets[(intptr_t)number];
    struct epoll_event events[2];
    intptr_t woken = 0;

    pthread_barrier_wait(&waiters.ready);
    for (;;) {
        int count = epoll_wait(set, events, 2, PATIENCE_MS);
        bool over = count <= 0;

        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == 1)
                over = true;
            else
                woken = 1;
        if (over)
            return (void *)woken;
    }
}

/* At least one of those that wait exclusively is woken; all are, when they do not. */
static void wake(const char *how, uint32_t flags)
{
    int fd = listener(AF_INET, 8), over[2];
    pthread_t threads[WAITERS];
    int woken = 0;

    MUST(pipe(over));
    pthread_barrier_init(&waiters.ready, NULL, WAITERS + 1);
    for (intptr_t i = 0; i < WAITERS; i++) {
        waiters.sets[i] = new_set();
        fact(label("%s, add %d", how, (int)i), "%s", change(waiters.sets[i], EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET | flags));
        MUST(epoll_ctl(waiters.sets[i], EPOLL_CTL_ADD, over[0], &(struct epoll_event){.events = EPOLLIN, .data.u32 = 1}));
        pthread_create(&threads[i], NULL, wait_in_turn, (void *)i);
    }
    pthread_barrier_wait(&waiters.ready);
    connected_to(fd);
    await(fd, POLLIN);
    MUST(write(over[1], "x", 1));
    for (int i = 0; i < WAITERS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        woken += (intptr_t)result > 0;
    }
    fact(label("%s, woken", how), "%s", flags ? woken >= 1 ? "some" : "none" : woken == WAITERS ? "all" : "not all");
}

static void exclusive(void)
{
    int set = new_set(), fd = listener(AF_INET, 4);

    wake("shared", 0);
    wake("exclusive", EPOLLEXCLUSIVE);
    fact("with one-shot", "%s", change(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT | EPOLLEXCLUSIVE));
    fact("add", "%s", change(set, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLEXCLUSIVE));
    fact("modify", "%s", change(set, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE));
}

static void nested(void)
{
    int ends[2], inner = new_set(), outer = new_set();

    connection(AF_INET, ends);
    fact("inner", "%s", change(inner, EPOLL_CTL_ADD, ends[1], EPOLLIN));
    fact("outer", "%s", change(outer, EPOLL_CTL_ADD, inner, EPOLLIN));
    fact("nothing", "%s", no_event(outer));
    MUST(send(ends[0], "1", 1, 0));
    fact("outer, data", "%s", next_event(outer));
    fact("inner, data", "%s", next_event(inner));
    fact("poll of the set", "%s", events_of(outer));
    await_readable(ends[1], 1);
    receive(ends[1], 1);
    fact("outer, read", "%s", no_event(outer));
    fact("a set in itself", "%s", change(outer, EPOLL_CTL_ADD, outer, EPOLLIN));
    fact("a loop", "%s", change(inner, EPOLL_CTL_ADD, outer, EPOLLIN));
}

/* A set keeps the open file, not the number. */
static void duplicates(void)
{
    int ends[2], set = new_set(), copy;

    connection(AF_INET, ends);
    copy = (int)MUST(dup(ends[1]));
    fact("add", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN));
    fact("add the copy", "%s", change(set, EPOLL_CTL_ADD, copy, EPOLLIN | EPOLLOUT));
    fact("copy is writable", "%s", next_event(set));
    fact("delete the copy", "%s", change(set, EPOLL_CTL_DEL, copy, 0));
    MUST(close(ends[1]));
    MUST(send(ends[0], "1", 1, 0));
    fact("closed, a copy open", "%s", next_event(set));
    MUST(close(copy));
    fact("all closed", "%s", no_event(set));
}

static void number_reused(void)
{
    int ends[2], others[2], set = new_set(), old;

    connection(AF_INET, ends);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN));
    old = ends[1];
    MUST(close(ends[1]));
    connection(AF_INET, others);
    fact("the number is another's now", "%d", others[0] == old || others[1] == old || dup2(others[1], old) == old);
    fact("delete what is not there", "%s", change(set, EPOLL_CTL_DEL, old, 0));
    fact("add the other", "%s", change(set, EPOLL_CTL_ADD, old, EPOLLOUT));
    fact("its events", "%s", next_event(set));
}

static void datagrams(void)
{
    int ends[2], set = new_set();

    datagram_pair(AF_INET, ends);
    fact("add", "%s", change(set, EPOLL_CTL_ADD, ends[1], EPOLLIN | EPOLLOUT | EPOLLET));
    fact("writable", "%s", next_event(set));
    fact("told", "%s", no_event(set));
    MUST(send(ends[0], "1", 1, 0));
    fact("datagram", "%s", next_event(set));
    MUST(send(ends[0], "2", 1, 0));
    fact("another", "%s", next_event(set));
    fact("told that", "%s", no_event(set));
}

static void waits(void)
{
    struct epoll_event event;
    struct timespec now = {0, 0};
    int ends[2], set = new_set();

    connection(AF_INET, ends);
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.events = EPOLLOUT}));
    fact("epoll_pwait", "%s", outcome(epoll_pwait(set, &event, 1, 0, NULL)));
    fact("epoll_pwait2", "%s", outcome(epoll_pwait2(set, &event, 1, &now, NULL)));
    fact("no room for events", "%s", outcome(epoll_wait(set, &event, 0, 0)));
    fact("not a set", "%s", outcome(epoll_wait(ends[0], &event, 1, 0)));
    fact("add to what is no set", "%s", change(ends[0], EPOLL_CTL_ADD, ends[1], EPOLLIN));
    fact("add what is closed", "%s", change(set, EPOLL_CTL_ADD, 777, EPOLLIN));
    fact("no such operation", "%s", change(set, 9, ends[1], EPOLLIN));
}

const struct parity_case cases[] = {
    {"level", level},
    {"edge", edge},
    {"edge_of_room", edge_of_room},
    {"connecting", connecting},
    {"refused", refused},
    {"one_shot", one_shot},
    {"listening", listening},
    {"exclusive", exclusive},
    {"nested", nested},
    {"duplicates", duplicates},
    {"number_reused", number_reused},
    {"datagrams", datagrams},
    {"waits", waits},
    {NULL, NULL},
};

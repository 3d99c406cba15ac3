/* poll(2), ppoll(2), select(2) and pselect(2) over sockets, pipes, files, event descriptors and terminals at once. */
#include "parity.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/timerfd.h>

enum { SOCKET, PIPE, FILE_, EVENT, LISTENER, DATAGRAM, CLOSED, NEGATIVE, KINDS };

static const char *const KIND_NAMES[KINDS] = {"socket", "pipe", "file", "event", "listener", "datagram", "closed", "negative"};

/* One of each, with nothing to read but in the file. */
static void one_of_each(struct pollfd entries[KINDS], int peers[KINDS])
{
    int ends[2];

    connection(AF_INET, ends);
    entries[SOCKET].fd = ends[0];
    peers[SOCKET] = ends[1];
    MUST(pipe(ends));
    entries[PIPE].fd = ends[0];
    peers[PIPE] = ends[1];
    entries[FILE_].fd = (int)MUST(open("/proc/self/exe", O_RDONLY));
    entries[EVENT].fd = peers[EVENT] = (int)MUST(eventfd(0, 0));
    entries[LISTENER].fd = peers[LISTENER] = listener(AF_INET, 4);
    datagram_pair(AF_INET, ends);
    entries[DATAGRAM].fd = ends[0];
    peers[DATAGRAM] = ends[1];
    entries[CLOSED].fd = 900;
    entries[NEGATIVE].fd = -1;
    for (int i = 0; i < KINDS; i++)
        entries[i].events = POLLIN | POLLPRI | POLLOUT | POLLRDHUP;
}

static void all_events(const char *when, const struct pollfd *entries, int count)
{
    fact(label("%s, ready", when), "%s", outcome(count));
    for (int i = 0; i < KINDS; i++)
        fact(label("%s, %s", when, KIND_NAMES[i]), "%s", events_named(entries[i].revents));
}

/* Something to read at each. */
static void make_readable(const struct pollfd *entries, const int *peers)
{
    MUST(send(peers[SOCKET], "x", 1, 0));
    MUST(write(peers[PIPE], "x", 1));
    eventfd_write(peers[EVENT], 1);
    connected_to(peers[LISTENER]);
    MUST(send(peers[DATAGRAM], "x", 1, 0));
    for (int i = SOCKET; i < CLOSED; i++)
        await(entries[i].fd, POLLIN);
}

static void polled(void)
{
    struct pollfd entries[KINDS];
    struct timespec now = {0, 0};
    int peers[KINDS];

    one_of_each(entries, peers);
    all_events("idle", entries, poll(entries, KINDS, 0));
    make_readable(entries, peers);
    all_events("readable", entries, ppoll(entries, KINDS, &now, NULL));
    close(peers[SOCKET]);
    close(peers[PIPE]);
    await(entries[SOCKET].fd, POLLRDHUP);
    all_events("peer closed", entries, poll(entries, KINDS, 0));
}

/* As many programs ask: no RDHUP, and the classes of System V. */
static void asked_otherwise(void)
{
    int ends[2];
    struct pollfd entry;

    connection(AF_INET, ends);
    entry = (struct pollfd){.fd = ends[0], .events = POLLRDNORM | POLLRDBAND | POLLWRNORM};
    fact("POLLRDNORM and POLLWRNORM, idle", "%d, %#x", poll(&entry, 1, 0), entry.revents);
    MUST(send(ends[1], "x", 1, 0));
    await(ends[0], POLLIN);
    fact("POLLRDNORM and POLLWRNORM, data", "%d, %#x", poll(&entry, 1, 0), entry.revents);
    entry.events = 0;
    fact("nothing asked, data", "%d, %#x", poll(&entry, 1, 0), entry.revents);
    MUST(shutdown(ends[0], SHUT_RDWR));
    await(ends[0], POLLHUP);
    fact("nothing asked, hang-up", "%d, %#x", poll(&entry, 1, 0), entry.revents);
    entry.events = POLLIN;
    fact("POLLIN asked, hang-up", "%d, %#x", poll(&entry, 1, 0), entry.revents);
    entry.events = POLLWRBAND;
    fact("POLLWRBAND asked", "%d, %#x", poll(&(struct pollfd){.fd = ends[1], .events = POLLWRBAND}, 1, 0), entry.revents);
}

static void timed_out(void)
{
    struct timespec soon = {0, 10000000}, bad = {0, -1};
    int ends[2];
    struct pollfd entry;

    connection(AF_INET, ends);
    entry = (struct pollfd){.fd = ends[0], .events = POLLIN};
    fact("poll", "%s", outcome(poll(&entry, 1, 10)));
    fact("ppoll", "%s", outcome(ppoll(&entry, 1, &soon, NULL)));
    fact("ppoll, bad time", "%s", outcome(ppoll(&entry, 1, &bad, NULL)));
}

struct sets {
    fd_set in, out, except;
    int highest;
};

static void fill_sets(struct sets *sets, const struct pollfd *entries)
{
    memset(sets, 0, sizeof *sets);
    for (int i = SOCKET; i < CLOSED; i++) {
        FD_SET(entries[i].fd, &sets->in);
        FD_SET(entries[i].fd, &sets->out);
        FD_SET(entries[i].fd, &sets->except);
        if (entries[i].fd > sets->highest)
            sets->highest = entries[i].fd;
    }
}

static void all_sets(const char *when, const struct pollfd *entries, const struct sets *sets, int count)
{
    fact(label("%s, ready", when), "%s", outcome(count));
    for (int i = SOCKET; i < CLOSED; i++)
        fact(label("%s, %s", when, KIND_NAMES[i]), "%s%s%s", FD_ISSET(entries[i].fd, &sets->in) ? "in " : "",
             FD_ISSET(entries[i].fd, &sets->out) ? "out " : "", FD_ISSET(entries[i].fd, &sets->except) ? "except" : "");
}

static void selected(void)
{
    struct pollfd entries[KINDS];
    struct timeval now = {0, 0};
    struct timespec also_now = {0, 0};
    struct sets sets;
    int peers[KINDS];

    one_of_each(entries, peers);
    fill_sets(&sets, entries);
    all_sets("idle", entries, &sets, select(sets.highest + 1, &sets.in, &sets.out, &sets.except, &now));
    make_readable(entries, peers);
    fill_sets(&sets, entries);
    all_sets("readable", entries, &sets, pselect(sets.highest + 1, &sets.in, &sets.out, &sets.except, &also_now, NULL));
    close(peers[SOCKET]);
    await(entries[SOCKET].fd, POLLRDHUP);
    fill_sets(&sets, entries);
    all_sets("peer closed", entries, &sets, select(sets.highest + 1, &sets.in, &sets.out, &sets.except, &now));
}

static void select_errors(void)
{
    struct timeval bad = {-1, 0}, now = {0, 0}, soon = {0, 10000};
    fd_set in;
    int ends[2], fd;

    connection(AF_INET, ends);
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    fact("timed out", "%s", outcome(select(ends[0] + 1, &in, NULL, NULL, &soon)));
    fact("time is used up", "%ld %ld", (long)soon.tv_sec, (long)soon.tv_usec);
    FD_SET(ends[0], &in);
    fact("bad time", "%s", outcome(select(ends[0] + 1, &in, NULL, NULL, &bad)));
    fact("negative count", "%s", outcome(select(-1, &in, NULL, NULL, &now)));
    fd = ends[0];
    close(fd);
    FD_SET(fd, &in);
    fact("closed", "%s", outcome(select(fd + 1, &in, NULL, NULL, &now)));
}

/* Refused and reset connections in select(2), where an error shows as readable and writable. */
static void selected_errors(void)
{
    union address address = loopback(AF_INET, free_port(AF_INET, SOCK_STREAM));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    fd_set in, out, except;

    (void)!connect(fd, &address.any, sizeof address.v4);
    await(fd, POLLERR);
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&except);
    FD_SET(fd, &in);
    FD_SET(fd, &out);
    FD_SET(fd, &except);
    fact("refused", "%s", outcome(select(fd + 1, &in, &out, &except, &patience)));
    fact("refused, sets", "%d %d %d", !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &out), !!FD_ISSET(fd, &except));
}

/* A wait that began before the event ends with it, whoever caused it. */
static void *cause(void *fd)
{
    MUST(send(*(int *)fd, "x", 1, 0));
    return NULL;
}

static void waited(void)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    pthread_t thread;
    fd_set in;
    char byte;
    int ends[2], timer = (int)MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    struct pollfd entries[2];

    connection(AF_INET, ends);
    entries[0] = (struct pollfd){.fd = ends[1], .events = POLLIN};
    entries[1] = (struct pollfd){.fd = timer, .events = POLLIN};
    pthread_create(&thread, NULL, cause, &ends[0]);
    fact("poll", "%s", outcome(poll(entries, 2, PATIENCE_MS)));
    fact("poll, socket", "%s", events_named(entries[0].revents));
    fact("poll, timer", "%s", events_named(entries[1].revents));
    pthread_join(thread, NULL);
    MUST(recv(ends[1], &byte, 1, 0));
    FD_ZERO(&in);
    FD_SET(ends[1], &in);
    FD_SET(timer, &in);
    pthread_create(&thread, NULL, cause, &ends[0]);
    fact("select", "%s", outcome(select((ends[1] > timer ? ends[1] : timer) + 1, &in, NULL, NULL, &patience)));
    fact("select, socket", "%d", !!FD_ISSET(ends[1], &in));
    pthread_join(thread, NULL);
}

const struct parity_case cases[] = {
    {"polled", polled},
    {"asked_otherwise", asked_otherwise},
    {"timed_out", timed_out},
    {"selected", selected},
    {"select_errors", select_errors},
    {"selected_errors", selected_errors},
    {"waited", waited},
    {NULL, NULL},
};

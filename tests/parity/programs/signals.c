/*
 * Signals: EINTR and SA_RESTART in every call that waits, SIGPIPE, SIGIO and SIGURG. A thread sends the signal until the
 * call has ended, so that it cannot come too early to be seen.
 */
#include "parity.h"

#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t handled;
static volatile sig_atomic_t over;

static void handle(int signal)
{
    (void)signal;
    handled++;
}

static void install(int signal, int flags)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};

    sigemptyset(&action.sa_mask);
    MUST(sigaction(signal, &action, NULL));
}

/* Interrupts the main thread again and again, and does something for it when that is asked. */
struct interruption {
    pthread_t whom;
    int then_send_on;
    int then_connect_to;
};

static void *interrupt(void *argument)
{
    struct interruption *interruption = argument;
    struct timespec pause = {0, 5000000};

    for (int i = 0; !over; i++) {
        pthread_kill(interruption->whom, SIGUSR1);
        nanosleep(&pause, NULL);
        if (i == 5 && interruption->then_send_on >= 0)
            (void)!send(interruption->then_send_on, "after", 5, MSG_NOSIGNAL);
        if (i == 5 && interruption->then_connect_to >= 0)
            connected_to(interruption->then_connect_to);
        if (i > 500)
            break;
    }
    return NULL;
}

static pthread_t begin(struct interruption *interruption)
{
    pthread_t thread;

    interruption->whom = pthread_self();
    over = 0;
    handled = 0;
    pthread_create(&thread, NULL, interrupt, interruption);
    return thread;
}

static void end(const char *what, pthread_t thread)
{
    for (int i = 0; !handled && i < PATIENCE_MS; i++)
        poll(NULL, 0, 1);
    over = 1;
    pthread_join(thread, NULL);
    fact(label("%s, handled", what), "%d", handled > 0);
}

/* A call that waits and is not restarted. */
static void interrupt_call(const char *name, long (*call)(int fd), int fd)
{
    struct interruption interruption = {.then_send_on = -1, .then_connect_to = -1};
    pthread_t thread;

    install(SIGUSR1, 0);
    thread = begin(&interruption);
    fact(name, "%s", outcome(call(fd)));
    end(name, thread);
}

static void interrupted(void)
{
    int ends[2], datagrams[2];

    connection(AF_INET, ends);
    datagram_pair(AF_INET, datagrams);
    interrupt_call("read", wait_in_read, ends[0]);
    interrupt_call("readv", wait_in_readv, ends[0]);
    interrupt_call("recv", wait_in_recv, ends[0]);
    interrupt_call("recvfrom", wait_in_recvfrom, ends[0]);
    interrupt_call("recvmsg", wait_in_recvmsg, ends[0]);
    interrupt_call("recvmmsg", wait_in_recvmmsg, ends[0]);
    interrupt_call("poll", wait_in_poll, ends[0]);
    interrupt_call("select", wait_in_select, ends[0]);
    interrupt_call("epoll_wait", wait_in_epoll, ends[0]);
    interrupt_call("accept", wait_in_accept, listener(AF_INET, 4));
    interrupt_call("datagram, read", wait_in_read, datagrams[0]);
    interrupt_call("datagram, recvfrom", wait_in_recvfrom, datagrams[0]);
    interrupt_call("datagram, recvmmsg", wait_in_recvmmsg, datagrams[0]);
    fill(ends[0]);
    interrupt_call("write", wait_in_write, ends[0]);
    interrupt_call("send", wait_in_send, ends[0]);
}

static void interrupted_connect(void)
{
    struct interruption interruption = {.then_send_on = -1, .then_connect_to = -1};
    int listening = listener(AF_INET, 0);
    union address address = loopback(AF_INET, port_of(listening));
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    pthread_t thread;

    connected_to(listening);
    await(listening, POLLIN);
    install(SIGUSR1, 0);
    thread = begin(&interruption);
    fact("connect", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
    end("connect", thread);
    set_nonblocking(fd);
    fact("again", "%s", outcome(connect(fd, &address.any, sizeof address.v4)));
}

static void restarted_read(void)
{
    struct interruption interruption = {.then_connect_to = -1};
    char bytes[16];
    int ends[2];
    pthread_t thread;

    connection(AF_INET, ends);
    interruption.then_send_on = ends[1];
    install(SIGUSR1, SA_RESTART);
    thread = begin(&interruption);
    fact("result", "%s", received(bytes, read(ends[0], bytes, sizeof bytes)));
    end("result", thread);
}

static void restarted_recvfrom(void)
{
    struct interruption interruption = {.then_connect_to = -1};
    char bytes[16];
    int ends[2];
    pthread_t thread;

    datagram_pair(AF_INET, ends);
    interruption.then_send_on = ends[1];
    install(SIGUSR1, SA_RESTART);
    thread = begin(&interruption);
    fact("result", "%s", received(bytes, recvfrom(ends[0], bytes, sizeof bytes, 0, NULL, NULL)));
    end("result", thread);
}

static void restarted_accept(void)
{
    struct interruption interruption = {.then_send_on = -1};
    pthread_t thread;
    int fd = listener(AF_INET, 4);

    interruption.then_connect_to = fd;
    install(SIGUSR1, SA_RESTART);
    thread = begin(&interruption);
    fact("result", "%s", success(accept(fd, NULL, NULL)));
    end("result", thread);
}

/* With a time-out, SA_RESTART does not restart (signal(7)). */
static void not_restarted_with_timeout(void)
{
    struct interruption interruption = {.then_send_on = -1, .then_connect_to = -1};
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    char byte;
    int ends[2];
    pthread_t thread;

    connection(AF_INET, ends);
    MUST(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
    install(SIGUSR1, SA_RESTART);
    thread = begin(&interruption);
    fact("result", "%s", outcome(recv(ends[0], &byte, 1, 0)));
    end("result", thread);
}

/* What was transferred before the signal counts. */
static void interrupted_with_some_received(void)
{
    struct interruption interruption = {.then_send_on = -1, .then_connect_to = -1};
    char bytes[16];
    int ends[2];
    pthread_t thread;

    connection(AF_INET, ends);
    MUST(send(ends[1], "some", 4, 0));
    await(ends[0], POLLIN);
    install(SIGUSR1, 0);
    thread = begin(&interruption);
    fact("MSG_WAITALL", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_WAITALL)));
    end("result", thread);
}

static void broken_pipe(void)
{
    int ends[2];

    connection(AF_INET, ends);
    install(SIGPIPE, 0);
    MUST(shutdown(ends[0], SHUT_WR));
    fact("send", "%s", outcome(send(ends[0], "x", 1, 0)));
    fact("send, signals", "%d", handled);
    fact("write", "%s", outcome(write(ends[0], "x", 1)));
    fact("write, signals", "%d", handled);
    fact("MSG_NOSIGNAL", "%s", outcome(send(ends[0], "x", 1, MSG_NOSIGNAL)));
    fact("MSG_NOSIGNAL, signals", "%d", handled);
    fact("sendto", "%s", outcome(sendto((int)MUST(socket(AF_INET, SOCK_STREAM, 0)), "x", 1, 0, NULL, 0)));
    fact("unconnected, signals", "%d", handled);
}

/* The first write to a connection that was reset gives the error, the next the signal. */
static void broken_by_reset(void)
{
    int ends[2];

    connection(AF_INET, ends);
    install(SIGPIPE, 0);
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    fact("first", "%s", outcome(write(ends[0], "x", 1)));
    fact("first, signals", "%d", handled);
    fact("second", "%s", outcome(write(ends[0], "x", 1)));
    fact("second, signals", "%d", handled);
}

static void killed_by_sigpipe(void)
{
    int ends[2];
    pid_t child;

    child = (pid_t)MUST(fork());
    if (child == 0) {
        connection(AF_INET, ends);
        MUST(shutdown(ends[0], SHUT_WR));
        (void)!write(ends[0], "x", 1);
        _exit(0);
    }
    fact("child", "%s", end_of(child));
}

static void blocked_sigpipe(void)
{
    int ends[2];
    sigset_t pipes, pending;
    struct timespec now = {0, 0};

    connection(AF_INET, ends);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    MUST(sigprocmask(SIG_BLOCK, &pipes, NULL));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("write", "%s", outcome(write(ends[0], "x", 1)));
    MUST(sigpending(&pending));
    fact("pending", "%d", sigismember(&pending, SIGPIPE));
    fact("taken", "%d", sigtimedwait(&pipes, NULL, &now) == SIGPIPE);
}

static void await_handled(int count)
{
    for (int i = 0; handled < count && i < PATIENCE_MS; i++)
        poll(NULL, 0, 1);
}

static void told_by_sigio(void)
{
    int ends[2];

    connection(AF_INET, ends);
    install(SIGIO, SA_RESTART);
    fact("F_SETOWN", "%s", outcome(fcntl(ends[0], F_SETOWN, getpid())));
    fact("F_GETOWN is ourselves", "%d", fcntl(ends[0], F_GETOWN) == getpid());
    fact("O_ASYNC", "%s", outcome(fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK)));
    fact("flags", "%#x", fcntl(ends[0], F_GETFL));
    MUST(send(ends[1], "x", 1, 0));
    await_handled(1);
    fact("told of data", "%d", handled > 0);
}

static void told_of_urgent_data(void)
{
    int ends[2];

    connection(AF_INET, ends);
    install(SIGURG, SA_RESTART);
    fact("F_SETOWN", "%s", outcome(fcntl(ends[0], F_SETOWN, getpid())));
    fact("send", "%s", outcome(send(ends[1], "!", 1, MSG_OOB)));
    await_handled(1);
    fact("told", "%d", handled > 0);
}

const struct parity_case cases[] = {
    {"interrupted", interrupted},
    {"interrupted_connect", interrupted_connect},
    {"restarted_read", restarted_read},
    {"restarted_recvfrom", restarted_recvfrom},
    {"restarted_accept", restarted_accept},
    {"not_restarted_with_timeout", not_restarted_with_timeout},
    {"interrupted_with_some_received", interrupted_with_some_received},
    {"broken_pipe", broken_pipe},
    {"broken_by_reset", broken_by_reset},
    {"killed_by_sigpipe", killed_by_sigpipe},
    {"blocked_sigpipe", blocked_sigpipe},
    {"told_by_sigio", told_by_sigio},
    {"told_of_urgent_data", told_of_urgent_data},
    {NULL, NULL},
};

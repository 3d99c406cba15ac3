/* Sockets that a process has when it goes into a network namespace of its own. */
#include "parity.h"

#include <sched.h>
#include <sys/syscall.h>

/* Goes as root may, and anybody in a user namespace of his own. */
static const int FLAGS = CLONE_NEWUSER | CLONE_NEWNET;

/* What is asked about a connection, and how its end is told. */
static void use(int fd)
{
    int one = 1;
    char bytes[16];

    fact("child, own name", "%s", local_name(fd));
    fact("child, peer's name", "%s", peer_name(fd));
    fact("child, TCP_NODELAY", "%s", outcome(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)));
    await(fd, POLLIN);
    fact("child, recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("child, send", "%s", outcome(send(fd, "answer", 6, MSG_NOSIGNAL)));
    await(fd, POLLIN | POLLRDHUP);
    fact("child, then", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("child, shutdown", "%s", outcome(shutdown(fd, SHUT_WR)));
}

static void be_asked(int fd, pid_t child)
{
    char bytes[16];

    fact("send", "%s", outcome(send(fd, "ask", 3, MSG_NOSIGNAL)));
    await(fd, POLLIN);
    fact("recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("shutdown", "%s", outcome(shutdown(fd, SHUT_WR)));
    await(fd, POLLIN | POLLRDHUP);
    fact("end", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("child", "%s", end_of(child));
}

static pid_t unshared_child(void)
{
    pid_t other = forked_child();

    if (other == 0)
        MUST(unshare(FLAGS));
    return other;
}

/* As vsftpd starts the process that talks to its client. */
static pid_t cloned_child(void)
{
    fflush(NULL);
    return (pid_t)MUST(syscall(SYS_clone, FLAGS | SIGCHLD, NULL, NULL, NULL, NULL));
}

static void goes(pid_t (*start)(void))
{
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    other = start();
    if (other == 0) {
        close(ends[0]);
        use(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    be_asked(ends[0], other);
}

static void unshared(void)
{
    goes(unshared_child);
}

static void cloned(void)
{
    goes(cloned_child);
}

/* The flags of clone3(2) are in memory that may not be there. */
static void nowhere(void)
{
    int fd = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    fact("clone3 of nothing", "%s", outcome(syscall(SYS_clone3, NULL, 88)));
    fact("clone3 of what cannot be read", "%s", outcome(syscall(SYS_clone3, (void *)8, 88)));
    fact("clone3 of no size", "%s", outcome(syscall(SYS_clone3, (void *)8, 0)));
    close(fd);
}

/* What is forked there has it too. */
static void forked_there(void)
{
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        pid_t user;

        close(ends[0]);
        MUST(unshare(FLAGS));
        user = forked_child();
        if (user == 0) {
            use(ends[1]);
            _exit(0);
        }
        fact("user", "%s", end_of(user));
        _exit(0);
    }
    close(ends[1]);
    be_asked(ends[0], other);
}

/* A reset is no end, there neither. */
static void reset_there(void)
{
    int ends[2];
    pid_t other;
    char byte;

    connection(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        close(ends[0]);
        MUST(unshare(FLAGS));
        fact("child, send", "%s", outcome(send(ends[1], "x", 1, MSG_NOSIGNAL)));
        await(ends[1], POLLIN | POLLHUP);
        fact("child, recv", "%s", received(&byte, recv(ends[1], &byte, 1, MSG_DONTWAIT)));
        _exit(0);
    }
    close(ends[1]);
    await(ends[0], POLLIN);
    fact("recv", "%s", received(&byte, recv(ends[0], &byte, 1, MSG_DONTWAIT)));
    reset_on_close(ends[0]);
    close(ends[0]);
    fact("child", "%s", end_of(other));
}

static void datagrams(void)
{
    int ends[2];
    pid_t other;
    char bytes[16];

    datagram_pair(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        close(ends[0]);
        MUST(unshare(FLAGS));
        fact("child, peer's name", "%s", peer_name(ends[1]));
        await(ends[1], POLLIN);
        fact("child, recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
        fact("child, send", "%s", outcome(send(ends[1], "answer", 6, 0)));
        _exit(0);
    }
    close(ends[1]);
    fact("send", "%s", outcome(send(ends[0], "ask", 3, 0)));
    await(ends[0], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[0], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("child", "%s", end_of(other));
}

static void accepts_there(void)
{
    int listening = listener(AF_INET, 4), fd;
    pid_t other = forked_child();
    char bytes[16];

    if (other == 0) {
        MUST(unshare(FLAGS));
        fd = next_accepted(listening);
        fact("child, own name", "%s", local_name(fd));
        await(fd, POLLIN);
        fact("child, recv", "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
        _exit(0);
    }
    fd = connected_to(listening);
    fact("send", "%s", outcome(send(fd, "ask", 3, 0)));
    fact("child", "%s", end_of(other));
}

const struct parity_case cases[] = {
    {"unshared", unshared},
    {"cloned", cloned},
    {"nowhere", nowhere},
    {"forked_there", forked_there},
    {"reset_there", reset_there},
    {"datagrams", datagrams},
    {"accepts_there", accepts_there},
    {NULL, NULL},
};

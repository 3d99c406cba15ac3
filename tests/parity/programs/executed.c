/*
 * Programs that inherit sockets by exec(2): under their number, as standard input and output (inetd), and what close-on-exec
 * keeps back. The program executes itself. daemon(3), vfork(2), posix_spawn(3), system(3) and popen(3) come here too.
 */
#include "parity.h"

#include <spawn.h>

extern char **environ;

static char number_text[4][16];

static char *number(int which, int value)
{
    snprintf(number_text[which], sizeof number_text[which], "%d", value);
    return number_text[which];
}

static int argument(int which)
{
    return atoi(arguments[which]);
}

static void execute(const char *name, char *first, char *second)
{
    char *words[] = {own_path, (char *)name, first, second, NULL};

    execv(own_path, words);
    fact("execv", "%s", errno_named(errno));
    _exit(1);
}

/* What an executed program does with a connection it finds. */
static void connection_found(const char *who, int fd)
{
    char bytes[32];
    int one = 1;

    await(fd, POLLIN);
    fact(label("%s, events", who), "%s", events_of(fd));
    fact(label("%s, own name", who), "%s", local_name(fd));
    fact(label("%s, peer's name", who), "%s", peer_name(fd));
    fact(label("%s, SO_KEEPALIVE", who), "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one)));
    fact(label("%s, recv", who), "%s", received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact(label("%s, send", who), "%s", outcome(send(fd, "answer", 6, MSG_NOSIGNAL)));
    fact(label("%s, shutdown", who), "%s", outcome(shutdown(fd, SHUT_WR)));
}

static void found_by_number(void)
{
    connection_found("executed", argument(0));
}

/* Drains what the executed program answered. */
static void answered(int fd)
{
    await(fd, POLLIN | POLLRDHUP);
    fact("answer", "%s", drained(fd));
}

static void accepted_connection(void)
{
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    MUST(send(ends[0], "question", 8, 0));
    other = forked_child();
    if (other == 0)
        execute("+found_by_number", number(0, ends[1]), NULL);
    close(ends[1]);
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

/* Without fork: the program that made the connection is the one that is replaced. */
static void connection_of_oneself(void)
{
    int ends[2], marker;
    pid_t other;

    marker = listener(AF_INET, 4);
    other = forked_child();
    if (other == 0) {
        ends[0] = connected_to(marker);
        execute("+found_by_number", number(0, ends[0]), NULL);
    }
    ends[1] = next_accepted(marker);
    MUST(send(ends[1], "question", 8, MSG_NOSIGNAL));
    answered(ends[1]);
    fact("child", "%s", end_of(other));
}

static void listener_found(void)
{
    int fd = accept(argument(0), NULL, NULL);

    fact("executed, listener's name", "%s", local_name(argument(0)));
    fact("executed, accept", "%s", success(fd));
    connection_found("executed, accepted", fd);
}

static void listening(void)
{
    int fd = listener(AF_INET, 4), client;
    pid_t other = forked_child();

    if (other == 0)
        execute("+listener_found", number(0, fd), NULL);
    client = connected_to(fd);
    close(fd);
    MUST(send(client, "question", 8, MSG_NOSIGNAL));
    answered(client);
    fact("child", "%s", end_of(other));
}

static void datagrams_found(void)
{
    union address from;
    socklen_t length = sizeof from;
    char bytes[32];
    int fd = argument(0);

    await(fd, POLLIN);
    fact("executed, own name", "%s", local_name(fd));
    fact("executed, recvfrom", "%s", received(bytes, recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, &from.any, &length)));
    fact("executed, from", "%s", address_named(&from, length));
    fact("executed, sendto", "%s", outcome(sendto(fd, "answer", 6, 0, &from.any, length)));
}

static void datagrams(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0)), client = connected_to(server);
    pid_t other = forked_child();
    char bytes[16];

    if (other == 0)
        execute("+datagrams_found", number(0, server), NULL);
    close(server);
    MUST(send(client, "question", 8, 0));
    fact("child", "%s", end_of(other));
    await(client, POLLIN);
    fact("recv", "%s", received(bytes, recv(client, bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void not_closed_on_exec(void)
{
    fact("executed, plain", "%s", success(fcntl(argument(0), F_GETFD)));
    fact("executed, close-on-exec", "%s", success(fcntl(argument(1), F_GETFD)));
}

static void close_on_exec(void)
{
    int plain = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));
    int flagged = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    pid_t other = forked_child();

    if (other == 0)
        execute("+not_closed_on_exec", number(0, plain), number(1, flagged));
    fact("child", "%s", end_of(other));
}

/* The peer of a connection that exec closes sees its end, with all that was sent before. */
static void closed_by_exec(void)
{
    int marker = listener(AF_INET, 4), accepted;
    pid_t other = forked_child();

    if (other == 0) {
        int fd = connected_to(marker);

        MUST(fcntl(fd, F_SETFD, FD_CLOEXEC));
        MUST(send(fd, "before", 6, 0));
        execute("+nothing", NULL, NULL);
    }
    accepted = next_accepted(marker);
    await(accepted, POLLRDHUP);
    fact("what came", "%s", drained(accepted));
    fact("child", "%s", end_of(other));
}

static void nothing(void)
{
}

/* What inetd, git daemon and sshd give to their programs. */
static void standard_streams_found(void)
{
    char line[64];

    facts_to = argument(0);
    fact("executed, peer's name of 0", "%s", peer_name(0));
    fact("executed, own name of 1", "%s", local_name(1));
    fact("executed, fgets", "%s", fgets(line, sizeof line, stdin) ? label("%.4s", line) : "nothing");
    fact("executed, printf", "%d", printf("to you: %s", line));
    fact("executed, fflush", "%s", outcome(fflush(stdout)));
    fact("executed, write to 2", "%s", outcome(write(2, "error\n", 6)));
}

static void as_standard_streams(void)
{
    int ends[2], facts;
    pid_t other;

    connection(AF_INET, ends);
    facts = (int)MUST(dup(1));
    other = forked_child();
    if (other == 0) {
        for (int fd = 0; fd < 3; fd++)
            MUST(dup2(ends[1], fd));
        close(ends[0]);
        close(ends[1]);
        execute("+standard_streams_found", number(0, facts), NULL);
    }
    close(ends[1]);
    MUST(send(ends[0], "line\n", 5, MSG_NOSIGNAL));
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

/* A program that is not ours: its output goes to the socket. */
static void shell_as_server(void)
{
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    other = forked_child();
    if (other == 0) {
        MUST(dup2(ends[1], 0));
        MUST(dup2(ends[1], 1));
        close(ends[0]);
        close(ends[1]);
        execlp("sh", "sh", "-c", "read line; echo \"you said $line\"", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    MUST(send(ends[0], "word\n", 5, MSG_NOSIGNAL));
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

static void spawned(void)
{
    char *words[] = {own_path, (char *)"+found_by_number", NULL, NULL};
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    words[2] = number(0, ends[1]);
    MUST(send(ends[0], "question", 8, 0));
    fact("posix_spawn", "%s", errno_named(posix_spawn(&other, own_path, NULL, NULL, words, environ)));
    close(ends[1]);
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

static void spawned_with_actions(void)
{
    char *words[] = {own_path, (char *)"+standard_streams_found", NULL, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], facts;
    pid_t other;

    connection(AF_INET, ends);
    facts = (int)MUST(dup(1));
    words[2] = number(0, facts);
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_adddup2(&actions, ends[1], fd);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    fact("posix_spawn", "%s", errno_named(posix_spawn(&other, own_path, &actions, NULL, words, environ)));
    close(ends[1]);
    MUST(send(ends[0], "line\n", 5, MSG_NOSIGNAL));
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

static void vforked(void)
{
    char *words[] = {own_path, (char *)"+found_by_number", NULL, NULL};
    int ends[2];
    pid_t other;

    connection(AF_INET, ends);
    words[2] = number(0, ends[1]);
    MUST(send(ends[0], "question", 8, 0));
    other = vfork();
    if (other == 0) {
        close(ends[0]);
        execv(own_path, words);
        _exit(1);
    }
    close(ends[1]);
    answered(ends[0]);
    fact("child", "%s", end_of(other));
}

/* What the child of vfork does to descriptors is its own affair. */
static void vforked_and_ended(void)
{
    int ends[2];
    char bytes[8];
    pid_t other;

    connection(AF_INET, ends);
    other = vfork();
    if (other == 0) {
        close(ends[0]);
        close(ends[1]);
        _exit(3);
    }
    fact("child", "%s", end_of(other));
    fact("send", "%s", outcome(send(ends[0], "hello", 5, MSG_NOSIGNAL)));
    await(ends[1], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void by_shell(void)
{
    int ends[2];
    char bytes[16] = "";
    FILE *stream;

    connection(AF_INET, ends);
    fact("system", "%d", system("exit 3") >> 8);
    stream = popen("echo from the shell", "r");
    fact("popen", "%d", stream && fgets(bytes, sizeof bytes, stream) && !strcmp(bytes, "from the shell\n"));
    fact("pclose", "%d", stream ? pclose(stream) : -1);
    fact("send", "%s", outcome(send(ends[0], "hello", 5, MSG_NOSIGNAL)));
    await(ends[1], POLLIN);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

/* The listener is made first, as most daemons do, to be able to say that it failed. */
static void daemonized(void)
{
    int listening = listener(AF_INET, 4), report[2], fd;
    pid_t other;
    char byte = '?';

    MUST(pipe(report));
    other = forked_child();
    if (other == 0) {
        facts_to = (int)MUST(dup(1));
        if (daemon(0, 0) < 0)
            _exit(1);
        /* Nobody else ends it: it is in a session of its own. */
        alarm(2 * PATIENCE_MS / 1000);
        close(report[0]);
        fact("daemon, listener's name", "%s", local_name(listening));
        fd = accept(listening, NULL, NULL);
        fact("daemon, accept", "%s", success(fd));
        fact("daemon, own socket", "%s", success(socket(AF_INET, SOCK_STREAM, 0)));
        fact("daemon, send", "%s", outcome(send(fd, "d", 1, MSG_NOSIGNAL)));
        exit(0);
    }
    close(report[1]);
    fact("before the daemon", "%s", end_of(other));
    fd = connected_to(listening);
    close(listening);
    await(fd, POLLIN | POLLRDHUP);
    fact("recv", "%s", received(&byte, recv(fd, &byte, 1, MSG_DONTWAIT)));
    await(report[0], POLLHUP);
}

const struct parity_case cases[] = {
    {"accepted_connection", accepted_connection},
    {"connection_of_oneself", connection_of_oneself},
    {"listening", listening},
    {"datagrams", datagrams},
    {"close_on_exec", close_on_exec},
    {"closed_by_exec", closed_by_exec},
    {"as_standard_streams", as_standard_streams},
    {"shell_as_server", shell_as_server},
    {"spawned", spawned},
    {"spawned_with_actions", spawned_with_actions},
    {"vforked", vforked},
    {"vforked_and_ended", vforked_and_ended},
    {"by_shell", by_shell},
    {"daemonized", daemonized},
    {"+found_by_number", found_by_number},
    {"+listener_found", listener_found},
    {"+datagrams_found", datagrams_found},
    {"+not_closed_on_exec", not_closed_on_exec},
    {"+nothing", nothing},
    {"+standard_streams_found", standard_streams_found},
    {NULL, NULL},
};

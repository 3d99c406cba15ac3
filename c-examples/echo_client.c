/*
 * Sends its standard input over TCP and prints what comes back.
 *
 *   echo hello | ./echo_client 10.0.2.2 7        (under the built-in nat, 10.0.2.2 is the machine's own loopback)
 *
 * Sending and receiving go on together: a peer that echoes would otherwise wait for us while we wait for it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tubesock.h"

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_to(const char *host, const char *port)
{
    struct sockaddr_in address;
    int fd = tube_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("tube_socket");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(port));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "%s: not an IPv4 address\n", host);
        exit(2);
    }
    if (tube_connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("tube_connect");
    return fd;
}

/* Sends what standard input has; 0 after its end, when our side of the connection has been closed. */
static int send_some(int fd)
{
    char buffer[16384];
    ssize_t length = read(STDIN_FILENO, buffer, sizeof buffer);
    ssize_t sent = 0;

    if (length < 0)
        fail("read");
    if (length == 0 && tube_shutdown(fd, SHUT_WR) < 0)
        fail("tube_shutdown");
    while (sent < length) {
        ssize_t now = tube_send(fd, buffer + sent, (size_t)(length - sent), MSG_NOSIGNAL);

        if (now < 0 && errno != EINTR)
            fail("tube_send");
        sent += now > 0 ? now : 0;
    }
    return length > 0;
}

/* Prints what has come; 0 after the peer's end. */
static int print_some(int fd)
{
    char buffer[65536];
    ssize_t length = tube_recv(fd, buffer, sizeof buffer, 0);

    if (length < 0)
        fail("tube_recv");
    if (fwrite(buffer, 1, (size_t)length, stdout) != (size_t)length)
        fail("stdout");
    return length > 0;
}

int main(int argc, char **argv)
{
    struct pollfd entries[2];

    if (argc != 3) {
        fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
        return 2;
    }
    entries[0].fd = connect_to(argv[1], argv[2]);
    entries[0].events = POLLIN;
    entries[1].fd = STDIN_FILENO;
    entries[1].events = POLLIN;
    for (;;) {
        if (tube_poll(entries, 2, -1) < 0 && errno != EINTR)
            fail("tube_poll");
        if (entries[0].revents && !print_some(entries[0].fd))
            break;
        if (entries[1].revents && !send_some(entries[0].fd))
            entries[1].fd = -1; /* poll passes over it */
    }
    tube_close(entries[0].fd);
    return fflush(stdout) == 0 ? 0 : 1;
}

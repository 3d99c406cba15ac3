/*
 * An echo server on the stack of this process: one thread, any number of clients, poll().
 *
 *   TUBESOCK_PUBLISH=127.0.0.1:7777:7 ./echo_server 7          then, elsewhere:  nc 127.0.0.1 7777
 *   ./echo_server 7 100                                        ends after 100 clients have gone
 *
 * Each client has one buffer: it is read when the buffer is empty, and written while it is not.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tubesock.h"

enum { CLIENTS_MAX = 256, BUFFER_BYTES = 16384 };

struct client {
    size_t begin, end; /* what is still to be written */
    char buffer[BUFFER_BYTES];
};

/* Entry 0 is the listener; a client's buffer has the number of its entry. */
static struct pollfd entries[1 + CLIENTS_MAX];
static struct client *clients[1 + CLIENTS_MAX];
static nfds_t entry_count = 1;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(unsigned short port)
{
    struct sockaddr_in6 address;
    int one = 1;
    int fd = tube_socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("tube_socket");
    memset(&address, 0, sizeof address);
    address.sin6_family = AF_INET6; /* and IPv4, since IPV6_V6ONLY is off */
    address.sin6_port = htons(port);
    if (tube_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        fail("tube_setsockopt");
    if (tube_bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("tube_bind");
    if (tube_listen(fd, SOMAXCONN) < 0)
        fail("tube_listen");
    return fd;
}

static void add_client(int fd)
{
    struct client *client = calloc(1, sizeof *client);

    if (!client)
        fail("calloc");
    entries[entry_count].fd = fd;
    entries[entry_count].events = POLLIN;
    clients[entry_count++] = client;
}

/* The last entry takes the place of the one that goes. */
static void remove_client(nfds_t entry)
{
    tube_close(entries[entry].fd);
    free(clients[entry]);
    entry_count--;
    entries[entry] = entries[entry_count];
    clients[entry] = clients[entry_count];
}

static void accept_clients(void)
{
    int fd;

    while (entry_count <= CLIENTS_MAX && (fd = tube_accept4(entries[0].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        add_client(fd);
}

/* Whether the client is still there. */
static int serve(struct pollfd *entry, struct client *client)
{
    ssize_t moved;

    if (client->begin == client->end) {
        client->begin = 0;
        moved = tube_read(entry->fd, client->buffer, sizeof client->buffer);
        if (moved > 0)
            client->end = (size_t)moved;
    } else {
        moved = tube_send(entry->fd, client->buffer + client->begin, client->end - client->begin, MSG_NOSIGNAL);
        if (moved > 0)
            client->begin += (size_t)moved;
    }
    if (moved < 0 && errno != EAGAIN && errno != EINTR) {
        perror("client");
        return 0;
    }
    if (moved == 0)
        return 0;
    entry->events = client->begin < client->end ? POLLOUT : POLLIN;
    return 1;
}

int main(int argc, char **argv)
{
    long to_serve = argc > 2 ? atol(argv[2]) : -1;

    if (argc < 2) {
        fprintf(stderr, "usage: %s PORT [CLIENTS]\n", argv[0]);
        return 2;
    }
    entries[0].fd = listen_on((unsigned short)atoi(argv[1]));
    printf("listening\n");
    fflush(stdout);
    while (to_serve != 0) {
        /* With no place left, clients wait in the listener's queue. */
        entries[0].events = entry_count <= CLIENTS_MAX ? POLLIN : 0;
        if (tube_poll(entries, entry_count, -1) < 0 && errno != EINTR)
            fail("tube_poll");
        for (nfds_t i = entry_count - 1; i > 0; i--) {
            if (entries[i].revents && !serve(&entries[i], clients[i])) {
                remove_client(i);
                if (to_serve > 0)
                    to_serve--;
            }
        }
        if (entries[0].revents)
            accept_clients();
    }
    while (entry_count > 1)
        remove_client(entry_count - 1);
    tube_close(entries[0].fd);
    return 0;
}

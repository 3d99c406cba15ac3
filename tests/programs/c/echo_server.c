/* An echo server of one thread with poll, as C programmers write it: echo_server PORT COUNT. Ends after COUNT clients. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 512, BUFFER = 65536 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The sockets are blocking: a client that does not read holds up the others, which is enough for a test. */
static int echo(int client)
{
    static char buffer[BUFFER];
    ssize_t count = read(client, buffer, sizeof buffer);
    if (count < 0)
        die("read");
    for (ssize_t done = 0, n; done < count; done += n)
        if ((n = write(client, buffer + done, (size_t)(count - done))) < 0)
            die("write");
    return count > 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    if (listener < 0)
        die("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one))
        die("setsockopt");
    if (bind(listener, (struct sockaddr *)&address, sizeof address))
        die("bind");
    if (listen(listener, 128))
        die("listen");
    puts("listening");
    fflush(stdout);

    struct pollfd sockets[CLIENTS] = {{.fd = listener, .events = POLLIN}};
    int used = 1;
    for (int left = atoi(argv[2]); left > 0;) {
        if (poll(sockets, (nfds_t)used, -1) < 0)
            die("poll");
        for (int i = used - 1; i > 0; i--) {
            if (sockets[i].revents == 0 || echo(sockets[i].fd))
                continue;
            close(sockets[i].fd);
            sockets[i] = sockets[--used];
            left--;
        }
        if (sockets[0].revents != 0 && used < CLIENTS) {
            struct sockaddr_in peer;
            socklen_t length = sizeof peer;
            int client = accept(listener, (struct sockaddr *)&peer, &length);
            if (client < 0)
                die("accept");
            if (peer.sin_family != AF_INET || length != sizeof peer)
                die("the peer's address");
            sockets[used++] = (struct pollfd){.fd = client, .events = POLLIN};
        }
    }
    return 0;
}

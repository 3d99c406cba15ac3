/*
 * Both ends of the bench: a plain program with BSD sockets, run with and without the preload.
 *
 *   peer server ADDRESS      listens on a free port, prints it, serves one client after another
 *   peer latency HOST PORT COUNT      microseconds a round trip of 64 bytes takes
 *   peer up HOST PORT BYTES           gigabits a second, until the server has all
 *   peer down HOST PORT BYTES         gigabits a second
 *   peer connections HOST PORT COUNT  connections a second: connect, one byte each way, close
 *
 * A connection begins with a request of 16 bytes: what, and a count of bytes. It measures and judges nothing else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, CHUNK = 128 * 1024 };

struct request {
    uint64_t what;
    uint64_t bytes;
};

static char buffer[CHUNK];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void write_all(int fd, const void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t count = write(fd, (const char *)data + done, length - done);
        if (count <= 0)
            die("write");
        done += (size_t)count;
    }
}

/* 0 at the end of the stream before the first byte. */
static int read_all(int fd, void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t count = read(fd, (char *)data + done, length - done);
        if (count == 0 && done == 0)
            return 0;
        if (count <= 0)
            die("read");
        done += (size_t)count;
    }
    return 1;
}

static void send_bytes(int fd, uint64_t bytes)
{
    for (uint64_t left = bytes; left > 0;) {
        size_t length = left < CHUNK ? (size_t)left : CHUNK;
        write_all(fd, buffer, length);
        left -= length;
    }
}

static void take_bytes(int fd, uint64_t bytes)
{
    for (uint64_t left = bytes; left > 0;) {
        ssize_t count = read(fd, buffer, left < CHUNK ? (size_t)left : CHUNK);
        if (count <= 0)
            die("read");
        left -= (uint64_t)count;
    }
}

static void no_delay(int fd)
{
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
        die("setsockopt");
}

/* The one of both stacks, whatever the machine's default is: BBR paces, and sends pieces that fit its pace. */
static void use_cubic(int fd)
{
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5))
        die("setsockopt");
}

static void serve(int client)
{
    struct request request;
    char message[MESSAGE];
    no_delay(client);
    if (!read_all(client, &request, sizeof request))
        return;
    switch (request.what) {
    case 'l':
        while (read_all(client, message, MESSAGE))
            write_all(client, message, MESSAGE);
        break;
    case 'u':
        take_bytes(client, request.bytes);
        write_all(client, message, 1);
        break;
    case 'd':
        send_bytes(client, request.bytes);
        break;
    case 'c':
        write_all(client, message, 1);
        break;
    }
    /* The client closes first, as the one who is measured. */
    while (read(client, message, MESSAGE) > 0)
        ;
}

static void server(const char *where)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    use_cubic(listener);
    if (listener < 0 || inet_pton(AF_INET, where, &address.sin_addr) != 1 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 128) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            die("accept");
        serve(client);
        close(client);
    }
}

static struct sockaddr_in target;

static int ask(char what, uint64_t bytes)
{
    struct request request = {(uint64_t)what, bytes};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && what != 'c') /* there it would be one call more for each */
        use_cubic(fd);
    if (fd < 0 || connect(fd, (struct sockaddr *)&target, sizeof target))
        die("connect");
    no_delay(fd);
    write_all(fd, &request, sizeof request);
    return fd;
}

static double latency(uint64_t count)
{
    char message[MESSAGE] = {0};
    int fd = ask('l', 0);
    double start = 0;
    for (uint64_t i = 0; i < count + 100; i++) {
        if (i == 100) /* warm by now */
            start = seconds();
        write_all(fd, message, MESSAGE);
        if (!read_all(fd, message, MESSAGE))
            die("end");
    }
    double each = (seconds() - start) / (double)count;
    close(fd);
    return each * 1e6;
}

static double bulk(char what, uint64_t bytes)
{
    int fd = ask(what, bytes);
    double start = seconds();
    if (what == 'd') {
        take_bytes(fd, bytes);
    } else {
        send_bytes(fd, bytes);
        take_bytes(fd, 1);
    }
    double rate = (double)bytes * 8 / (seconds() - start) / 1e9;
    close(fd);
    return rate;
}

static double connections(uint64_t count)
{
    double start = seconds();
    for (uint64_t i = 0; i < count; i++) {
        int fd = ask('c', 0);
        take_bytes(fd, 1);
        close(fd);
    }
    return (double)count / (seconds() - start);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "server"))
        server(argv[2]);
    if (argc != 5)
        return 2;
    uint64_t count = strtoull(argv[4], NULL, 10);
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3]))};
    if (inet_pton(AF_INET, argv[2], &target.sin_addr) != 1)
        return 2;
    double result;
    switch (argv[1][0]) {
    case 'l': result = latency(count); break;
    case 'c': result = connections(count); break;
    default: result = bulk(argv[1][0], count);
    }
    printf("%f\n", result);
    return 0;
}

/* TCP_DEFER_ACCEPT: a listener shows a connection when it has sent something, has ended, or after a time. */
#include "parity.h"

#include <time.h>

static int deferring_listener(int seconds)
{
    int fd = bound_to(AF_INET, SOCK_STREAM, loopback(AF_INET, 0));

    set_int(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds);
    MUST(listen(fd, 8));
    set_nonblocking(fd);
    return fd;
}

static const char *shows(int listening, int wait_ms)
{
    struct pollfd wanted = {listening, POLLIN, 0};

    return poll(&wanted, 1, wait_ms) > 0 ? "a connection" : "nothing";
}

static void data_comes(void)
{
    int listening = deferring_listener(30), client = connected_to(listening), fd;
    char buffer[8];

    fact("connected", "%s", shows(listening, 300));
    fact("accept", "%s", outcome(accept(listening, NULL, NULL)));
    MUST(send(client, "data", 4, 0));
    fact("data", "%s", shows(listening, PATIENCE_MS));
    fd = next_accepted(listening);
    fact("recv", "%s", received(buffer, recv(fd, buffer, sizeof buffer, 0)));
}

static void it_ends(void)
{
    int listening = deferring_listener(30), client = connected_to(listening), fd;
    char buffer[8];

    MUST(shutdown(client, SHUT_WR));
    fact("end", "%s", shows(listening, PATIENCE_MS));
    fd = next_accepted(listening);
    fact("recv", "%s", received(buffer, recv(fd, buffer, sizeof buffer, 0)));
    client = connected_to(listening);
    reset_on_close(client);
    close(client);
    fact("reset", "%s", shows(listening, 300));
}

static void time_is_over(void)
{
    int listening = deferring_listener(1);
    int client = connected_to(listening);

    fact("at first", "%s", shows(listening, 500));
    fact("after a second", "%s", shows(listening, PATIENCE_MS));
    close(client);
}

/* One that waits keeps nobody from being shown who has something to say. */
static void others_go_ahead(void)
{
    int listening = deferring_listener(30), silent = connected_to(listening), client = connected_to(listening);

    MUST(send(client, "data", 4, 0));
    fact("data", "%s", shows(listening, PATIENCE_MS));
    next_accepted(listening);
    fact("the other", "%s", shows(listening, 300));
    close(silent);
}

const struct parity_case cases[] = {
    {"data_comes", data_comes},
    {"it_ends", it_ends},
    {"time_is_over", time_is_over},
    {"others_go_ahead", others_go_ahead},
    {NULL, NULL},
};

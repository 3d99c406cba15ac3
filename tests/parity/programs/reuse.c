/* SO_REUSEADDR and SO_REUSEPORT: who may bind a port that another has, and who then gets what comes. */
#include "parity.h"

enum { PLAIN, ADDRESS, PORT };

static const char *const SETTINGS[] = {"nothing", "REUSEADDR", "REUSEPORT"};

static int with(int type, int setting)
{
    int fd = (int)MUST(socket(AF_INET, type, 0));

    if (setting != PLAIN)
        set_int(fd, SOL_SOCKET, setting == ADDRESS ? SO_REUSEADDR : SO_REUSEPORT, 1);
    return fd;
}

/* Every pair of settings, on the same address and on the wildcard, listening or not. */
static void pairs(int type, bool listening)
{
    for (int first = PLAIN; first <= PORT; first++)
        for (int second = PLAIN; second <= PORT; second++)
            for (int general = 0; general < 2; general++) {
                int a = with(type, first), b = with(type, second);
                union address address = loopback(AF_INET, 0);
                const char *name = label("%s, then %s%s", SETTINGS[first], SETTINGS[second], general ? " of the wildcard" : "");

                MUST(bind(a, &address.any, sizeof address.v4));
                if (listening)
                    MUST(listen(a, 4));
                address = general ? wildcard(AF_INET, port_of(a)) : loopback(AF_INET, port_of(a));
                fact(name, "%s", outcome(bind(b, &address.any, sizeof address.v4)));
                if (listening)
                    fact(label("%s, listen", name), "%s", outcome(listen(b, 4)));
                close(a);
                close(b);
            }
}

static void bound_streams(void)
{
    pairs(SOCK_STREAM, false);
}

static void listening_streams(void)
{
    pairs(SOCK_STREAM, true);
}

static void datagrams(void)
{
    pairs(SOCK_DGRAM, false);
}

/* The usual: a server starts again while connections of the old one linger. */
static void started_again(void)
{
    int listening = listener(AF_INET, 4), ends[2], fd;
    union address address = loopback(AF_INET, port_of(listening));

    ends[0] = connected_to(listening);
    ends[1] = next_accepted(listening);
    /* The accepted end closes first, so that TIME_WAIT is its. */
    MUST(close(ends[1]));
    await(ends[0], POLLRDHUP);
    MUST(close(ends[0]));
    MUST(close(listening));
    fd = with(SOCK_STREAM, PLAIN);
    fact("without", "%s", outcome(bind(fd, &address.any, sizeof address.v4)));
    fd = with(SOCK_STREAM, ADDRESS);
    fact("with SO_REUSEADDR", "%s", outcome(bind(fd, &address.any, sizeof address.v4)));
    fact("listen", "%s", outcome(listen(fd, 4)));
    fact("connect", "%s", success(connected_to(fd)));
}

/* While a connection of the old server lives. */
static void started_beside_a_connection(void)
{
    int listening = with(SOCK_STREAM, ADDRESS), client, fd;
    union address address = loopback(AF_INET, 0);

    MUST(bind(listening, &address.any, sizeof address.v4));
    MUST(listen(listening, 4));
    address = loopback(AF_INET, port_of(listening));
    client = connected_to(listening);
    fd = next_accepted(listening);
    MUST(close(listening));
    fact("without", "%s", outcome(bind(with(SOCK_STREAM, PLAIN), &address.any, sizeof address.v4)));
    listening = with(SOCK_STREAM, ADDRESS);
    fact("with SO_REUSEADDR", "%s", outcome(bind(listening, &address.any, sizeof address.v4)));
    fact("listen", "%s", outcome(listen(listening, 4)));
    fact("old connection", "%s", outcome(send(fd, "x", 1, MSG_NOSIGNAL)));
    close(client);
}

/* The same listener with SO_REUSEPORT in four: each gets its share of many. */
static void spread(void)
{
    enum { LISTENERS = 4, CONNECTIONS = 200 };
    int listeners[LISTENERS], counts[LISTENERS] = {0}, idle = 0, total = 0;
    union address address = loopback(AF_INET, 0);

    for (int i = 0; i < LISTENERS; i++) {
        listeners[i] = with(SOCK_STREAM, PORT);
        fact(label("bind %d", i), "%s", outcome(bind(listeners[i], &address.any, sizeof address.v4)));
        fact(label("listen %d", i), "%s", outcome(listen(listeners[i], CONNECTIONS)));
        set_nonblocking(listeners[i]);
        address = loopback(AF_INET, port_of(listeners[0]));
    }
    for (int i = 0; i < CONNECTIONS; i++)
        connected_to(listeners[0]);
    for (int tries = 0; total < CONNECTIONS && tries < PATIENCE_MS; tries++) {
        for (int i = 0; i < LISTENERS; i++)
            while (accept(listeners[i], NULL, NULL) >= 0) {
                counts[i]++;
                total++;
            }
        poll(NULL, 0, total < CONNECTIONS);
    }
    for (int i = 0; i < LISTENERS; i++)
        idle += counts[i] == 0;
    fact("accepted", "%d", total);
    fact("without any", "%d", idle);
}

/* Connections that wait at a listener that closes are lost, those at the others are not. */
static void one_closes(void)
{
    int first = with(SOCK_STREAM, PORT), second = with(SOCK_STREAM, PORT);
    union address address = loopback(AF_INET, 0);

    MUST(bind(first, &address.any, sizeof address.v4));
    MUST(listen(first, 16));
    address = loopback(AF_INET, port_of(first));
    fact("second bind", "%s", outcome(bind(second, &address.any, sizeof address.v4)));
    fact("second listen", "%s", outcome(listen(second, 16)));
    MUST(close(first));
    fact("connect", "%s", success(connected_to(second)));
    set_nonblocking(second);
    await(second, POLLIN);
    fact("accept", "%s", success(accept(second, NULL, NULL)));
}

static void spread_datagrams(void)
{
    enum { SOCKETS = 4, DATAGRAMS = 100 };
    int sockets[SOCKETS], total = 0;
    union address address = loopback(AF_INET, 0);
    char byte;

    for (int i = 0; i < SOCKETS; i++) {
        sockets[i] = with(SOCK_DGRAM, PORT);
        fact(label("bind %d", i), "%s", outcome(bind(sockets[i], &address.any, sizeof address.v4)));
        address = loopback(AF_INET, port_of(sockets[0]));
    }
    for (int i = 0; i < DATAGRAMS; i++) {
        int from = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

        MUST(sendto(from, "x", 1, 0, &address.any, sizeof address.v4));
        close(from);
    }
    for (int tries = 0; total < DATAGRAMS && tries < PATIENCE_MS; tries++) {
        for (int i = 0; i < SOCKETS; i++)
            while (recv(sockets[i], &byte, 1, MSG_DONTWAIT) == 1)
                total++;
        poll(NULL, 0, total < DATAGRAMS);
    }
    fact("received", "%d", total);
}

/* A socket that connects from a port of its own choice. */
static void chosen_ports(void)
{
    int listening = listener(AF_INET, 4), fd = with(SOCK_STREAM, PLAIN), other, one = 1;
    union address own = loopback(AF_INET, free_port(AF_INET, SOCK_STREAM)), to = loopback(AF_INET, port_of(listening)), from;
    socklen_t length = sizeof from;

    fact("bind", "%s", outcome(bind(fd, &own.any, sizeof own.v4)));
    fact("connect", "%s", outcome(connect(fd, &to.any, sizeof to.v4)));
    fact("accept", "%s", success(accept(listening, &from.any, &length)));
    fact("from the port", "%d", from.v4.sin_port == own.v4.sin_port);
    other = with(SOCK_STREAM, ADDRESS);
    fact("another with the same port", "%s", outcome(bind(other, &own.any, sizeof own.v4)));
    other = with(SOCK_STREAM, PLAIN);
    fact("IP_BIND_ADDRESS_NO_PORT", "%s", outcome(setsockopt(other, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one)));
    own.v4.sin_port = 0;
    fact("bind without a port", "%s", outcome(bind(other, &own.any, sizeof own.v4)));
    fact("its name", "%s", local_name(other));
    fact("its connect", "%s", outcome(connect(other, &to.any, sizeof to.v4)));
    fact("its name then", "%s", local_name(other));
}

const struct parity_case cases[] = {
    {"bound_streams", bound_streams},
    {"listening_streams", listening_streams},
    {"datagrams", datagrams},
    {"started_again", started_again},
    {"started_beside_a_connection", started_beside_a_connection},
    {"spread", spread},
    {"one_closes", one_closes},
    {"spread_datagrams", spread_datagrams},
    {"chosen_ports", chosen_ports},
    {NULL, NULL},
};

/* sendmmsg(2) and recvmmsg(2). */
#include "parity.h"

#include <time.h>

enum { COUNT = 4, ROOM = 16 };

struct batch {
    struct mmsghdr messages[COUNT];
    struct iovec vectors[COUNT];
    char room[COUNT][ROOM];
    union address names[COUNT];
};

static void prepare(struct batch *batch)
{
    memset(batch, 0, sizeof *batch);
    for (int i = 0; i < COUNT; i++) {
        batch->vectors[i] = (struct iovec){batch->room[i], ROOM};
        batch->messages[i].msg_hdr.msg_iov = &batch->vectors[i];
        batch->messages[i].msg_hdr.msg_iovlen = 1;
    }
}

static void with_texts(struct batch *batch)
{
    static const char *const TEXTS[COUNT] = {"one", "two", "", "four"};

    prepare(batch);
    for (int i = 0; i < COUNT; i++) {
        strcpy(batch->room[i], TEXTS[i]);
        batch->vectors[i].iov_len = strlen(TEXTS[i]);
    }
}

static void with_names(struct batch *batch)
{
    prepare(batch);
    for (int i = 0; i < COUNT; i++) {
        batch->messages[i].msg_hdr.msg_name = &batch->names[i];
        batch->messages[i].msg_hdr.msg_namelen = sizeof batch->names[i];
    }
}

static void contents(const char *what, const struct batch *batch, int count)
{
    for (int i = 0; i < count; i++)
        fact(label("%s, message %d", what, i), "\"%.*s\", %u, flags %#x", (int)batch->messages[i].msg_len, batch->room[i],
             batch->messages[i].msg_len, batch->messages[i].msg_hdr.msg_flags);
}

/* Peeks, so that all are there at once. */
static void await_all(int fd)
{
    struct batch batch;
    int tries = PATIENCE_MS;

    do
        prepare(&batch);
    while (recvmmsg(fd, batch.messages, COUNT, MSG_PEEK | MSG_DONTWAIT, NULL) < 1 && tries-- && poll(NULL, 0, 1) == 0);
}

static void connected(void)
{
    struct batch batch;
    int ends[2], count;

    datagram_pair(AF_INET, ends);
    with_texts(&batch);
    fact("sendmmsg", "%s", outcome(sendmmsg(ends[0], batch.messages, COUNT, 0)));
    for (int i = 0; i < COUNT; i++)
        fact(label("sendmmsg, length %d", i), "%u", batch.messages[i].msg_len);
    prepare(&batch);
    count = recvmmsg(ends[1], batch.messages, COUNT, 0, NULL);
    fact("recvmmsg", "%s", outcome(count));
    contents("recvmmsg", &batch, count);
    fact("nothing left", "%s", outcome(recvmmsg(ends[1], batch.messages, COUNT, MSG_DONTWAIT, NULL)));
}

static void unconnected(void)
{
    struct batch batch;
    int a = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int b = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int count;

    with_texts(&batch);
    for (int i = 0; i < COUNT; i++) {
        batch.names[i] = loopback(AF_INET, port_of(b));
        batch.messages[i].msg_hdr.msg_name = &batch.names[i];
        batch.messages[i].msg_hdr.msg_namelen = sizeof batch.names[i].v4;
    }
    fact("sendmmsg", "%s", outcome(sendmmsg(a, batch.messages, COUNT, 0)));
    with_names(&batch);
    count = recvmmsg(b, batch.messages, COUNT, 0, NULL);
    fact("recvmmsg", "%s", outcome(count));
    contents("recvmmsg", &batch, count);
    for (int i = 0; i < count; i++)
        fact(label("name %d", i), "%s", address_named(&batch.names[i], batch.messages[i].msg_hdr.msg_namelen));
}

/* Those before a message that fails are sent. */
static void failing_in_the_middle(void)
{
    static char block[70000];
    struct batch batch;
    int ends[2];

    datagram_pair(AF_INET, ends);
    with_texts(&batch);
    batch.vectors[2] = (struct iovec){block, sizeof block};
    fact("sendmmsg", "%s", outcome(sendmmsg(ends[0], batch.messages, COUNT, 0)));
    fact("from the bad one on", "%s", outcome(sendmmsg(ends[0], batch.messages + 2, 2, 0)));
    fact("from the one behind", "%s", outcome(sendmmsg(ends[0], batch.messages + 3, 1, 0)));
}

static void waiting(void)
{
    struct timespec soon = {0, 20000000}, bad = {0, 2000000000}, none = {0, 0};
    struct batch batch;
    int ends[2];

    datagram_pair(AF_INET, ends);
    prepare(&batch);
    fact("bad time", "%s", outcome(recvmmsg(ends[1], batch.messages, COUNT, MSG_DONTWAIT, &bad)));
    with_texts(&batch);
    MUST(sendmmsg(ends[0], batch.messages, 2, 0));
    await_all(ends[1]);
    prepare(&batch);
    fact("MSG_WAITFORONE", "%d", recvmmsg(ends[1], batch.messages, COUNT, MSG_WAITFORONE, NULL) > 0);
    with_texts(&batch);
    MUST(sendmmsg(ends[0], batch.messages, 2, 0));
    await_all(ends[1]);
    prepare(&batch);
    fact("no time", "%d", recvmmsg(ends[1], batch.messages, COUNT, MSG_DONTWAIT, &none) > 0);
    /* recvmmsg(2): the time-out is looked at after each datagram, so that one must come. */
    MUST(sendmmsg(ends[0], (with_texts(&batch), batch.messages), 1, 0));
    prepare(&batch);
    fact("one in time", "%s", outcome(recvmmsg(ends[1], batch.messages, 1, 0, &soon)));
}

static void bounds(void)
{
    struct batch batch;
    int ends[2];

    datagram_pair(AF_INET, ends);
    with_texts(&batch);
    fact("sendmmsg of none", "%s", outcome(sendmmsg(ends[0], batch.messages, 0, 0)));
    fact("recvmmsg of none", "%s", outcome(recvmmsg(ends[1], batch.messages, 0, MSG_DONTWAIT, NULL)));
    fact("sendmmsg from null", "%s", outcome(sendmmsg(ends[0], NULL, 1, 0)));
    fact("recvmmsg into null", "%s", outcome(recvmmsg(ends[1], NULL, 1, MSG_DONTWAIT, NULL)));
}

/* On a stream each message is one piece of it. */
static void stream(void)
{
    struct batch batch;
    char bytes[16];
    int ends[2], count;

    connection(AF_INET, ends);
    with_texts(&batch);
    fact("sendmmsg", "%s", outcome(sendmmsg(ends[0], batch.messages, COUNT, 0)));
    await_readable(ends[1], 10);
    fact("MSG_PEEK", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_PEEK)));
    prepare(&batch);
    for (int i = 0; i < COUNT; i++)
        batch.vectors[i].iov_len = 4;
    count = recvmmsg(ends[1], batch.messages, COUNT, MSG_DONTWAIT, NULL);
    fact("recvmmsg", "%s", outcome(count));
    contents("recvmmsg", &batch, count);
}

const struct parity_case cases[] = {
    {"connected", connected},
    {"unconnected", unconnected},
    {"failing_in_the_middle", failing_in_the_middle},
    {"waiting", waiting},
    {"bounds", bounds},
    {"stream", stream},
    {NULL, NULL},
};

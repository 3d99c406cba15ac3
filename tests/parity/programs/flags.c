/* MSG_* on streams: MSG_PEEK, MSG_TRUNC, MSG_WAITALL, MSG_DONTWAIT and the rest, and what may not be mixed. */
#include "parity.h"

static void peeked(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    MUST(send(ends[0], "12345", 5, 0));
    await_readable(ends[1], 5);
    fact("MSG_PEEK", "%s", received(bytes, recv(ends[1], bytes, 3, MSG_PEEK)));
    fact("MSG_PEEK of more", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_PEEK)));
    fact("events", "%s", events_of(ends[1]));
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, 2, 0)));
    fact("MSG_PEEK of the rest", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_PEEK)));
    fact("recv of the rest", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, 0)));
    fact("MSG_PEEK of nothing", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_PEEK | MSG_DONTWAIT)));
    MUST(shutdown(ends[0], SHUT_WR));
    await(ends[1], POLLRDHUP);
    fact("MSG_PEEK of the end", "%s", received(bytes, recv(ends[1], bytes, 1, MSG_PEEK)));
}

/* On a stream MSG_TRUNC throws away (tcp(7)). */
static void thrown_away(void)
{
    int ends[2];
    char bytes[16] = "untouched";

    connection(AF_INET, ends);
    MUST(send(ends[0], "12345678", 8, 0));
    await_readable(ends[1], 8);
    fact("MSG_TRUNC", "%s", outcome(recv(ends[1], bytes, 5, MSG_TRUNC)));
    fact("the buffer", "%s", bytes);
    fact("MSG_TRUNC into null", "%s", outcome(recv(ends[1], NULL, 1, MSG_TRUNC)));
    fact("what is left", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void *send_late(void *fd)
{
    for (int i = 0; i < 4; i++) {
        poll(NULL, 0, 5);
        MUST(send(*(int *)fd, "abcd", 4, 0));
    }
    return NULL;
}

static void waited_for_all(void)
{
    int ends[2];
    char bytes[32];
    pthread_t thread;

    connection(AF_INET, ends);
    pthread_create(&thread, NULL, send_late, &ends[0]);
    fact("MSG_WAITALL", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_WAITALL)));
    pthread_join(thread, NULL);
    MUST(send(ends[0], "some", 4, 0));
    await(ends[1], POLLIN);
    fact("MSG_WAITALL | MSG_DONTWAIT", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_WAITALL | MSG_DONTWAIT)));
    MUST(send(ends[0], "last", 4, 0));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("MSG_WAITALL, then the end", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_WAITALL)));
}

static void waited_for_all_and_reset(void)
{
    int ends[2];
    char bytes[32];

    connection(AF_INET, ends);
    MUST(send(ends[0], "some", 4, 0));
    await(ends[1], POLLIN);
    reset_on_close(ends[0]);
    MUST(close(ends[0]));
    await(ends[1], POLLHUP);
    fact("MSG_WAITALL", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_WAITALL)));
    fact("then", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_WAITALL)));
}

static void peeked_and_waited_for(void)
{
    int ends[2];
    char bytes[32];
    pthread_t thread;

    connection(AF_INET, ends);
    pthread_create(&thread, NULL, send_late, &ends[0]);
    fact("MSG_PEEK | MSG_WAITALL", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_PEEK | MSG_WAITALL)));
    pthread_join(thread, NULL);
    await_readable(ends[1], 16);
    fact("still there", "%s", received(bytes, recv(ends[1], bytes, 16, MSG_DONTWAIT)));
}

static void others(void)
{
    int ends[2];
    char bytes[16];
    struct iovec vector = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    connection(AF_INET, ends);
    fact("MSG_EOR", "%s", outcome(send(ends[0], "a", 1, MSG_EOR)));
    fact("MSG_CONFIRM", "%s", outcome(send(ends[0], "b", 1, MSG_CONFIRM)));
    fact("MSG_DONTROUTE", "%s", outcome(send(ends[0], "c", 1, MSG_DONTROUTE)));
    fact("MSG_MORE", "%s", outcome(send(ends[0], "d", 1, MSG_MORE)));
    fact("MSG_ZEROCOPY not asked for", "%s", outcome(send(ends[0], "e", 1, MSG_ZEROCOPY)));
    fact("MSG_FASTOPEN when connected", "%s", outcome(send(ends[0], "f", 1, MSG_FASTOPEN)));
    fact("MSG_ERRQUEUE", "%s", outcome(recvmsg(ends[1], &message, MSG_ERRQUEUE)));
    await(ends[1], POLLIN);
    fact("MSG_CMSG_CLOEXEC", "%d", recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC) > 0);
    fact("flags", "%#x", message.msg_flags);
}

static void position(void)
{
    int ends[2], offset = 2;
    char bytes[16];

    connection(AF_INET, ends);
    fact("SO_PEEK_OFF", "%s", outcome(setsockopt(ends[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset)));
    MUST(send(ends[0], "0123456789", 10, 0));
    await_readable(ends[1], 10);
    fact("first peek", "%s", received(bytes, recv(ends[1], bytes, 3, MSG_PEEK)));
    fact("second peek", "%s", received(bytes, recv(ends[1], bytes, 3, MSG_PEEK)));
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, 4, 0)));
    fact("third peek", "%s", received(bytes, recv(ends[1], bytes, 3, MSG_PEEK)));
}

/* Small pieces that come fast, large ones, and the other way round: the bytes are the same. */
static void pieces(void)
{
    static unsigned char block[100000];
    int ends[2];
    long wrong = 0, got = 0;

    connection(AF_INET, ends);
    for (int i = 0; i < 20000; i++) {
        unsigned char byte = (unsigned char)(i * 7);

        MUST(send(ends[0], &byte, 1, 0));
    }
    MUST(shutdown(ends[0], SHUT_WR));
    for (;;) {
        ssize_t count = recv(ends[1], block, sizeof block, 0);

        if (count <= 0)
            break;
        for (ssize_t i = 0; i < count; i++)
            wrong += block[i] != (unsigned char)(got++ * 7);
    }
    fact("received", "%ld", got);
    fact("wrong", "%ld", wrong);
}

const struct parity_case cases[] = {
    {"peeked", peeked},
    {"thrown_away", thrown_away},
    {"waited_for_all", waited_for_all},
    {"waited_for_all_and_reset", waited_for_all_and_reset},
    {"peeked_and_waited_for", peeked_and_waited_for},
    {"others", others},
    {"position", position},
    {"pieces", pieces},
    {NULL, NULL},
};

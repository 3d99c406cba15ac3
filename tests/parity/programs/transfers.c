/* Data without read and write: sendfile(2), splice(2), tee(2), vectors, mapped memory, and preadv2(2) and its like. */
#include "parity.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum { FILE_BYTES = 300000 };

/* A file whose bytes say where they are. */
static int pattern_file(void)
{
    static char block[FILE_BYTES];
    int fd = (int)MUST(memfd_create("pattern", 0));

    for (int i = 0; i < FILE_BYTES; i++)
        block[i] = (char)(i * 31 >> 3);
    MUST(write(fd, block, sizeof block));
    MUST(lseek(fd, 0, SEEK_SET));
    return fd;
}

struct reception {
    int fd;
    long total;
    int wrong;
    ssize_t last;
};

static void *receive_pattern(void *argument)
{
    static unsigned char block[65536];
    struct reception *reception = argument;

    while ((reception->last = recv(reception->fd, block, sizeof block, 0)) > 0)
        for (ssize_t i = 0; i < reception->last; i++)
            reception->wrong += block[i] != (unsigned char)(reception->total++ * 31 >> 3);
    return NULL;
}

static void sent_file(void)
{
    int file = pattern_file(), ends[2];
    struct reception reception = {0};
    off_t offset = 0;
    pthread_t thread;

    connection(AF_INET, ends);
    reception.fd = ends[1];
    pthread_create(&thread, NULL, receive_pattern, &reception);
    while (offset < FILE_BYTES)
        MUST(sendfile(ends[0], file, &offset, FILE_BYTES));
    fact("offset", "%ld", (long)offset);
    fact("file's own offset", "%ld", (long)lseek(file, 0, SEEK_CUR));
    fact("at the end", "%s", outcome(sendfile(ends[0], file, &offset, 100)));
    MUST(close(ends[0]));
    pthread_join(thread, NULL);
    fact("received", "%ld", reception.total);
    fact("wrong", "%d", reception.wrong);
}

static void sent_file_errors(void)
{
    int file = pattern_file(), ends[2];
    off_t offset = 0;

    signal(SIGPIPE, SIG_IGN);
    connection(AF_INET, ends);
    fact("from a socket", "%s", outcome(sendfile(ends[0], ends[1], NULL, 10)));
    fact("from a closed file", "%s", outcome(sendfile(ends[0], 900, NULL, 10)));
    fact("to an unconnected socket", "%s", outcome(sendfile((int)MUST(socket(AF_INET, SOCK_STREAM, 0)), file, &offset, 10)));
    set_nonblocking(ends[0]);
    fill(ends[0]);
    fact("to a full socket", "%s", outcome(sendfile(ends[0], file, &offset, 10)));
    MUST(shutdown(ends[0], SHUT_WR));
    fact("after SHUT_WR", "%s", outcome(sendfile(ends[0], file, &offset, 10)));
}

static void sent_file_as_datagram(void)
{
    int file = pattern_file(), ends[2];
    off_t offset = 0;
    char bytes[2000];

    datagram_pair(AF_INET, ends);
    fact("sendfile", "%s", outcome(sendfile(ends[0], file, &offset, 1000)));
    await(ends[1], POLLIN);
    fact("recv", "%s", outcome(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void spliced_out(void)
{
    int file = pattern_file(), ends[2], through[2];
    struct reception reception = {0};
    pthread_t thread;
    long total = 0;

    connection(AF_INET, ends);
    MUST(pipe(through));
    reception.fd = ends[1];
    pthread_create(&thread, NULL, receive_pattern, &reception);
    while (total < FILE_BYTES) {
        ssize_t count = MUST(splice(file, NULL, through[1], NULL, 65536, SPLICE_F_MORE));

        while (count > 0) {
            ssize_t moved = MUST(splice(through[0], NULL, ends[0], NULL, (size_t)count, SPLICE_F_MOVE | SPLICE_F_MORE));

            count -= moved;
            total += moved;
        }
    }
    MUST(close(ends[0]));
    pthread_join(thread, NULL);
    fact("received", "%ld", reception.total);
    fact("wrong", "%d", reception.wrong);
}

static void *send_pattern(void *fd)
{
    int file = pattern_file();
    off_t offset = 0;

    while (offset < FILE_BYTES)
        MUST(sendfile(*(int *)fd, file, &offset, FILE_BYTES));
    MUST(shutdown(*(int *)fd, SHUT_WR));
    return NULL;
}

static void spliced_in(void)
{
    static unsigned char block[65536];
    int ends[2], through[2], wrong = 0;
    long total = 0;
    ssize_t count;
    pthread_t thread;

    connection(AF_INET, ends);
    MUST(pipe(through));
    pthread_create(&thread, NULL, send_pattern, &ends[0]);
    while ((count = splice(ends[1], NULL, through[1], NULL, sizeof block, 0)) > 0)
        while (count > 0) {
            ssize_t got = MUST(read(through[0], block, sizeof block));

            for (ssize_t i = 0; i < got; i++)
                wrong += block[i] != (unsigned char)(total++ * 31 >> 3);
            count -= got;
        }
    pthread_join(thread, NULL);
    fact("end", "%s", outcome(count));
    fact("received", "%ld", total);
    fact("wrong", "%d", wrong);
}

/* As a proxy does: from one connection to another. */
static void spliced_through(void)
{
    int from[2], to[2], through[2];
    struct reception reception = {0};
    pthread_t sending, receiving;
    ssize_t count;

    connection(AF_INET, from);
    connection(AF_INET, to);
    MUST(pipe(through));
    reception.fd = to[1];
    pthread_create(&sending, NULL, send_pattern, &from[0]);
    pthread_create(&receiving, NULL, receive_pattern, &reception);
    while ((count = splice(from[1], NULL, through[1], NULL, 65536, 0)) > 0)
        while (count > 0)
            count -= MUST(splice(through[0], NULL, to[0], NULL, (size_t)count, 0));
    MUST(shutdown(to[0], SHUT_WR));
    pthread_join(sending, NULL);
    pthread_join(receiving, NULL);
    fact("received", "%ld", reception.total);
    fact("wrong", "%d", reception.wrong);
}

static void splice_errors(void)
{
    int ends[2], through[2], fresh = (int)MUST(socket(AF_INET, SOCK_STREAM, 0));

    connection(AF_INET, ends);
    MUST(pipe(through));
    set_nonblocking(ends[0]);
    set_nonblocking(fresh);
    fact("between sockets", "%s", outcome(splice(ends[0], NULL, ends[1], NULL, 10, 0)));
    fact("nothing there", "%s", outcome(splice(ends[0], NULL, through[1], NULL, 10, 0)));
    fact("unconnected", "%s", outcome(splice(fresh, NULL, through[1], NULL, 10, 0)));
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    fact("reset", "%s", outcome(splice(ends[0], NULL, through[1], NULL, 10, 0)));
    fact("tee of a socket", "%s", outcome(tee(ends[0], through[1], 10, 0)));
    fact("copy_file_range", "%s", outcome(copy_file_range(pattern_file(), NULL, ends[0], NULL, 10, 0)));
}

static void vectors(void)
{
    struct iovec out[3] = {{"one ", 4}, {"", 0}, {"two", 3}};
    char a[2], b[32];
    struct iovec in[2] = {{a, sizeof a}, {b, sizeof b}};
    volatile int too_many = 1025, negative = -1;
    int ends[2];

    connection(AF_INET, ends);
    fact("writev", "%s", outcome(writev(ends[0], out, 3)));
    await_readable(ends[1], 7);
    fact("readv", "%s", outcome(readv(ends[1], in, 2)));
    fact("first", "%.2s", a);
    fact("second", "%.5s", b);
    fact("pwritev2", "%s", outcome(pwritev2(ends[0], out, 3, -1, 0)));
    await_readable(ends[1], 7);
    fact("preadv2", "%s", outcome(preadv2(ends[1], in, 2, -1, 0)));
    fact("preadv", "%s", outcome(preadv(ends[1], in, 2, 0)));
    fact("pwritev", "%s", outcome(pwritev(ends[0], out, 3, 0)));
    fact("preadv2 without waiting", "%s", outcome(preadv2(ends[1], in, 2, -1, RWF_NOWAIT)));
    fact("no vectors", "%s", outcome(writev(ends[0], out, 0)));
    fact("too many", "%s", outcome(writev(ends[0], out, too_many)));
    fact("negative", "%s", outcome(readv(ends[1], in, negative)));
}

static void messages(void)
{
    struct iovec out[2] = {{"left ", 5}, {"right", 5}};
    char a[5], b[5];
    struct iovec in[2] = {{a, sizeof a}, {b, sizeof b}};
    union address name;
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 2};
    int ends[2];

    connection(AF_INET, ends);
    fact("sendmsg", "%s", outcome(sendmsg(ends[0], &message, 0)));
    await_readable(ends[1], 10);
    message = (struct msghdr){.msg_iov = in, .msg_iovlen = 2, .msg_name = &name, .msg_namelen = sizeof name, .msg_flags = 0x7777};
    fact("recvmsg", "%s", outcome(recvmsg(ends[1], &message, 0)));
    fact("name's length", "%u", message.msg_namelen);
    fact("flags", "%#x", message.msg_flags);
    fact("bytes", "%.5s%.5s", a, b);
    message.msg_iovlen = 0;
    fact("sendmsg of nothing", "%s", outcome(sendmsg(ends[0], &message, MSG_NOSIGNAL)));
    message.msg_iovlen = 1025;
    fact("too many", "%s", outcome(sendmsg(ends[0], &message, MSG_NOSIGNAL)));
}

/* Bytes that lie in a file's memory, and some that cannot be read at all. */
static void mapped(void)
{
    int file = pattern_file(), ends[2];
    char *memory = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, file, 0);
    char bytes[16];

    connection(AF_INET, ends);
    fact("send", "%s", outcome(send(ends[0], memory, 10, 0)));
    await_readable(ends[1], 10);
    fact("recv", "%s", outcome(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("as it was", "%d", memcmp(bytes, memory, 10) == 0);
    MUST(mprotect(memory, 4096, PROT_NONE));
    fact("send what cannot be read", "%s", outcome(send(ends[0], memory, 10, MSG_NOSIGNAL)));
    MUST(send(ends[0], "x", 1, 0));
    await(ends[1], POLLIN);
    fact("recv where nothing can be written", "%s", outcome(recv(ends[1], memory, 10, MSG_DONTWAIT)));
    fact("recv then", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

const struct parity_case cases[] = {
    {"sent_file", sent_file},
    {"sent_file_errors", sent_file_errors},
    {"sent_file_as_datagram", sent_file_as_datagram},
    {"spliced_out", spliced_out},
    {"spliced_in", spliced_in},
    {"spliced_through", spliced_through},
    {"splice_errors", splice_errors},
    {"vectors", vectors},
    {"messages", messages},
    {"mapped", mapped},
    {NULL, NULL},
};

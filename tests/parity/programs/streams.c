/* stdio over sockets: fdopen(3), buffering, line by line, both ways, dprintf(3), and what errors become. */
#include "parity.h"

#include <sys/stat.h>
#include <sys/time.h>

static FILE *opened(int fd, const char *mode)
{
    FILE *stream = fdopen(fd, mode);

    if (!stream) {
        fact("fdopen", "%s", errno_named(errno));
        exit(1);
    }
    return stream;
}

static void lines(void)
{
    int ends[2];
    char line[64];
    FILE *out, *in;

    connection(AF_INET, ends);
    out = opened(ends[0], "w");
    in = opened(ends[1], "r");
    fact("fprintf", "%d", fprintf(out, "first %d\nsecond\nno newline", 1));
    fact("fclose", "%d", fclose(out));
    int read_line = fgets(line, sizeof line, in) != NULL;
    fact("fgets", "%d %s", read_line, read_line ? strtok(line, "\n") : "");
    fact("fgetc", "%c", fgetc(in));
    fact("ungetc", "%c", ungetc('S', in));
    fact("fscanf", "%d", fscanf(in, "%63s", line));
    fact("fscanf's word", "%s", line);
    fact("rest", "%d", (int)fread(line, 1, sizeof line, in));
    fact("end", "%d", feof(in));
    fact("error", "%d", ferror(in));
    fact("fclose of the reader", "%d", fclose(in));
}

/* One stream for both ways, with a flush in between, as mail and FTP clients do. */
static void both_ways(void)
{
    int ends[2];
    char line[64];
    FILE *stream, *peer;

    connection(AF_INET, ends);
    stream = opened(ends[0], "r+");
    peer = opened(ends[1], "r+");
    fact("fputs", "%d", fputs("HELO\r\n", stream) >= 0);
    fact("fflush", "%d", fflush(stream));
    fact("peer has it", "%d", fgets(line, sizeof line, peer) && !strcmp(line, "HELO\r\n"));
    fflush(peer);
    fact("answer", "%d", fputs("250 ok\r\n", peer) >= 0 && fflush(peer) == 0);
    fact("answer arrives", "%d", fgets(line, sizeof line, stream) && !strcmp(line, "250 ok\r\n"));
    fact("fseek", "%s", outcome(fseek(stream, 0, SEEK_SET)));
    fact("ftell", "%s", outcome(ftell(stream)));
    fact("fileno", "%d", fileno(stream) == ends[0]);
}

static void unbuffered(void)
{
    int ends[2];
    char bytes[8];
    FILE *out;

    connection(AF_INET, ends);
    out = opened(ends[0], "w");
    setvbuf(out, NULL, _IONBF, 0);
    fputc('x', out);
    fact("arrives at once", "%d", await(ends[1], POLLIN));
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    setvbuf(out, NULL, _IOLBF, 0);
    fputs("line\nrest", out);
    await_readable(ends[1], 5);
    fact("a line", "%s", outcome(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
    fflush(out);
    await(ends[1], POLLIN);
    fact("the rest", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void formatted(void)
{
    int ends[2];
    char bytes[16];

    connection(AF_INET, ends);
    fact("dprintf", "%d", dprintf(ends[0], "%s %d", "number", 7));
    await_readable(ends[1], 8);
    fact("recv", "%s", received(bytes, recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT)));
}

static void reset(void)
{
    int ends[2];
    FILE *in, *out;

    connection(AF_INET, ends);
    in = opened(ends[0], "r");
    reset_on_close(ends[1]);
    MUST(close(ends[1]));
    await(ends[0], POLLHUP);
    errno = 0;
    fact("fgetc", "%d", fgetc(in));
    fact("fgetc, errno", "%s", errno ? errno_named(errno) : "none");
    fact("error", "%d", !!ferror(in));
    fact("end", "%d", !!feof(in));

    connection(AF_INET, ends);
    signal(SIGPIPE, SIG_IGN);
    out = opened(ends[0], "w");
    MUST(shutdown(ends[0], SHUT_WR));
    fputs("nobody", out);
    errno = 0;
    fact("fflush", "%d", fflush(out));
    fact("fflush, errno", "%s", errno ? errno_named(errno) : "none");
}

static void would_block(void)
{
    int ends[2];
    FILE *in;

    connection(AF_INET, ends);
    set_nonblocking(ends[0]);
    in = opened(ends[0], "r");
    errno = 0;
    fact("fgetc", "%d", fgetc(in));
    fact("errno", "%s", errno ? errno_named(errno) : "none");
    clearerr(in);
    MUST(send(ends[1], "x", 1, 0));
    await(ends[0], POLLIN);
    fact("fgetc then", "%c", fgetc(in));
}

static void bulk(void)
{
    enum { LINES = 20000 };
    int ends[2], wrong = 0, count = 0;
    char line[64], expected[64];
    pid_t child;
    FILE *in;

    connection(AF_INET, ends);
    child = (pid_t)MUST(fork());
    if (child == 0) {
        FILE *out = opened(ends[0], "w");

        for (int i = 0; i < LINES; i++)
            fprintf(out, "line %d of many\n", i);
        exit(fclose(out) ? 1 : 0);
    }
    close(ends[0]);
    in = opened(ends[1], "r");
    while (fgets(line, sizeof line, in)) {
        sprintf(expected, "line %d of many\n", count++);
        wrong += strcmp(line, expected) != 0;
    }
    fact("lines", "%d", count);
    fact("wrong", "%d", wrong);
    fact("child", "%s", end_of(child));
}

static void as_a_file(void)
{
    struct stat status;
    struct timeval times[2] = {{0, 0}, {0, 0}};
    char path[64], target[64] = "";
    int ends[2];

    connection(AF_INET, ends);
    fact("fstat", "%s", outcome(fstat(ends[0], &status)));
    fact("is a socket", "%d", S_ISSOCK(status.st_mode));
    fact("size", "%ld", (long)status.st_size);
    fact("lseek", "%s", outcome(lseek(ends[0], 0, SEEK_CUR)));
    fact("pread", "%s", outcome(pread(ends[0], path, 1, 0)));
    fact("pwrite", "%s", outcome(pwrite(ends[0], path, 1, 0)));
    fact("ftruncate", "%s", outcome(ftruncate(ends[0], 0)));
    fact("fsync", "%s", outcome(fsync(ends[0])));
    fact("isatty", "%d, %s", isatty(ends[0]), errno_named(errno));
    fact("fchdir", "%s", outcome(fchdir(ends[0])));
    fact("futimes", "%s", success(futimes(ends[0], times)));
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    fact("readlink", "%s", outcome(readlink(path, target, sizeof target - 1) > 0 ? 0 : -1));
    fact("its name", "%.8s", target);
    fact("open by name", "%s", outcome(open(path, O_RDWR)));
}

const struct parity_case cases[] = {
    {"lines", lines},
    {"both_ways", both_ways},
    {"unbuffered", unbuffered},
    {"formatted", formatted},
    {"reset", reset},
    {"would_block", would_block},
    {"bulk", bulk},
    {"as_a_file", as_a_file},
    {NULL, NULL},
};

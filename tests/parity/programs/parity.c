/* What the programs share. See parity.h. */
#include "parity.h"

#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

char **arguments;
static char own_file[4096];
char *const own_path = own_file;
int facts_to = STDOUT_FILENO;
static pid_t first_process;

enum { TEXTS = 32, TEXT_BYTES = 256 };

static char *next_text(void)
{
    static __thread char texts[TEXTS][TEXT_BYTES];
    static __thread unsigned used;

    return texts[used++ % TEXTS];
}

void fact(const char *label, const char *format, ...)
{
    char line[4 * TEXT_BYTES];
    int length = snprintf(line, sizeof line, "%s: ", label);
    va_list values;

    va_start(values, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, values);
    va_end(values);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    /* One write, so that lines of several processes stay whole. */
    if (write(facts_to, line, (size_t)length) != length)
        abort();
}

const char *label(const char *format, ...)
{
    char *text = next_text();
    va_list values;

    va_start(values, format);
    vsnprintf(text, TEXT_BYTES, format, values);
    va_end(values);
    return text;
}

const char *errno_named(int number)
{
    const char *name = strerrorname_np(number);

    return name ? name : label("errno %d", number);
}

const char *outcome(long result)
{
    return result < 0 ? errno_named(errno) : label("%ld", result);
}

const char *success(long result)
{
    return result < 0 ? errno_named(errno) : "ok";
}

const char *received(const void *bytes, ssize_t result)
{
    if (result <= 0)
        return result < 0 ? errno_named(errno) : "end";
    return label("\"%.*s\"", (int)result, (const char *)bytes);
}

static const struct {
    short event;
    const char *name;
} EVENTS[] = {
    {POLLIN, "IN"}, {POLLPRI, "PRI"}, {POLLOUT, "OUT"},   {POLLRDHUP, "RDHUP"},
    {POLLHUP, "HUP"}, {POLLERR, "ERR"}, {POLLNVAL, "NVAL"},
};

const char *events_named(short events)
{
    char *text = next_text();
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; i < sizeof EVENTS / sizeof EVENTS[0]; i++)
        if (events & EVENTS[i].event)
            length += (size_t)sprintf(text + length, "%s%s", length ? " " : "", EVENTS[i].name);
    return length ? text : "none";
}

static short events_now(int fd, int timeout_ms, short asked)
{
    struct pollfd entry = {.fd = fd, .events = asked};
    int saved = errno;

    poll(&entry, 1, timeout_ms);
    errno = saved;
    return entry.revents;
}

const char *events_of(int fd)
{
    return events_named(events_now(fd, 0, POLLIN | POLLPRI | POLLOUT | POLLRDHUP));
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

bool await(int fd, short events)
{
    long until = now_ms() + PATIENCE_MS;

    for (;;) {
        short shown = events_now(fd, 0, events);
        long left = until - now_ms();

        if ((shown & events) == events)
            return true;
        if (left <= 0)
            return false;
        /* Hang-ups and errors are always shown, and would not let poll wait for the rest. */
        if (shown)
            poll(NULL, 0, 1);
        else
            events_now(fd, (int)left, events);
    }
}

bool await_readable(int fd, int bytes)
{
    long until = now_ms() + PATIENCE_MS;
    int ready = 0;

    while (ioctl(fd, FIONREAD, &ready) == 0 && ready < bytes && now_ms() < until)
        poll(NULL, 0, 1);
    return ready >= bytes;
}

pid_t forked_child(void)
{
    fflush(NULL);
    return (pid_t)MUST(fork());
}

const char *end_of(pid_t child)
{
    int status = 0;
    pid_t ended;

    do
        ended = waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended != child)
        return label("waitpid %s", errno_named(errno));
    return WIFSIGNALED(status) ? label("signal %s", sigabbrev_np(WTERMSIG(status))) : label("exit %d", WEXITSTATUS(status));
}

long must(long result, const char *what)
{
    if (result < 0) {
        fact(label("%scannot go on after %s", getpid() == first_process ? "" : "child, ", what), "%s", errno_named(errno));
        exit(1);
    }
    return result;
}

union address wildcard(int family, in_port_t port)
{
    union address address;

    memset(&address, 0, sizeof address);
    address.any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        address.v4.sin_port = port;
    else
        address.v6.sin6_port = port;
    return address;
}

union address loopback(int family, in_port_t port)
{
    union address address = wildcard(family, port);

    if (family == AF_INET)
        address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        address.v6.sin6_addr = in6addr_loopback;
    return address;
}

socklen_t length_of(const union address *address)
{
    return address->any.sa_family == AF_INET ? sizeof address->v4 : sizeof address->v6;
}

const char *address_named(const union address *address, socklen_t length)
{
    char text[INET6_ADDRSTRLEN];

    if (length == 0)
        return "no address";
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text);
        return label("%s %s (%u)", text, address->v4.sin_port ? "port" : "0", length);
    }
    if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text);
        return label("%s %s scope %u (%u)", text, address->v6.sin6_port ? "port" : "0", address->v6.sin6_scope_id, length);
    }
    return label("family %d (%u)", address->any.sa_family, length);
}

const char *local_name(int fd)
{
    union address address;
    socklen_t length = sizeof address;

    return getsockname(fd, &address.any, &length) < 0 ? errno_named(errno) : address_named(&address, length);
}

const char *peer_name(int fd)
{
    union address address;
    socklen_t length = sizeof address;

    return getpeername(fd, &address.any, &length) < 0 ? errno_named(errno) : address_named(&address, length);
}

in_port_t port_of(int fd)
{
    union address address;
    socklen_t length = sizeof address;

    must(getsockname(fd, &address.any, &length), "getsockname");
    return address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port;
}

int bound_to(int family, int type, union address address)
{
    int fd = (int)must(socket(family, type, 0), "socket");

    must(bind(fd, &address.any, length_of(&address)), "bind");
    return fd;
}

int listener(int family, int backlog)
{
    int fd = bound_to(family, SOCK_STREAM, loopback(family, 0));

    must(listen(fd, backlog), "listen");
    return fd;
}

int connected_to(int fd)
{
    union address address;
    socklen_t length = sizeof address;
    int type = 0;
    socklen_t type_length = sizeof type;
    int connected;

    must(getsockname(fd, &address.any, &length), "getsockname");
    must(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length), "SO_TYPE");
    connected = (int)must(socket(address.any.sa_family, type, 0), "socket");
    must(connect(connected, &address.any, length), "connect");
    return connected;
}

int next_accepted(int listening)
{
    if (!await(listening, POLLIN)) {
        fact("cannot go on", "nobody connects");
        exit(1);
    }
    return (int)must(accept(listening, NULL, NULL), "accept");
}

void connection(int family, int ends[2])
{
    int listening = listener(family, 8);

    ends[0] = connected_to(listening);
    ends[1] = next_accepted(listening);
    close(listening);
}

void datagram_pair(int family, int ends[2])
{
    union address address;
    socklen_t length = sizeof address;

    ends[1] = bound_to(family, SOCK_DGRAM, loopback(family, 0));
    ends[0] = connected_to(ends[1]);
    must(getsockname(ends[0], &address.any, &length), "getsockname");
    must(connect(ends[1], &address.any, length), "connect");
}

in_port_t free_port(int family, int type)
{
    int fd = bound_to(family, type, loopback(family, 0));
    in_port_t port = port_of(fd);

    close(fd);
    return port;
}

void set_int(int fd, int level, int option, int value)
{
    must(setsockopt(fd, level, option, &value, sizeof value), label("setsockopt %d %d", level, option));
}

void set_nonblocking(int fd)
{
    must(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), "O_NONBLOCK");
}

void reset_on_close(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), "SO_LINGER");
}

void fill(int fd)
{
    static const char block[65536];

    do {
        while (send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
        while (send(fd, block, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
        /* What is on its way may still make room. */
    } while (events_now(fd, 300, POLLOUT) & POLLOUT || send(fd, block, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0);
}

const char *drained(int fd)
{
    static __thread char block[65536];
    long total = 0;
    ssize_t count;

    while ((count = recv(fd, block, sizeof block, 0)) > 0)
        total += count;
    return label("%ld bytes, %s", total, received(block, count));
}

long wait_in_read(int fd)
{
    char bytes[16];

    return read(fd, bytes, sizeof bytes);
}

long wait_in_readv(int fd)
{
    char bytes[16];
    struct iovec vector = {bytes, sizeof bytes};

    return readv(fd, &vector, 1);
}

long wait_in_recv(int fd)
{
    char bytes[16];

    return recv(fd, bytes, sizeof bytes, 0);
}

long wait_in_recvfrom(int fd)
{
    union address from;
    socklen_t length = sizeof from;
    char bytes[16];

    return recvfrom(fd, bytes, sizeof bytes, 0, &from.any, &length);
}

long wait_in_recvmsg(int fd)
{
    char bytes[16];
    struct iovec vector = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

    return recvmsg(fd, &message, 0);
}

long wait_in_recvmmsg(int fd)
{
    char bytes[16];
    struct iovec vector = {bytes, sizeof bytes};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};

    return recvmmsg(fd, &message, 1, 0, NULL);
}

long wait_in_write(int fd)
{
    return write(fd, "x", 1);
}

long wait_in_send(int fd)
{
    return send(fd, "x", 1, MSG_NOSIGNAL);
}

long wait_in_accept(int listener)
{
    return accept(listener, NULL, NULL) < 0 ? -1 : 0;
}

long wait_in_poll(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLRDHUP};

    return poll(&entry, 1, PATIENCE_MS);
}

long wait_in_select(int fd)
{
    struct timeval patience = {PATIENCE_MS / 1000, 0};
    fd_set in;

    FD_ZERO(&in);
    FD_SET(fd, &in);
    return select(fd + 1, &in, NULL, NULL, &patience);
}

long wait_in_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int set = (int)must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    int count;

    must(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    count = epoll_wait(set, &event, 1, PATIENCE_MS);
    close(set);
    return count;
}

long wait_in_connect(int listener)
{
    union address address = loopback(AF_INET, port_of(listener));
    int fd = (int)must(socket(AF_INET, SOCK_STREAM, 0), "socket");

    return connect(fd, &address.any, length_of(&address));
}

int main(int argc, char **argv)
{
    ssize_t length = readlink("/proc/self/exe", own_file, sizeof own_file - 1);

    first_process = getpid();
    must(length, "readlink");
    own_file[length] = '\0';
    for (const struct parity_case *each = cases; each->name; each++) {
        if (argc < 2 && each->name[0] != '+')
            puts(each->name);
        if (argc >= 2 && strcmp(argv[1], each->name) == 0) {
            arguments = argv + 2;
            each->run();
            return 0;
        }
    }
    return argc < 2 ? 0 : 2;
}

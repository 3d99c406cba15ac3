/*
 * What the programs share: facts, and sockets on the loopback.
 *
 * `program` lists its cases, `program CASE` runs one. A case prints facts, lines of "label: value"; no two of its labels
 * are equal, so that processes may print in any order. A value holds nothing that changes from run to run: no port, no
 * process, no time, and no number of a descriptor unless that is the point.
 *
 * A case whose name begins with + is not listed: it is what a program executes of itself.
 */
#ifndef PARITY_H
#define PARITY_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an event may take to show. Only what differs takes so long. */
enum { PATIENCE_MS = 3000 };

struct parity_case {
    const char *name;
    void (*run)(void);
};

/* Each program defines them; the last has no name. */
extern const struct parity_case cases[];
/* What follows the case's name on the command line, and the program's own file. */
extern char **arguments;
extern char *const own_path;
/* Where facts go: 1, unless a case needs that for something else. */
extern int facts_to;

/* Facts. */
void fact(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A label made of parts. Its text, and that of the functions below, lasts for the next 31 such calls of the thread. */
const char *label(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The result of a call: its number, or the name of errno. */
const char *outcome(long result);
/* The same where the number says nothing: "ok". */
const char *success(long result);
/* What a call that receives gave: the bytes in quotation marks, "end" for none, or the name of errno. */
const char *received(const void *bytes, ssize_t result);
const char *errno_named(int number);
/* Events of poll(2), and what poll says of a descriptor now. */
const char *events_named(short events);
const char *events_of(int fd);
/* Another process, which the output so far is not in. */
pid_t forked_child(void);
/* How a child ended: "exit 0", "signal KILL". Waits for it. */
const char *end_of(pid_t child);
/* Ends the process with a fact when `result` is an error. */
long must(long result, const char *what);
#define MUST(call) must((call), #call)

/* Waits until poll shows all of `events`; false when it never does. */
bool await(int fd, short events);
/* Waits until `bytes` can be read. */
bool await_readable(int fd, int bytes);

/* Addresses: the loopback's, in network byte order as always. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};
union address loopback(int family, in_port_t port);
union address wildcard(int family, in_port_t port);
socklen_t length_of(const union address *address);
/* Address and port as text: the port "0", "port", since its number says nothing. */
const char *address_named(const union address *address, socklen_t length);
const char *local_name(int fd);
const char *peer_name(int fd);
in_port_t port_of(int fd);

/* Sockets. Each ends the process when it cannot be had. */
int bound_to(int family, int type, union address address);
int listener(int family, int backlog);
int connected_to(int fd);
/* The next connection at a listener; ends the process when none comes. */
int next_accepted(int listening);
/* Both ends of a connection: [0] connected, [1] was accepted. */
void connection(int family, int ends[2]);
/* Two datagram sockets, connected to each other. */
void datagram_pair(int family, int ends[2]);
/* A port where nobody listens. */
in_port_t free_port(int family, int type);
void set_int(int fd, int level, int option, int value);
void set_nonblocking(int fd);
/* The peer of a closed socket with this sees a reset. */
void reset_on_close(int fd);
/* Writes until nothing more is taken, on a socket of any mode. */
void fill(int fd);
/* Reads to the end: how many bytes, and what then: "1000 bytes, end". */
const char *drained(int fd);

/* Calls that wait, all in one shape: what they return, or -1 and errno. The descriptor is a connection but where it says. */
long wait_in_read(int fd);
long wait_in_readv(int fd);
long wait_in_recv(int fd);
long wait_in_recvfrom(int fd);
long wait_in_recvmsg(int fd);
long wait_in_recvmmsg(int fd);
long wait_in_write(int fd);
long wait_in_send(int fd);
long wait_in_accept(int listener);
long wait_in_poll(int fd);
long wait_in_select(int fd);
long wait_in_epoll(int fd);
/* To a listener that has no room. */
long wait_in_connect(int listener);

#endif

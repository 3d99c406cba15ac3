/*
 * tubesock: a TCP/IP stack in user space, with the BSD API under the prefix tube_.
 *
 * Each function does what the function of its name without the prefix does (see its manual page), on the stack of
 * this process instead of the kernel's. It returns -1 and sets errno when it fails; where Linux defines the
 * errno, ours is the same, and EIO says that the stack itself is broken. Threads may call any function at any time,
 * also on the same socket.
 *
 * A descriptor is a real kernel descriptor: poll(), select(), epoll, dup(), fcntl() and close() of libc work on it,
 * and read() and write() do on a TCP socket. But only the tube_ calls know the reason of a failed connection, a reset on
 * a quiet connection, and the addresses of datagrams.
 *
 * Buffers, addresses and strings that are passed in are used until the call returns, and never kept. What a function
 * hands out for the caller to free says so.
 *
 * The settings are the variables TUBESOCK_LINK, TUBESOCK_PUBLISH, TUBESOCK_CAPTURE, TUBESOCK_LOG, ... of the environment,
 * or tube_configure(). When the process exits, what it wrote is delivered first. A child of fork() has no stack
 * until it makes a socket of its own.
 *
 * Version 0.x: the ABI may change with each minor version.
 */

/* Generated from src/abi/tube by cbindgen: change it there, then run TUBESOCK_BLESS=1 cargo build. */

#ifndef TUBESOCK_H
#define TUBESOCK_H

#include <netdb.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
/* From headers that a strict mode (-std=c99) hides in part: */
struct addrinfo;
struct mmsghdr;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Sets the variable `name` ("TUBESOCK_LINK", "TUBESOCK_CAPTURE", "TUBESOCK_PUBLISH", "TUBESOCK_LOG", ...) to
 * `value` for the stack of this process. It outweighs the variable of the environment. The stack starts with the
 * first tube_socket() or tube_getaddrinfo(); after that nothing can be set.
 *
 * Both strings are copied. Returns 0, or -1 with errno:
 * EINVAL (no such name, or a value that cannot be used: the log says why), EBUSY (the stack has started).
 */
int tube_configure(const char *name, const char *value);

/**
 * Makes a socket: AF_INET or AF_INET6 with SOCK_STREAM (TCP) or SOCK_DGRAM (UDP), of the stack; any other is the
 * kernel's. SOCK_NONBLOCK and SOCK_CLOEXEC may be or'ed to `kind`. The first one starts the stack.
 *
 * Returns a descriptor, the lowest free number, to be given to tube_close(); or -1 with errno: EAFNOSUPPORT,
 * EPROTONOSUPPORT, EPROTOTYPE, ESOCKTNOSUPPORT, EINVAL (also: a setting cannot be used, see the log), EMFILE, ENFILE,
 * ENOBUFS, ENOMEM. socket(2).
 */
int tube_socket(int domain, int kind, int protocol);

/**
 * Gives the socket its own address and port; port 0 takes a free one. The address is copied.
 *
 * Returns 0, or -1 with errno: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF, EFAULT, EINVAL (it has one
 * already, or `length` is wrong), ENOTSOCK. bind(2).
 */
int tube_bind(int fd, const struct sockaddr *address, socklen_t length);

/**
 * Connects: for TCP the handshake; for UDP the peer of send and the only sender heard. The address is copied.
 *
 * A non-blocking TCP socket gets EINPROGRESS at once; when it polls writable, SO_ERROR says how it went.
 * Returns 0, or -1 with errno: EADDRNOTAVAIL, EAFNOSUPPORT, EALREADY, EBADF, ECONNREFUSED, ECONNRESET, EFAULT,
 * EHOSTUNREACH, EINPROGRESS, EINTR (it goes on: wait for writable), EINVAL, EISCONN, ENETUNREACH, ENOTSOCK,
 * ETIMEDOUT. connect(2), RFC 9293 3.5.
 */
int tube_connect(int fd, const struct sockaddr *address, socklen_t length);

/**
 * Lets a TCP socket take connections, of which `backlog` may wait to be accepted.
 *
 * Returns 0, or -1 with errno: EADDRINUSE, EBADF, EINVAL (it is connected), ENOTSOCK, EOPNOTSUPP. listen(2).
 */
int tube_listen(int fd, int backlog);

/**
 * Takes the first connection that waits at a listening socket; blocks if there is none. The peer's address goes to
 * `address`, cut to `*length` bytes, and its full length to `*length`; both may be null.
 *
 * Returns a new descriptor, to be given to tube_close(); or -1 with errno: EAGAIN (none waits at a non-blocking
 * socket), EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL (not listening), EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK,
 * EOPNOTSUPP. accept(2).
 */
int tube_accept(int fd, struct sockaddr *address, socklen_t *length);

/**
 * tube_accept() with flags for the new descriptor: SOCK_NONBLOCK, SOCK_CLOEXEC. accept4(2).
 */
int tube_accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);

/**
 * The socket's own address, to `address`, cut to `*length` bytes; its full length to `*length`.
 *
 * Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL (`*length` is negative), ENOBUFS, ENOTSOCK. getsockname(2).
 */
int tube_getsockname(int fd, struct sockaddr *address, socklen_t *length);

/**
 * The peer's address, to `address`, cut to `*length` bytes; its full length to `*length`.
 *
 * Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL (`*length` is negative), ENOBUFS, ENOTCONN, ENOTSOCK.
 * getpeername(2).
 */
int tube_getpeername(int fd, struct sockaddr *address, socklen_t *length);

/**
 * Reads an option of `level` (SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6) into `value`, cut to `*length`
 * bytes; the length written goes to `*length`. Reading SO_ERROR clears it.
 *
 * Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, EOPNOTSUPP. getsockopt(2), socket(7),
 * tcp(7), ip(7), ipv6(7).
 */
int tube_getsockopt(int fd, int level, int name, void *value, socklen_t *length);

/**
 * Sets an option of `level` from the `length` bytes at `value`, which are copied. Units as on Linux:
 * TCP_USER_TIMEOUT in milliseconds, TCP_KEEPIDLE and SO_LINGER in seconds, SO_RCVTIMEO a struct timeval.
 *
 * Returns 0, or -1 with errno: EBADF, EDOM, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, EOPNOTSUPP. setsockopt(2),
 * socket(7), tcp(7), ip(7), ipv6(7).
 */
int tube_setsockopt(int fd, int level, int name, const void *value, socklen_t length);

/**
 * Ends one direction of a connection, or both: SHUT_RD, SHUT_WR (the peer reads an end of file after all that was
 * written), SHUT_RDWR. The descriptor stays open.
 *
 * Returns 0, or -1 with errno: EBADF, EINVAL, ENOTCONN, ENOTSOCK. shutdown(2), RFC 9293 3.6.
 */
int tube_shutdown(int fd, int how);

/**
 * Closes a descriptor. What was written before is still delivered, in the background, unless SO_LINGER says
 * otherwise; bytes left unread reset the connection, as RFC 9293 3.6.1 and Linux have it.
 *
 * Returns 0, or -1 with errno: EBADF, EINTR, EIO. The number is free in any case but EBADF. close(2).
 */
int tube_close(int fd);

/**
 * Requests of a device or socket, with at most one argument, null when there is none: FIONBIO, FIONREAD, SIOCOUTQ,
 * SIOCATMARK, ...
 *
 * Returns 0 or a value of the request's, or -1 with errno: EBADF, EFAULT, EINVAL, ENOTTY. ioctl(2), tcp(7), udp(7).
 */
int tube_ioctl(int fd, unsigned long request, void *argument);

/**
 * The kernel's fcntl: a descriptor of the stack is the kernel's. `argument` is an integer, a pointer, or 0:
 * F_GETFL, F_SETFL with O_NONBLOCK, F_GETFD, F_SETFD with FD_CLOEXEC, F_DUPFD_CLOEXEC, ...
 *
 * Returns a value of the command's, or -1 with errno: EBADF, EFAULT, EINVAL, EMFILE, EPERM. fcntl(2).
 */
int tube_fcntl(int fd, int command, intptr_t argument);

/**
 * Reads at most `length` bytes, or one datagram, into `buffer`; blocks while there is none.
 *
 * Returns the number of bytes; 0 is the end of a TCP stream (the peer has sent its FIN), or an empty datagram; or -1
 * with errno: EAGAIN (none yet at a non-blocking socket, or SO_RCVTIMEO has passed), EBADF, ECONNREFUSED,
 * ECONNRESET, EFAULT, EHOSTUNREACH, EINTR, EINVAL, ENOTCONN, ETIMEDOUT. read(2).
 */
ssize_t tube_read(int fd, void *buffer, size_t length);

/**
 * Writes `length` bytes, or one datagram; blocks while the send buffer is full. For TCP "written" means accepted for
 * sending, not received by the peer.
 *
 * Returns the number of bytes taken, which may be fewer; or -1 with errno: EAGAIN, EBADF, ECONNREFUSED, ECONNRESET,
 * EDESTADDRREQ, EFAULT, EHOSTUNREACH, EINTR, EMSGSIZE, ENETUNREACH, ENOBUFS, ENOTCONN, EPIPE (with SIGPIPE: the
 * connection is at an end in this direction), ETIMEDOUT. write(2).
 */
ssize_t tube_write(int fd, const void *buffer, size_t length);

/**
 * tube_read() into `count` buffers, one after the other; EINVAL if `count` is negative or above IOV_MAX. readv(2).
 */
ssize_t tube_readv(int fd, const struct iovec *vector, int count);

/**
 * tube_write() from `count` buffers, one after the other; EINVAL if `count` is negative or above IOV_MAX. writev(2).
 */
ssize_t tube_writev(int fd, const struct iovec *vector, int count);

/**
 * tube_read() with flags: MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_TRUNC, MSG_OOB; ENOTSOCK for what is no
 * socket. recv(2).
 */
ssize_t tube_recv(int fd, void *buffer, size_t length, int flags);

/**
 * tube_recv() that also tells who sent it: the address to `from`, cut to `*from_length` bytes, and its full
 * length to `*from_length`; both may be null. recvfrom(2).
 */
ssize_t tube_recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *from, socklen_t *from_length);

/**
 * tube_recvfrom() with buffers, address and control messages in a struct msghdr, whose lengths and flags are
 * written on return; EMSGSIZE for more than IOV_MAX buffers. recvmsg(2).
 */
ssize_t tube_recvmsg(int fd, struct msghdr *message, int flags);

/**
 * Up to `count` times tube_recvmsg(), until `timeout` has passed since the call (null: no limit). The length of each
 * goes to its msg_len. With MSG_WAITFORONE only the first blocks. Linux's own: define _GNU_SOURCE for struct mmsghdr.
 *
 * Returns the number of messages; or -1 with the errno of the first. recvmmsg(2).
 */
int tube_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout);

/**
 * tube_write() with flags: MSG_NOSIGNAL (EPIPE without SIGPIPE), MSG_DONTWAIT, MSG_MORE, MSG_OOB; ENOTSOCK for what is no
 * socket. send(2).
 */
ssize_t tube_send(int fd, const void *buffer, size_t length, int flags);

/**
 * tube_send() of one datagram to the address `to`, which is copied. With null, to the peer of tube_connect().
 * Also EAFNOSUPPORT, and EINVAL for a wrong `to_length`. sendto(2).
 */
ssize_t tube_sendto(int fd, const void *buffer, size_t length, int flags, const struct sockaddr *to, socklen_t to_length);

/**
 * tube_sendto() with buffers, address and control messages in a struct msghdr; EMSGSIZE for more than IOV_MAX
 * buffers. sendmsg(2).
 */
ssize_t tube_sendmsg(int fd, const struct msghdr *message, int flags);

/**
 * Up to `count` times tube_sendmsg(); the number of bytes sent of each goes to its msg_len. Linux's own: define
 * _GNU_SOURCE for struct mmsghdr.
 *
 * Returns the number of messages; or -1 with the errno of the first. sendmmsg(2).
 */
int tube_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);

/**
 * Waits until one of `count` descriptors is ready, or for `timeout_ms` milliseconds (-1: for ever). The events go to
 * each `revents`.
 *
 * Returns how many are ready, 0 after the time; or -1 with errno: EFAULT, EINTR, EINVAL, ENOMEM. poll(2).
 */
int tube_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

/**
 * tube_poll() with a timespec (null: for ever) and a signal mask for the wait (null: the present one). ppoll(2).
 */
int tube_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);

/**
 * Waits until a descriptor in one of the sets is ready, all below `count` (at most FD_SETSIZE), or until `timeout` has
 * passed (null: for ever); Linux writes the time left into it. The sets keep what is ready.
 *
 * Returns how many are ready, 0 after the time; or -1 with errno: EBADF, EINTR, EINVAL, ENOMEM. select(2).
 */
int tube_select(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, struct timeval *timeout);

/**
 * tube_select() with a timespec, which is left alone, and a signal mask for the wait (null: the present one).
 * pselect(2).
 */
int tube_pselect(int count, fd_set *readable, fd_set *writable, fd_set *exceptional, const struct timespec *timeout, const sigset_t *mask);

/**
 * Makes an epoll set; `flags` is 0 or EPOLL_CLOEXEC.
 *
 * Returns a descriptor, to be given to tube_close(); or -1 with errno: EINVAL, EMFILE, ENFILE, ENOMEM.
 * epoll_create1(2).
 */
int tube_epoll_create1(int flags);

/**
 * Adds `fd` to an epoll set, changes its events, or takes it out: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL. The
 * event is copied.
 *
 * Returns 0, or -1 with errno: EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM. epoll_ctl(2).
 */
int tube_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);

/**
 * Waits for events of an epoll set, at most `count` of them, or for `timeout_ms` milliseconds (-1: for ever).
 *
 * Returns how many were written to `events`, 0 after the time; or -1 with errno: EBADF, EFAULT, EINTR, EINVAL.
 * epoll_wait(2).
 */
int tube_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms);

/**
 * tube_epoll_wait() with a signal mask for the wait (null: the present one). epoll_pwait(2).
 */
int tube_epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout_ms, const sigset_t *mask);

/**
 * Looks up the addresses of `node` and the port of `service`, over the stack: numbers, /etc/hosts, then DNS. Either
 * may be null, not both; `hints` may be.
 *
 * Returns 0 and a list in `*result`, to be freed with tube_freeaddrinfo(); or an EAI_ code, not errno (except with
 * EAI_SYSTEM): EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_FAMILY, EAI_SOCKTYPE, EAI_SERVICE, EAI_BADFLAGS, EAI_ADDRFAMILY,
 * EAI_NODATA, EAI_MEMORY. getaddrinfo(3), RFC 3493, RFC 6724.
 */
int tube_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result);

/**
 * Frees what tube_getaddrinfo() returned; never what libc's getaddrinfo() did. freeaddrinfo(3).
 */
void tube_freeaddrinfo(struct addrinfo *list);

/**
 * The name of an address and of its port, each to a buffer of that many bytes (null and 0 for neither).
 *
 * Returns 0, or an EAI_ code: EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY, EAI_NONAME, EAI_OVERFLOW,
 * EAI_SYSTEM. getnameinfo(3), RFC 3493.
 */
int tube_getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_length, char *service, socklen_t service_length, int flags);

/**
 * A sentence for an EAI_ code, which lives for ever and must not be freed. gai_strerror(3).
 */
const char *tube_gai_strerror(int code);

/**
 * The IPv4 addresses of `name`. Obsolete: use tube_getaddrinfo().
 *
 * Returns a structure that lives until this thread's next call of the tube_gethostby family; or null with h_errno
 * HOST_NOT_FOUND, NO_DATA, NO_RECOVERY or TRY_AGAIN. gethostbyname(3).
 */
struct hostent *tube_gethostbyname(const char *name);

/**
 * tube_gethostbyname() for one family, AF_INET or AF_INET6. Obsolete: use tube_getaddrinfo(). gethostbyname2(3).
 */
struct hostent *tube_gethostbyname2(const char *name, int family);

/**
 * The name of an address, a struct in_addr or in6_addr as `family` says. Obsolete: use tube_getnameinfo(). Returns as
 * tube_gethostbyname() does. gethostbyaddr(3).
 */
struct hostent *tube_gethostbyaddr(const void *address, socklen_t length, int family);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TUBESOCK_H */

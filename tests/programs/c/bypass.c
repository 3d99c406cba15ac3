/*
 * Makes sockets past libc, by each entry into the kernel, and prints what came of it: a negated errno, or "ok". With an
 * argument it makes one by libc, too.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define X32_BIT 0x40000000L
#define I386_SOCKET 359L
#define I386_SOCKETCALL 102L

static long by_syscall(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}

static sigjmp_buf no_entry;

static void fault(int signal)
{
	siglongjmp(no_entry, signal);
}

/* A kernel without the 32-bit entry answers with a fault. */
static long by_interrupt(long number, long a, long b, long c)
{
	long result;
	if (sigsetjmp(no_entry, 1))
		return -1;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

static void tell(const char *what, long result)
{
	if (result < 0)
		printf("%s %ld\n", what, result);
	else
		printf("%s ok\n", what);
}

int main(int argc, char **argv)
{
	(void)argv;
	signal(SIGSEGV, fault);
	tell("inet", by_syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	tell("again", by_syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
	tell("inet6", by_syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0));
	tell("packet", by_syscall(SYS_socket, AF_PACKET, SOCK_RAW, 0));
	tell("x32", by_syscall(SYS_socket | X32_BIT, AF_INET, SOCK_STREAM, 0));
	char parameters[256] = { 0 };
	tell("ring", by_syscall(SYS_io_uring_setup, 8, (long)parameters, 0));
	tell("interrupt", by_interrupt(I386_SOCKET, AF_INET, SOCK_STREAM, 0));
	uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED)
		return 1;
	memcpy(low, (uint32_t[]){ AF_INET, SOCK_STREAM, 0 }, 12);
	tell("socketcall", by_interrupt(I386_SOCKETCALL, 1, (long)low, 0));
	tell("unix", by_syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
	tell("netlink", by_syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0));
	if (argc > 1)
		tell("libc", socket(AF_INET, SOCK_STREAM, 0));
	return 0;
}

/*
 * exit_in_handler ADDRESS PORT: writes 100,000 bytes, then allocates for ever, until a signal handler calls _exit(3),
 * most likely in the middle of malloc. _exit is async-signal-safe (signal-safety(7)); what was written must arrive.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static char bytes[100000];

static void end(int number)
{
    (void)number;
    _exit(3);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[2]))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, arguments[1], &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        return 1;
    if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        return 1;
    struct itimerval soon = {.it_value = {.tv_usec = 5000}};
    signal(SIGALRM, end);
    setitimer(ITIMER_REAL, &soon, NULL);
    for (size_t turn = 0;; turn++) {
        void *volatile large = malloc(100 + turn % 5000);
        void *volatile small = malloc(10);
        free(large);
        free(small);
    }
}

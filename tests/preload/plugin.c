/* A library whose call by number must come to the shim. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int io_uring_is_denied(void)
{
    return syscall(SYS_io_uring_setup, 1L, (void *)0) == -1 && errno == ENOSYS;
}

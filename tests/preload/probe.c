/* What the preload must do for any program, whether it has sockets or not: one probe a run, exit status 0 if it holds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int expect(int holds, const char *what)
{
    if (!holds)
        fprintf(stderr, "does not hold: %s (errno %d)\n", what, errno);
    return holds ? 0 : 1;
}

/* A library that lies in the caller's RUNPATH, asked for with the flag that would let it go round us. */
static int probe_dlopen(void)
{
    void *library = dlopen("libplugin.so", RTLD_NOW | RTLD_DEEPBIND);
    int (*denied)(void) = library ? (int (*)(void))dlsym(library, "io_uring_is_denied") : NULL;

    if (!library)
        fprintf(stderr, "%s\n", dlerror());
    return expect(denied && denied(), "dlopen searches the caller's RUNPATH, and the plugin's calls come to us");
}

static int cleaned_up;

static void clean_up(void *argument)
{
    (void)argument;
    cleaned_up = 1;
}

static void *read_for_ever(void *pipe_end)
{
    char byte;

    pthread_cleanup_push(clean_up, NULL);
    (void)!read(*(int *)pipe_end, &byte, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

/* A thread that waits in read(2) on something of the kernel's can be cancelled, and its handlers run. */
static int probe_cancel(void)
{
    int ends[2];
    pthread_t thread;
    void *result = NULL;

    if (pipe(ends) || pthread_create(&thread, NULL, read_for_ever, &ends[0]) || pthread_cancel(thread) || pthread_join(thread, &result))
        return expect(0, "the thread can be made, cancelled and joined");
    return expect(result == PTHREAD_CANCELED && cleaned_up, "read is a cancellation point");
}

/* By number as by name; errno stays when nothing fails. */
static int probe_syscall(void)
{
    int ends[2];
    char byte = 0;
    int failed = expect(pipe(ends) == 0, "pipe");

    errno = ENOTTY;
    failed |= expect(syscall(SYS_write, ends[1], "x", 1L) == 1 && syscall(SYS_read, ends[0], &byte, 1L) == 1 && byte == 'x', "write and read");
    failed |= expect(errno == ENOTTY, "errno stays");
    failed |= expect(syscall(SYS_close, ends[0]) == 0 && syscall(SYS_close, ends[0]) == -1 && errno == EBADF, "close");
    failed |= expect(syscall(SYS_io_uring_setup, 1L, NULL) == -1 && errno == ENOSYS, "io_uring_setup is denied");
    return failed;
}

/* Ranges, with the shim's guards in the way of nothing. */
static int probe_close(void)
{
    int failed = expect(dup2(0, 100) == 100 && dup2(0, 101) == 101 && dup2(0, 102) == 102, "dup2");

    failed |= expect(close_range(101, 101, 0) == 0 && fcntl(100, F_GETFD) == 0 && fcntl(101, F_GETFD) == -1 && errno == EBADF, "close_range");
    failed |= expect(close_range(5, 4, 0) == -1 && errno == EINVAL, "an empty range");
    closefrom(100);
    failed |= expect(fcntl(102, F_GETFD) == -1 && errno == EBADF, "closefrom");
    return failed;
}

/* A child of vfork ends and closes in our memory, and leaves us as we were. */
static int probe_vfork(void)
{
    int status = -1;
    pid_t child = vfork();

    if (child == 0) {
        close_range(3, ~0U, 0);
        _exit(7);
    }
    return expect(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7, "vfork and _exit");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } probes[] = {
        {"dlopen", probe_dlopen}, {"cancel", probe_cancel}, {"syscall", probe_syscall},
        {"close", probe_close},   {"vfork", probe_vfork},
    };

    for (size_t i = 0; argc == 2 && i < sizeof probes / sizeof probes[0]; i++)
        if (strcmp(argv[1], probes[i].name) == 0)
            return probes[i].run();
    return 2;
}

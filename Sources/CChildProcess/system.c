// System calls that the Glibc module does not offer, and descriptors that no other program inherits by accident: they
// are close-on-exec from their creation, and at least 3.

#define _GNU_SOURCE
#include "CChildProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int sw_above_stdio(int *fd) {
    if (*fd > 2) return 0;
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(*fd);
    if (moved < 0) return error;
    *fd = moved;
    return 0;
}

int sw_pipe(int *read_fd, int *write_fd) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return errno;
    int error = sw_above_stdio(&fds[0]);
    if (error != 0) {
        close(fds[1]);
        return error;
    }
    error = sw_above_stdio(&fds[1]);
    if (error != 0) {
        close(fds[0]);
        return error;
    }
    *read_fd = fds[0];
    *write_fd = fds[1];
    return 0;
}

int sw_open_null(int *fd) {
    *fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? errno : sw_above_stdio(fd);
}

int sw_pidfd_open(pid_t pid, int *fd) {
    *fd = (int)syscall(SYS_pidfd_open, pid, 0);  // always close-on-exec
    return *fd < 0 ? errno : sw_above_stdio(fd);
}

int sw_set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return errno;
    return 0;
}

int sw_bytes_waiting(int fd) {
    int count = 0;
    return ioctl(fd, FIONREAD, &count) == 0 ? count : 0;
}

void sw_name_thread(const char *name) {
    pthread_setname_np(pthread_self(), name);
}

// Reaps one child, with its resource usage, or an orphan. Never waits for any child (-1): others may belong to other
// code.

#define _GNU_SOURCE
#include "CChildProcess.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

int sw_reap(pid_t pid, struct sw_exit *result) {
    int status = 0;
    struct rusage usage;
    pid_t reaped;
    do reaped = wait4(pid, &status, 0, &usage);
    while (reaped < 0 && errno == EINTR);
    if (reaped < 0) return errno;

    result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    result->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    result->user_us = (int64_t)usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec;
    result->system_us = (int64_t)usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec;
    result->max_resident_bytes = (int64_t)usage.ru_maxrss * 1024;  // Linux counts it in KiB
    return 0;
}

int sw_become_subreaper(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? 0 : errno;
}

void sw_reap_if_ended(pid_t pid) {
    waitpid(pid, NULL, WNOHANG);
}

// Starts a program as the leader of a new session, and so of a new process group.
//
// Between fork and exec the child may only make async-signal-safe calls, so all memory is prepared by the caller.
// The order in the child matters: it creates its session, registers its group with the guardian, and only then does
// what may take long or fail. Once it is registered, the child dies when our process dies.
//
// It forks, although vfork would not copy page tables (32 ms at 1 GiB of resident memory): vfork suspends the calling
// thread until exec, and chdir and exec wait without limit on a file system that hangs.

#define _GNU_SOURCE
#include "CChildProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

_Noreturn static void fail(int status_fd, enum sw_stage stage, int error) {
    struct sw_spawn_failure failure = {.stage = stage, .error = error};
    // Eight bytes are written to a pipe completely or not at all; if the parent is gone, they are not needed.
    ssize_t ignored = write(status_fd, &failure, sizeof failure);
    (void)ignored;
    _exit(127);
}

// Gives the program default signal actions and an empty mask, whatever those of our process are.
static void reset_signals(void) {
    // The raw system call: libc refuses the two signals that it reserves for its threads, which can be inherited as
    // ignored. Zeroes are the default action in the kernel's structure, which is smaller than this on every
    // architecture.
    static const unsigned char default_action[64];
    for (int signal = 1; signal < NSIG; signal++)  // EINVAL for SIGKILL and SIGSTOP
        syscall(SYS_rt_sigaction, signal, default_action, NULL, (NSIG - 1) / 8);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// Marks every descriptor above 2 close-on-exec, including those that a library opened without the flag.
static void close_all_on_exec(void) {
    if (syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
    // Before Linux 5.11. The bound avoids a loop over two billion numbers when the limit is "unlimited".
    struct rlimit limit = {.rlim_cur = 65536};
    getrlimit(RLIMIT_NOFILE, &limit);
    int last = limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
    for (int fd = 3; fd < last; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

_Noreturn static void become(const struct sw_spawn_request *request) {
    int status_fd = request->status_fd;
    // A session has no terminal. In ours, a program that opens /dev/tty to ask for a password would be stopped
    // (SIGTTIN) until its time limit, because its group is not the one in the foreground. Without a terminal the open
    // fails at once.
    if (setsid() < 0) fail(status_fd, SW_STAGE_GROUP, errno);

    // The second belt, for when the guardian and our process are killed at once. It covers the leader only, and not a
    // set-user-ID program (sudo). The kernel sends the signal when the thread that forked ends.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != request->parent) _exit(127);  // our process died before the prctl

    int error = sw_guardian_tell(request->guardian_fd, (int32_t)getpid());
    if (error != 0) fail(status_fd, SW_STAGE_GUARDIAN, error);
    close(request->guardian_fd);  // at once: while we hold it, the guardian does not see the death of our parent

    reset_signals();
    if (dup2(request->stdin_fd, 0) < 0) fail(status_fd, SW_STAGE_STDIO, errno);
    if (dup2(request->stdout_fd, 1) < 0) fail(status_fd, SW_STAGE_STDIO, errno);
    if (dup2(request->stderr_fd, 2) < 0) fail(status_fd, SW_STAGE_STDIO, errno);
    close_all_on_exec();
    for (size_t i = 0; i < request->inherited_count; i++) {
        if (fcntl(request->inherited[i], F_SETFD, 0) != 0) fail(status_fd, SW_STAGE_STDIO, errno);
    }
    struct rlimit files;
    if (request->open_files > 0 && getrlimit(RLIMIT_NOFILE, &files) == 0 && request->open_files < files.rlim_max) {
        files.rlim_cur = request->open_files;
        setrlimit(RLIMIT_NOFILE, &files);  // it is below the hard limit, so it cannot fail
    }
    if (request->directory != NULL && chdir(request->directory) != 0) fail(status_fd, SW_STAGE_DIRECTORY, errno);

    // As execvp does: after EACCES the search continues, and EACCES is the error if no candidate can be executed.
    int reason = ENOENT;
    for (const char *const *path = request->candidates; *path != NULL; path++) {
        execve(*path, request->argv, request->envp);
        if (errno == EACCES) {
            reason = EACCES;
        } else if (errno != ENOENT && errno != ENOTDIR) {
            reason = errno;
            break;
        }
    }
    fail(status_fd, SW_STAGE_PROGRAM, reason);
}

int sw_spawn(const struct sw_spawn_request *request, pid_t *pid) {
    // No signal handler of our process may run in the child: all signals stay blocked until its state is set.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child == 0) become(request);
    int error = child < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) *pid = child;
    return error;
}

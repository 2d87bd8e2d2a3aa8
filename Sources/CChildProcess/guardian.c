// The guardian: a small process that waits for the death of ours and then kills the groups that we started.
//
// It owns the far end of a socket. Each message is one int32: a positive process group to guard, a negative one to
// forget. End of file means that every holder of the near end is gone (SIGKILL, a crash and exit() look the same); then
// the guardian sends SIGKILL to each group that it still guards, and exits. It has its own session and blocks all
// signals, so Ctrl-C, SIGTERM to our group and a closed terminal do not end it. SIGKILL does; our process notices (the
// near end hangs up) and starts another. It also replaces one that is stopped (SIGSTOP) once the socket is full of
// messages.
//
// Guarantee: each child registers its own group before exec, over the same socket that signals our death, so no program
// ever runs unguarded. Not guarded: a process that left its group (setsid). If the guardian and our process are killed
// at once, only the leaders of the groups end (PR_SET_PDEATHSIG in spawn.c).
//
// It runs after a fork in a threaded process: async-signal-safe calls and static memory only.

#define _GNU_SOURCE
#include "CChildProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const char guardian_name[] = "sw-guardian";

// Written by the guardian alone, in its own copy of our memory.
static int32_t groups[SW_GUARDIAN_CAPACITY];
static size_t group_count;

// glibc passes main's arguments to constructors. The guardian overwrites them in its own copy of our memory, so that
// `ps` does not list it under our name, and `pkill -9 -f switchyard` does not kill it together with our process.
static char **main_argv;
static int main_argc;

#ifdef __GLIBC__
__attribute__((constructor)) static void remember_arguments(int argc, char **argv) {
    main_argc = argc;
    main_argv = argv;
}
#endif

static void take_name(void) {
    prctl(PR_SET_NAME, guardian_name);
    if (main_argc < 1 || main_argv == NULL || main_argv[0] == NULL) return;
    char *start = main_argv[0];
    char *end = start;
    // The arguments are contiguous in memory; stop at the first that is not (the program replaced it).
    for (int i = 0; i < main_argc && main_argv[i] == end; i++) end += strlen(main_argv[i]) + 1;
    size_t size = (size_t)(end - start);
    if (size < sizeof guardian_name) return;
    memset(start, 0, size);
    memcpy(start, guardian_name, sizeof guardian_name);
}

static void close_all_but(int keep) {
    if (keep > 0) syscall(SYS_close_range, 0U, (unsigned)keep - 1, 0U);
    if (syscall(SYS_close_range, (unsigned)keep + 1, ~0U, 0U) == 0) return;
    struct rlimit limit = {.rlim_cur = 65536};
    getrlimit(RLIMIT_NOFILE, &limit);
    int last = limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
    for (int fd = 0; fd < last; fd++)
        if (fd != keep) close(fd);
}

static void guard(int32_t group) {
    for (size_t i = 0; i < group_count; i++)
        if (groups[i] == group) return;
    if (group_count < SW_GUARDIAN_CAPACITY) groups[group_count++] = group;
}

static void forget(int32_t group) {
    for (size_t i = 0; i < group_count; i++) {
        if (groups[i] != group) continue;
        groups[i] = groups[--group_count];
        return;
    }
}

_Noreturn static void watch(int socket) {
    setsid();
    take_name();
    close_all_but(socket);  // also 0, 1, 2: a reader of our output must see it end with our process
    if (chdir("/") != 0) {
        // The guardian then keeps the working directory in use; nothing else is affected.
    }
    for (;;) {
        int32_t group = 0;
        ssize_t got = recv(socket, &group, sizeof group, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got != (ssize_t)sizeof group) break;
        // kill() would take these for our own group (0), every process (-1), or init (1).
        if (group > 1) guard(group);
        if (group < -1 && group != INT32_MIN) forget(-group);
    }
    for (size_t i = 0; i < group_count; i++) kill(-groups[i], SIGKILL);
    _exit(0);
}

// How long a message may wait for room. A guardian that has not read for so long is replaced, which does no harm if it
// was only slow.
static const struct timeval send_timeout = {.tv_usec = 250000};

int sw_guardian_start(const int32_t *guarded, size_t count, pid_t *pid, int *near_end) {
    int ends[2];
    // SEQPACKET keeps message boundaries, and send() takes MSG_NOSIGNAL, which write() to a pipe cannot.
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno;
    int error = sw_above_stdio(&ends[0]);
    if (error != 0) {
        close(ends[1]);
        return error;
    }
    setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &send_timeout, sizeof send_timeout);

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child == 0) {
        // Its copy of our memory has the groups. As messages they might be more than the socket holds.
        group_count = count < SW_GUARDIAN_CAPACITY ? count : SW_GUARDIAN_CAPACITY;
        if (group_count > 0) memcpy(groups, guarded, group_count * sizeof groups[0]);
        watch(ends[1]);  // its signals stay blocked
    }
    error = child < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    close(ends[1]);
    if (error != 0) {
        close(ends[0]);
        return error;
    }
    *pid = child;
    *near_end = ends[0];
    return 0;
}

int sw_guardian_tell(int socket, int32_t group) {
    ssize_t sent;
    do sent = send(socket, &group, sizeof group, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

void sw_guardian_bury(pid_t pid) {
    // The socket hangs up a moment before the guardian ends; SIGKILL bounds the wait.
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

// Drives every function of CChildProcess for scripts/sanitize: starts, failures of each stage, several threads at once,
// and a guardian with more groups than it has room for.

#define _GNU_SOURCE
#include "CChildProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                            \
        }                                                                       \
    } while (0)

static int guardian;

// A guardian that is slow under a sanitizer reads in the end.
static void tell(int32_t group) {
    int error;
    do error = sw_guardian_tell(guardian, group);
    while (error == EAGAIN);
    CHECK(error == 0);
}

static struct sw_spawn_failure failure_on(int status) {
    struct sw_spawn_failure failure = {0, 0};
    struct pollfd wait = {.fd = status, .events = POLLIN};
    poll(&wait, 1, 10000);
    if (read(status, &failure, sizeof failure) != (ssize_t)sizeof failure) memset(&failure, 0, sizeof failure);
    return failure;
}

struct start {
    const char *const *candidates;
    char *const *arguments;
    const char *directory;
    int inherited;  // a descriptor; 0: none
    int stage;      // the expected failure; 0: none
    int code;       // the expected exit code; -1: a signal
};

static void run(struct start start) {
    int null, status, told;
    pid_t pid;
    CHECK(sw_open_null(&null) == 0 && sw_pipe(&status, &told) == 0);
    char *const environment[] = {"A=1", NULL};
    struct sw_spawn_request request = {
        .candidates = start.candidates, .argv = start.arguments, .envp = environment, .directory = start.directory,
        .stdin_fd = null, .stdout_fd = null, .stderr_fd = null, .guardian_fd = guardian, .status_fd = told,
        .parent = getpid(), .inherited = &start.inherited, .inherited_count = start.inherited > 0, .open_files = 64,
    };
    CHECK(sw_spawn(&request, &pid) == 0);
    close(told);
    int handle;
    CHECK(sw_pidfd_open(pid, &handle) == 0);
    close(handle);
    CHECK(failure_on(status).stage == start.stage);
    close(status);
    struct sw_exit end;
    CHECK(sw_reap(pid, &end) == 0);
    if (start.stage == 0) CHECK(end.exit_code == start.code && (end.signal != 0) == (start.code < 0));
    CHECK(sw_reap(pid, &end) == ECHILD);
    tell(-(int32_t)pid);
    close(null);
}

static const char *const shell[] = {"/nonexistent/sh", "/etc/passwd/sh", "/bin/sh", NULL};
static const char *const nothing[] = {"/nonexistent/sh", NULL};
static const char *const refused[] = {"/etc/passwd", NULL};
static char *const seven[] = {"sh", "-c", "exit 7", NULL};
static char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};

static void *many(void *unused) {
    (void)unused;
    sw_name_thread("many");
    for (int i = 0; i < 50; i++) {
        run((struct start){shell, seven, NULL, 0, 0, 7});
        run((struct start){shell, seven, "/nonexistent", 0, SW_STAGE_DIRECTORY, 0});
    }
    return NULL;
}

int main(void) {
    pid_t pid;
    CHECK(sw_guardian_start(NULL, 0, &pid, &guardian) == 0);
    run((struct start){shell, killed, "/tmp", 0, 0, -1});
    run((struct start){shell, seven, NULL, 987654, SW_STAGE_STDIO, 0});
    run((struct start){nothing, seven, NULL, 0, SW_STAGE_PROGRAM, 0});
    run((struct start){refused, seven, NULL, 0, SW_STAGE_PROGRAM, 0});
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, many, NULL) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);

    // Numbers that name no group of ours, and more groups than the guardian keeps.
    const int32_t odd[] = {0, 1, -1, INT32_MIN, INT32_MAX, -INT32_MAX};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) tell(odd[i]);
    for (int sign = 1; sign >= -1; sign -= 2)
        for (int i = 0; i < SW_GUARDIAN_CAPACITY + 100; i++)
            tell(sign * (1000000000 + i));

    int first, second;
    CHECK(sw_pipe(&first, &second) == 0 && sw_set_nonblocking(first) == 0);
    CHECK(write(second, "xy", 2) == 2 && sw_bytes_waiting(first) == 2);
    close(first);
    close(second);
    CHECK(sw_bytes_waiting(first) == 0 && sw_set_nonblocking(first) == EBADF);
    CHECK(sw_pidfd_open(999999999, &first) != 0);

    // With 0 and 1 closed, what is opened stays above 2.
    close(0);
    close(1);
    CHECK(sw_pipe(&first, &second) == 0 && first > 2 && second > 2);
    close(first);
    close(second);
    CHECK(sw_open_null(&first) == 0 && first > 2);
    close(first);

    CHECK(sw_become_subreaper() == 0);
    close(guardian);
    for (int i = 0; i < 200 && kill(pid, 0) == 0; i++) {
        sw_reap_if_ended(pid);
        usleep(50000);
    }
    CHECK(kill(pid, 0) != 0);
    const int32_t groups[] = {1000000001, 1000000002};
    CHECK(sw_guardian_start(groups, 2, &pid, &guardian) == 0);
    sw_guardian_bury(pid);
    CHECK(sw_guardian_tell(guardian, 5) == EPIPE);
    return 0;
}

// What Swift cannot do: fork, and everything between fork and exec.
//
// Owns three things: starting a program as the leader of its own process group (spawn.c), collecting what is left
// of it (reap.c), and the guardian, a process that outlives us only to kill what we started (guardian.c).
// After a fork in a threaded process only async-signal-safe calls are allowed: no malloc, no locks, no Swift.
// Every function returns 0 or an errno value; none of them sets anything else. Linux 5.11 or later.

#ifndef CCHILDPROCESS_H
#define CCHILDPROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>  // not in the Glibc module
#include <sys/eventfd.h>
#include <sys/types.h>

// --- Descriptors. All are close-on-exec and never 0, 1 or 2 (which a daemon may have closed).

int sw_pipe(int *_Nonnull read_fd, int *_Nonnull write_fd);
int sw_open_null(int *_Nonnull fd);
int sw_pidfd_open(pid_t pid, int *_Nonnull fd);
/// Moves `fd` to 3 or above if it is below, with close-on-exec set.
int sw_above_stdio(int *_Nonnull fd);
int sw_set_nonblocking(int fd);
/// Bytes that can be read from `fd` at once.
int sw_bytes_waiting(int fd);

/// As `top -H` shows it; at most 15 bytes.
void sw_name_thread(const char *_Nonnull name);

// --- Starting a program.

/// The step that failed between fork and exec.
enum sw_stage {
    SW_STAGE_GROUP = 1,      // setpgid
    SW_STAGE_GUARDIAN = 2,   // the guardian could not be told: it is dead
    SW_STAGE_STDIO = 3,      // dup2, or a descriptor to be inherited
    SW_STAGE_DIRECTORY = 4,  // chdir
    SW_STAGE_PROGRAM = 5,    // execve
};

/// What the child writes to its status pipe if it fails; a successful exec closes that pipe without a byte.
struct sw_spawn_failure {
    int32_t stage;
    int32_t error;
};

struct sw_spawn_request {
    const char *const _Nullable *_Nonnull candidates;  // paths to try in turn, NULL-terminated
    char *const _Nullable *_Nonnull argv;              // NULL-terminated
    char *const _Nullable *_Nonnull envp;              // NULL-terminated
    const char *_Nullable directory;
    int stdin_fd;
    int stdout_fd;
    int stderr_fd;
    int guardian_fd;
    const int *_Nullable inherited;  // descriptors that stay open, under the same numbers
    size_t inherited_count;
};

/// Forks a child which leads its own group, tells the guardian of it, and then executes the first of the candidates
/// that exists. `status_fd` is the (non-blocking) status pipe.
int sw_spawn(const struct sw_spawn_request *_Nonnull request, pid_t *_Nonnull pid, int *_Nonnull status_fd);

// --- The end of a program.

struct sw_exit {
    int32_t exit_code;  // -1: ended by a signal
    int32_t signal;     // 0: exited
    int64_t user_us;
    int64_t system_us;
    int64_t max_resident_bytes;
};

/// Reaps `pid` alone, waiting for its end.
int sw_reap(pid_t pid, struct sw_exit *_Nonnull result);

// --- The guardian.

/// The groups that one guardian can hold; a limit, so that it needs no memory of its own.
#define SW_GUARDIAN_CAPACITY 32768

/// Forks a guardian. It holds the far end of `socket`; when the near end is closed everywhere (we are gone, however
/// we died) it sends SIGKILL to each group it was told of and exits.
int sw_guardian_start(pid_t *_Nonnull pid, int *_Nonnull socket);
/// Positive: guard this group. Negative: forget it. 0: nothing but the question whether it lives. EPIPE: it is dead.
int sw_guardian_tell(int socket, int32_t group);
/// Reaps a guardian that is dead or dying.
void sw_guardian_bury(pid_t pid);

#endif

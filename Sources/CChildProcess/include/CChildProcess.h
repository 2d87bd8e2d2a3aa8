// What Swift cannot do: fork, and everything between fork and exec.
//
// It has three parts: starting a program as the leader of its own session (spawn.c), reaping it (reap.c), and the
// guardian, a process that outlives ours only to kill the groups that we started (guardian.c). After a fork in a
// threaded process only async-signal-safe calls are allowed: no malloc, no locks, no Swift. A function that returns int
// returns 0 or an errno value, except sw_bytes_waiting. Linux 5.11 or later; an older kernel needs pidfd_open (5.3),
// and leaves descriptors from 65536 on open in children.

#ifndef CCHILDPROCESS_H
#define CCHILDPROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>  // not in the Glibc module
#include <sys/eventfd.h>
#include <sys/types.h>

// --- Descriptors. All are close-on-exec and at least 3: a daemon may have closed 0, 1 and 2.

int sw_pipe(int *_Nonnull read_fd, int *_Nonnull write_fd);
int sw_open_null(int *_Nonnull fd);
int sw_pidfd_open(pid_t pid, int *_Nonnull fd);
/// Replaces a descriptor below 3 by a close-on-exec copy at 3 or above. Closes `fd` on failure.
int sw_above_stdio(int *_Nonnull fd);
int sw_set_nonblocking(int fd);
/// Returns the number of bytes that can be read from `fd` at once; 0 on failure.
int sw_bytes_waiting(int fd);

/// Names the calling thread, as `top -H` shows it; at most 15 bytes.
void sw_name_thread(const char *_Nonnull name);

// --- Starting a program.

/// The step that failed between fork and exec.
enum sw_stage {
    SW_STAGE_GROUP = 1,      // setsid
    SW_STAGE_GUARDIAN = 2,   // the guardian is dead
    SW_STAGE_STDIO = 3,      // dup2, or an inherited descriptor
    SW_STAGE_DIRECTORY = 4,  // chdir
    SW_STAGE_PROGRAM = 5,    // execve
};

/// What the child writes to its status pipe if it fails. A successful exec closes the pipe without a byte.
struct sw_spawn_failure {
    int32_t stage;
    int32_t error;
};

struct sw_spawn_request {
    const char *const _Nullable *_Nonnull candidates;  // paths to try in order, NULL-terminated
    char *const _Nullable *_Nonnull argv;              // NULL-terminated
    char *const _Nullable *_Nonnull envp;              // NULL-terminated
    const char *_Nullable directory;
    int stdin_fd;
    int stdout_fd;
    int stderr_fd;
    int guardian_fd;
    int status_fd;  // the write end of the status pipe; the child closes it with a successful exec
    pid_t parent;   // our process
    const int *_Nullable inherited;  // descriptors that stay open, under the same numbers
    size_t inherited_count;
    uint64_t open_files;  // the child's soft limit on open files; 0: ours
};

/// Forks a child that leads its own session and group, registers with the guardian, and then executes the first of the
/// candidates that can be executed. Call it on a thread that lives as long as our process: the child is killed when the
/// thread ends.
int sw_spawn(const struct sw_spawn_request *_Nonnull request, pid_t *_Nonnull pid);

// --- The end of a program.

struct sw_exit {
    int32_t exit_code;  // -1 if a signal ended it
    int32_t signal;     // 0 if it exited
    int64_t user_us;
    int64_t system_us;
    int64_t max_resident_bytes;
};

/// Waits for the end of `pid` and reaps it, and no other child.
int sw_reap(pid_t pid, struct sw_exit *_Nonnull result);

// --- Orphans.

/// Makes our process the parent of every descendant that loses its parent, as init is.
int sw_become_subreaper(void);
/// Reaps `pid` if it is a child of ours that has ended. Does nothing otherwise.
void sw_reap_if_ended(pid_t pid);

// --- The guardian.

/// Limit on the groups of one guardian: its table is static, because it may not allocate.
#define SW_GUARDIAN_CAPACITY 32768

/// Forks a guardian of `groups`, at most ``SW_GUARDIAN_CAPACITY``, which holds the far end of `socket`. When the near
/// end is closed everywhere, because our process died for any reason, the guardian sends SIGKILL to each group that it
/// guards and exits.
int sw_guardian_start(const int32_t *_Nullable groups, size_t count, pid_t *_Nonnull pid, int *_Nonnull socket);
/// Positive: guard this group. Negative: forget it. 0: only tests whether the guardian lives. Returns EPIPE if it is
/// dead, ECONNRESET if it died with messages unread, and EAGAIN if it has not read for a quarter of a second: it is
/// stopped.
int sw_guardian_tell(int socket, int32_t group);
/// Reaps a guardian that is dead or dying.
void sw_guardian_bury(pid_t pid);

#endif

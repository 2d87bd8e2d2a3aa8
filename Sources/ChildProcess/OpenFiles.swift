import Glibc
import Synchronization

/// The limit on the open files of this process.
public enum OpenFiles {
    /// The soft limit before it was raised; nil: it was not.
    private static let first = Mutex<rlim_t?>(nil)

    /// Raises the soft limit to the hard one. The usual soft limit of 1,024 is for programs that use `select`, and a
    /// server with as many clients needs more. Children get the soft limit that this process began with: a task's
    /// program may be one of those that use `select`, or that close every descriptor up to the limit.
    ///
    /// At the limit this process dies: the thread pool of libdispatch opens files of /proc, and traps if it cannot.
    /// - Returns: the limit as it is now.
    @discardableResult
    public static func raiseLimit() -> Int {
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        var limit = rlimit()
        // Both calls fail only for arguments that are wrong, or if another thread lowers the hard limit meanwhile.
        guard getrlimit(files, &limit) == 0 else { return 1024 }
        if limit.rlim_cur < limit.rlim_max {
            let before = limit.rlim_cur
            limit.rlim_cur = limit.rlim_max
            if setrlimit(files, &limit) == 0 {
                first.withLock { $0 = $0 ?? before }
            } else {
                limit.rlim_cur = before
            }
        }
        return Int(clamping: limit.rlim_cur)
    }

    /// The soft limit for children; 0: that of this process.
    static var limitOfChildren: UInt64 { UInt64(first.withLock { $0 } ?? 0) }
}

import Glibc

/// Exclusive use of a data directory: an flock on `<directory>/lock`, which contains our process ID.
///
/// The lock belongs to the open file, and redis-server inherits the descriptor: the lock is free only when our process
/// and redis-server are both gone. After a crash of our process, the next start therefore waits until the guardian has
/// killed the old redis-server. The file is never deleted: a lock on a deleted file would exclude no other process.
final class DirectoryLock: Sendable {
    let descriptor: Int32

    /// How long to wait for a redis-server whose parent is dead; longer than the guardian needs to kill it.
    private static let patience: Duration = .seconds(10)

    private init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        // An empty file names no holder. No explicit unlock: that would release the lock of a redis-server still
        // running.
        _ = ftruncate(descriptor, 0)
        close(descriptor)
    }

    /// Locks the directory. Waits if the holder named in the file is dead.
    /// - Throws: ``PrivateRedisError``, or `CancellationError`.
    static func acquire(directory: String) async throws -> DirectoryLock {
        let path = directory + "/lock"
        let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard opened >= 0 else { throw PrivateRedisError.directory(path: directory, reason: "lock: \(errnoText())") }
        // At least 3: 0, 1 and 2 are the child's standard streams.
        let descriptor = fcntl(opened, F_DUPFD_CLOEXEC, 3)
        let reason = errnoText()
        close(opened)
        guard descriptor >= 0 else { throw PrivateRedisError.directory(path: directory, reason: "lock: \(reason)") }

        let deadline = ContinuousClock.now + patience
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            let holder = processID(in: descriptor)
            let failure: PrivateRedisError? =
                if code != EWOULDBLOCK && code != EINTR {
                    .directory(path: directory, reason: "flock: \(errnoText(code))")
                } else if let holder, isAlive(holder) {
                    .locked(path: directory, processID: holder)
                } else if ContinuousClock.now >= deadline {
                    .locked(path: directory, processID: holder)
                } else {
                    nil
                }
            do {
                if let failure { throw failure }
                try await Task.sleep(for: .milliseconds(20))
            } catch {
                close(descriptor)
                throw error
            }
        }
        let text = "\(getpid())\n"
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, text, text.utf8.count, 0) == text.utf8.count else {
            let reason = errnoText()
            close(descriptor)
            throw PrivateRedisError.directory(path: directory, reason: "lock: \(reason)")
        }
        return DirectoryLock(descriptor: descriptor)
    }

    /// Returns the process ID that the lock file contains; nil if there is none.
    private static func processID(in descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        let digits = bytes.prefix(count).prefix { $0 != UInt8(ascii: "\n") }
        return Int32(String(decoding: digits, as: UTF8.self)).flatMap { $0 > 0 ? $0 : nil }
    }

    /// Whether the process runs. A zombie counts as dead: its descriptors are closed.
    private static func isAlive(_ processID: Int32) -> Bool {
        guard kill(processID, 0) == 0 || errno == EPERM else { return false }
        guard let stat = readFile("/proc/\(processID)/stat", limit: 512), let end = stat.lastIndex(of: ")") else {
            return true
        }
        return !stat[end...].dropFirst().hasPrefix(" Z")
    }
}

/// Returns the text of an errno value.
func errnoText(_ code: Int32 = errno) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Returns the last `limit` bytes of a file; nil if it cannot be read.
func readFile(_ path: String, limit: Int) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    let size = lseek(descriptor, 0, SEEK_END)
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = pread(descriptor, &bytes, limit, max(0, size - limit))
    return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
}

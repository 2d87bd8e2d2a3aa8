import Dispatch
import Glibc
import Switchyard
import Synchronization

/// The whole output of one attempt, stdout and stderr in their order of arrival, in a file of its own.
///
/// A failed write, such as to a full disk, is told once. The file then keeps what it has, and the attempt goes on.
final class LogFile: Sendable {
    /// Why there is no file.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let path: String
    private let descriptor: Int32
    private let hasFailed = Mutex(false)
    /// A disk may block for long, which a Swift task must not.
    private let queue = DispatchQueue(label: "switchyard.log-file")

    /// Limit on the files of attempts with the same task id and number: of queues that share a directory, or of a queue
    /// whose data was lost.
    private static let maxNames = 1000

    /// A limit on the size of files (`ulimit -f`) is then an error of the write, as a full disk is, and no signal.
    private static let ignoresSizeSignal: Void = { _ = signal(SIGXFSZ, SIG_IGN) }()

    /// Creates the file `<task>.<attempt>.log`, or, if there is one, `<task>.<attempt>.2.log` and so on.
    /// - Throws: ``Failure``.
    init(in directory: String, taskID: String, attempt: Int) throws(Failure) {
        _ = Self.ignoresSizeSignal
        // An id has only these characters; whatever else may come from Redis stays in the directory too.
        let safe = taskID.utf8.prefix(200).map { Name.isAllowed($0) ? $0 : UInt8(ascii: "_") }
        let stem = "\(directory)/\(String(decoding: safe, as: UTF8.self)).\(attempt)"
        for number in 1...Self.maxNames {
            let path = stem + (number == 1 ? "" : ".\(number)") + ".log"
            // O_EXCL follows no link.
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            if descriptor >= 0 {
                self.path = path
                self.descriptor = descriptor
                return
            }
            guard errno == EEXIST else {
                throw Failure(description: "cannot create \(path): \(String(cString: strerror(errno)))")
            }
        }
        throw Failure(description: "cannot create \(stem).log: \(Self.maxNames) files with this name exist")
    }

    deinit { close(descriptor) }

    /// Appends bytes. Returns what went wrong, the first time that something does.
    func write(_ bytes: [UInt8]) async -> String? {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: self.writeNow(bytes)) }
        }
    }

    private func writeNow(_ bytes: [UInt8]) -> String? {
        if hasFailed.withLock({ $0 }) { return nil }
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(descriptor, $0.baseAddress.map { $0 + written }, $0.count - written)
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 {
                let code = errno
                hasFailed.withLock { $0 = true }
                return "cannot write to \(path): \(String(cString: strerror(code)))"
            }
            written += count
        }
        return nil
    }
}

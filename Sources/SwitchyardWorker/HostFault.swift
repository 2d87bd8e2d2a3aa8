import ChildProcess
import Glibc

extension ChildProcessError {
    /// Whether the host, and not the task, is why the program did not start: another host may run it.
    /// - Parameter path: the PATH in which the program was looked for if it is the worker's own; nil if it is the
    ///   task's.
    func isFaultOfHost(path: String?) -> Bool {
        switch reason {
        case .system, .tooMany: return true
        case .invalidCommand: return false
        case .program, .workingDirectory:
            if Self.exhausted.contains(code) { return true }
            guard reason == .program, code == ENOENT, !program.contains("/"), let path else { return false }
            return !Self.namesADirectory(path)
        }
    }

    /// What a host has too little of: descriptors, memory, processes; and a broken disk.
    private static let exhausted: Set = [EMFILE, ENFILE, ENOMEM, EAGAIN, EIO]

    /// Whether at least one entry of a PATH is a directory.
    private static func namesADirectory(_ path: String) -> Bool {
        path.split(separator: ":").contains { entry in
            var status = stat()
            return stat(String(entry), &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        }
    }
}

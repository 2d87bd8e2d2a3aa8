import Glibc

/// The file `worker` in the directory of an attempt. It says which worker made the directory, and whether the process
/// that did still runs.
///
/// The file has the worker's id, and the process holds a lock on it, which the kernel releases when the process ends,
/// however it ends. A directory whose file has a worker's id and no lock was left by a process of that worker that was
/// killed. A directory that is kept for people has no such file.
final class AttemptOwner: Sendable {
    private static let name = "worker"
    /// A worker's id has at most 200 bytes.
    private static let maxBytes = 256

    private let descriptor: Int32

    private init(descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    /// Creates the file, locked. Returns nil, with errno set, if it cannot be written.
    static func create(in directory: String, workerID: String) -> AttemptOwner? {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
        let descriptor = open(directory + "/" + name, flags, 0o600)
        guard descriptor >= 0 else { return nil }
        let owner = AttemptOwner(descriptor: descriptor)
        let count = workerID.utf8.count
        // Locked before it has the id: a start that finds it unlocked finds no id either, and lets go of it at once.
        guard flock(descriptor, LOCK_EX) == 0, write(descriptor, workerID, count) == count else { return nil }
        return owner
    }

    /// Locks the file of a directory that a killed process of the worker left. Returns nil for any other directory.
    static func abandoned(in directory: String, workerID: String) -> AttemptOwner? {
        let descriptor = open(directory + "/" + name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return nil }
        let owner = AttemptOwner(descriptor: descriptor)
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_uid == geteuid(), status.st_mode & S_IFMT == S_IFREG,
            flock(descriptor, LOCK_EX | LOCK_NB) == 0
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: maxBytes)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0, bytes.prefix(count).elementsEqual(workerID.utf8) else { return nil }
        return owner
    }

    /// Removes the file: the directory belongs to no worker any more. Best effort, for a later start would only remove
    /// what was to be kept.
    static func remove(in directory: String) { unlink(directory + "/" + name) }
}

import Dispatch
import Foundation
import Logging

/// The directory of one attempt: an empty working directory, and one for temporary files. No other attempt has it.
struct AttemptDirectory {
    let path: String
    private let owner: AttemptOwner
    var work: String { path + "/work" }
    var temporary: String { path + "/tmp" }

    /// Why there is no directory to work in.
    struct Failure: Error, CustomStringConvertible {
        let description: String
        /// The task named a directory that it may not have. Otherwise the host is at fault.
        var isOfTask = false
    }

    /// Written and removed, to see that the disk is neither full nor read-only.
    private static let probe = Data(count: 4096)

    /// Creates the directory.
    /// - Throws: ``Failure``; then nothing is left.
    init(in workspace: String, taskID: String, attempt: Int, workerID: String) throws(Failure) {
        // A task's id has at most 200 characters that are safe in a path. Its suffix makes the name unique: an earlier
        // directory of the attempt may have been kept.
        var template = Array("\(workspace)/\(taskID).\(attempt).XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw Failure(description: "cannot create a directory in \(workspace): \(String(cString: strerror(errno)))")
        }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let owner = AttemptOwner.create(in: path, workerID: workerID) else {
            let reason = String(cString: strerror(errno))
            // The failure is reported; an empty directory may be left.
            try? FileManager.default.removeItem(atPath: path)
            throw Failure(description: "cannot write to \(path): \(reason)")
        }
        self.owner = owner
        do {
            for directory in [work, temporary] {
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
            }
            let probe = URL(filePath: path + "/probe")
            try Self.probe.write(to: probe)
            try FileManager.default.removeItem(at: probe)
        } catch {
            // The failure is reported; an empty directory may be left.
            try? FileManager.default.removeItem(atPath: path)
            throw Failure(description: "cannot write to \(path): \(error.localizedDescription)")
        }
    }

    /// Returns the working directory for a task's `cwd`. A relative one is below this directory, and is created.
    /// - Throws: ``Failure``.
    func workingDirectory(_ cwd: String?) throws(Failure) -> String {
        guard let cwd else { return work }
        if cwd.hasPrefix("/") { return cwd }
        guard !cwd.split(separator: "/").contains("..") else {
            throw Failure(
                description: "cwd: expected a directory below that of the attempt, found \(cwd)", isOfTask: true)
        }
        let directory = work + "/" + cwd
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        } catch {
            throw Failure(description: "cannot create \(directory): \(error.localizedDescription)")
        }
        return directory
    }

    /// Leaves the directory to people: no later start of the worker removes it.
    func keep() { AttemptOwner.remove(in: path) }

    /// Removes the directories in `workspace` that processes of the worker left when they were killed, on a thread that
    /// may block.
    static func removeAbandoned(in workspace: String, workerID: String, logger: Logger) async {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                // If it cannot be listed, the first attempt fails with the reason.
                let names = (try? FileManager.default.contentsOfDirectory(atPath: workspace)) ?? []
                var removed = 0
                for path in names.map({ workspace + "/" + $0 }) {
                    guard let owner = AttemptOwner.abandoned(in: path, workerID: workerID) else { continue }
                    do {
                        try withExtendedLifetime(owner) { try remove(path) }
                        removed += 1
                    } catch {
                        logger.warning(
                            "cannot remove the directory of an attempt of a killed worker",
                            metadata: ["path": "\(path)", "error": "\(error.localizedDescription)"])
                    }
                }
                if removed > 0 {
                    logger.notice(
                        "removed the directories of attempts of a killed worker", metadata: ["count": "\(removed)"])
                }
                continuation.resume()
            }
        }
    }

    /// Removes the directory with its contents, on a thread that may block. Returns what went wrong, or nil.
    func remove() async -> String? {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                do {
                    try removeNow()
                    continuation.resume(returning: nil)
                } catch {
                    continuation.resume(returning: error.localizedDescription)
                }
            }
        }
    }

    private func removeNow() throws { try Self.remove(path) }

    /// Removes a directory, including read-only directories in it.
    static func remove(_ path: String) throws {
        let files = FileManager.default
        // It often works at once. If not, a directory may be read-only (a module cache).
        if (try? files.removeItem(atPath: path)) != nil { return }
        for name in files.enumerator(atPath: path) ?? .init() {
            guard let name = name as? String else { continue }
            let below = path + "/" + name
            var status = stat()
            // What cannot be changed fails again below, and is reported.
            if lstat(below, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { _ = chmod(below, 0o700) }
        }
        try files.removeItem(atPath: path)
    }
}

import FoundationEssentials
import Glibc

/// The directory of one private redis-server, and the place of its socket.
///
/// Owns what it made: a temporary directory and a short directory for the socket are removed by `remove`. A user's
/// directory is made if needed, set to 0700, and stays. After a crash of ours the short directory of that time is found
/// through the link `<directory>/redis.sock` and removed by the next start.
struct DataDirectory: Sendable {
    let path: String
    let isTemporary: Bool
    let lock: DirectoryLock
    let socketPath: String
    private let socketDirectory: String?

    var configPath: String { path + "/redis.conf" }
    var logPath: String { path + "/redis.log" }

    /// sockaddr_un has room for 108 bytes, with the NUL.
    private static let longestSocketPath = 107
    private static let temporaryPrefix = "/tmp/switchyard-redis-"
    private static let socketPrefix = "/tmp/switchyard-socket-"

    static func prepare(_ given: String?) async throws -> DataDirectory {
        if given == nil { sweep() }
        let path = try given.map { try make($0) } ?? temporary(temporaryPrefix)
        do {
            let lock = try await DirectoryLock.acquire(directory: path)
            return try DataDirectory(path: path, isTemporary: given == nil, lock: lock)
        } catch {
            if given == nil { removeTree(path) }
            throw error
        }
    }

    private init(path: String, isTemporary: Bool, lock: DirectoryLock) throws {
        self.path = path
        self.isTemporary = isTemporary
        self.lock = lock
        let link = path + "/redis.sock"
        Self.removeOldSocket(link)
        if link.utf8.count <= Self.longestSocketPath && Self.isPlainInURL(link) {
            socketPath = link
            socketDirectory = nil
        } else {
            let short = try Self.temporary(Self.socketPrefix)
            socketDirectory = short
            socketPath = short + "/redis.sock"
            guard symlink(socketPath, link) == 0 else {
                let reason = errnoText()
                rmdir(short)
                throw PrivateRedisError.directory(path: path, reason: "redis.sock: \(reason)")
            }
        }
    }

    /// The lock is released with the last reference to it, after this.
    func remove() {
        unlink(socketPath)
        if let socketDirectory {
            rmdir(socketDirectory)
            unlink(path + "/redis.sock")
        }
        if isTemporary { Self.removeTree(path) }
    }

    /// What redis-server last logged.
    func logTail() -> String {
        let lines = readFile(logPath, limit: 4096)?.split(separator: "\n").suffix(8) ?? []
        return lines.joined(separator: "\n")
    }

    /// The log is set aside when it is large; one old log is kept.
    func rotateLog() {
        var status = stat()
        guard stat(logPath, &status) == 0, status.st_size > 8 << 20 else { return }
        rename(logPath, logPath + ".1")
    }

    /// Makes the directory (0700) with its parents, and returns its absolute path.
    private static func make(_ given: String) throws -> String {
        func failure(_ reason: String) -> PrivateRedisError { .directory(path: given, reason: reason) }
        guard !given.isEmpty, !given.utf8.contains(0) else { throw failure("not a path") }
        let isNew = !FileManager.default.fileExists(atPath: given)
        if isNew {
            do {
                try FileManager.default.createDirectory(
                    atPath: given, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            } catch {
                throw failure("\(error)")
            }
        }
        guard let resolved = realpath(given, nil) else { throw failure(errnoText()) }
        defer { free(resolved) }
        let path = String(cString: resolved)

        // It will hold every task's arguments, so nobody else may read it. But only a directory that is ours is made
        // private: `--data /tmp` must not lock everybody out of /tmp.
        var status = stat()
        guard stat(path, &status) == 0 else { throw failure(errnoText()) }
        guard status.st_uid == geteuid() else { throw failure("belongs to another user") }
        if status.st_mode & 0o777 == 0o700 { return path }
        do {
            let content = try FileManager.default.contentsOfDirectory(atPath: path)
            guard content.isEmpty || content.contains("lock") && content.contains("redis.conf") else {
                throw failure("holds other files and is not private; choose another one, or give it mode 0700")
            }
        } catch let error where !(error is PrivateRedisError) {
            throw failure("\(error)")
        }
        guard chmod(path, 0o700) == 0 else { throw failure("mode 0700: \(errnoText())") }
        return path
    }

    private static func temporary(_ prefix: String) throws -> String {
        var template = Array((prefix + "XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            throw PrivateRedisError.directory(path: prefix + "XXXXXX", reason: errnoText())
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// We hold the lock, so a socket that lies here is dead.
    private static func removeOldSocket(_ link: String) {
        var target = [CChar](repeating: 0, count: 256)
        let count = readlink(link, &target, target.count)
        if count > 0 {
            let old = String(decoding: target.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if old.hasPrefix(socketPrefix), old.hasSuffix("/redis.sock"), !old.contains("..") {
                unlink(old)
                rmdir(String(old.dropLast("/redis.sock".count)))
            }
        }
        unlink(link)
    }

    /// Removes temporary directories of ours whose owner was killed and could not: their lock is free.
    private static func sweep() {
        // A /tmp that cannot be read holds nothing that we could remove; the server starts all the same.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/tmp")) ?? []
        for path in names.map({ "/tmp/" + $0 }) where path.hasPrefix(temporaryPrefix) {
            var status = stat()
            // One that is just being made has a young lock, perhaps not yet taken.
            guard lstat(path + "/lock", &status) == 0, status.st_uid == geteuid(), status.st_mode & S_IFMT == S_IFREG,
                status.st_mtim.tv_sec < time(nil) - 60
            else { continue }
            let descriptor = open(path + "/lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW)
            guard descriptor >= 0 else { continue }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
                removeOldSocket(path + "/redis.sock")
                removeTree(path)
            }
            close(descriptor)
        }
    }

    private static func removeTree(_ path: String) {
        // Best effort: a rest in /tmp harms nobody, and there is nobody to tell at the end.
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Whether the path reads the same in a URL, with nothing to escape.
    private static func isPlainInURL(_ path: String) -> Bool {
        path.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "/-._~+=,".utf8.contains(byte)
            }
        }
    }
}

import FoundationEssentials
import Glibc

/// The data directory of one private redis-server, and the path of its socket.
///
/// If the socket's path in the directory is too long, the socket is in a short directory in `/tmp`, and
/// `<directory>/redis.sock` is a link to it. `remove` removes that short directory, and the data directory if it is
/// temporary. A user's directory is created if needed, set to mode 0700, and kept. It must be empty or have our
/// redis.conf: a foreign append-only file is never loaded, and no foreign file is changed. If our process crashes, the
/// next start finds the old short directory through the link and removes it.
struct DataDirectory: Sendable {
    let path: String
    let isTemporary: Bool
    let lock: DirectoryLock
    let socketPath: String
    private let socketDirectory: String?

    var configPath: String { path + "/redis.conf" }
    var logPath: String { path + "/redis.log" }

    /// sockaddr_un has room for 108 bytes, including the NUL.
    private static let longestSocketPath = 107
    private static let temporaryPrefix = "/tmp/switchyard-redis-"
    private static let socketPrefix = "/tmp/switchyard-socket-"

    /// Creates the directory if needed and locks it; nil creates a temporary one.
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

    /// Removes the socket and everything temporary. The lock is released later, with the last reference to it.
    func remove() {
        unlink(socketPath)
        if let socketDirectory {
            rmdir(socketDirectory)
            unlink(path + "/redis.sock")
        }
        if isTemporary { Self.removeTree(path) }
    }

    /// Returns the last lines of the log of redis-server.
    func logTail() -> String {
        let lines = readFile(logPath, limit: 4096)?.split(separator: "\n").suffix(8) ?? []
        return lines.joined(separator: "\n")
    }

    /// Renames the log to `redis.log.1` if it is larger than 8 MiB; one old log is kept.
    func rotateLog() {
        var status = stat()
        guard stat(logPath, &status) == 0, status.st_size > 8 << 20 else { return }
        rename(logPath, logPath + ".1")
    }

    /// Creates the directory (mode 0700) and its parents if needed, and returns its absolute path.
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

        var status = stat()
        guard stat(path, &status) == 0 else { throw failure(errnoText()) }
        guard status.st_uid == geteuid() else { throw failure("belongs to another user") }
        let content: Set<String>
        do {
            content = Set(try FileManager.default.contentsOfDirectory(atPath: path))
        } catch {
            throw failure("\(error)")
        }
        guard RedisConfiguration.isOurs(path + "/redis.conf") || content.isSubset(of: leftByAFirstStart) else {
            let other = content.subtracting(leftByAFirstStart).min() ?? ""
            throw failure(
                """
                holds other files (\(other)), and no redis.conf written by Switchyard. Choose another directory, or \
                an empty one. If it is a copy of a data directory of Switchyard, copy its redis.conf too
                """)
        }
        // Other users must not read the arguments of tasks.
        guard status.st_mode & 0o777 != 0o700 else { return path }
        guard chmod(path, 0o700) == 0 else { throw failure("mode 0700: \(errnoText())") }
        return path
    }

    /// What a first start that was killed may leave before there is a redis.conf: no data.
    private static let leftByAFirstStart: Set = ["lock", "redis.sock", RedisConfiguration.newName]

    /// Creates a directory with a unique name, and returns its path.
    private static func temporary(_ prefix: String) throws -> String {
        var template = Array((prefix + "XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            throw PrivateRedisError.directory(path: prefix + "XXXXXX", reason: errnoText())
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Removes the socket of an earlier run. We hold the lock, so no redis-server uses it.
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

    /// Removes temporary directories that a killed process left behind: their lock is free.
    private static func sweep() {
        // If /tmp cannot be read, nothing is removed; the server starts nevertheless.
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/tmp")) ?? []
        for path in names.map({ "/tmp/" + $0 }) where path.hasPrefix(temporaryPrefix) {
            var status = stat()
            // A directory that is being created has a new lock file, perhaps not locked yet.
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
        // Best effort: files left in /tmp do no harm, and no caller could act on the error.
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Whether the path needs no escaping in a URL.
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

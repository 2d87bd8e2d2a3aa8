import Glibc

/// Writes redis.conf, which a person can read and can start redis-server with. Its first line marks the directory as
/// ours.
enum RedisConfiguration {
    /// The name of the file until it is complete.
    static let newName = "redis.conf.new"
    private static let firstLine = "# Written by Switchyard at each start"

    /// Whether Switchyard, in this version or an earlier one, has written the file.
    static func isOurs(_ path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: firstLine.utf8.count)
        return read(descriptor, &bytes, bytes.count) == bytes.count && bytes.elementsEqual(firstLine.utf8)
    }

    /// Replaces the file as a whole, so that a crash or a full disk leaves the former one.
    static func write(_ directory: DataDirectory, options: PrivateRedisServer.Options) throws {
        let text = text(directory, options: options)
        let new = directory.path + "/" + newName
        func failure() -> PrivateRedisError {
            .directory(path: directory.path, reason: "redis.conf: \(errnoText())")
        }
        let descriptor = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw failure() }
        defer { close(descriptor) }
        let count = text.utf8.count
        guard Glibc.write(descriptor, text, count) == count, fsync(descriptor) == 0,
            rename(new, directory.configPath) == 0
        else { throw failure() }
    }

    static func text(_ directory: DataDirectory, options: PrivateRedisServer.Options) -> String {
        let persistence =
            options.ephemeral
            ? """
            # Ephemeral: nothing is written to disk; all data is lost when redis-server ends.
            appendonly no
            """
            : """
            # Every write is appended to a file before Redis replies. \(options.appendfsync.explanation)
            appendonly yes
            appendfsync \(options.appendfsync.rawValue)
            """
        return """
            \(firstLine): changes to this file are lost. Use extra arguments instead.
            # It also marks this directory as Switchyard's: without it, no start uses the directory.

            # Only this user can connect, and only through this socket. No TCP.
            port 0
            unixsocket \(quoted(directory.socketPath))
            unixsocketperm 700

            # A child process of Switchyard, which ends with it: no daemon, no pid file.
            daemonize no
            dir \(quoted(directory.path))
            logfile \(quoted(directory.logPath))

            \(persistence)
            # No snapshots.
            save ""

            # Tasks are never evicted: when memory is exhausted, writes fail with an error.
            maxmemory-policy noeviction

            # A task is a hash with a payload of a few hundred bytes; as a listpack it needs half the memory.
            hash-max-listpack-value 4096

            # Tests use DEBUG (sleep, reload) over the socket.
            enable-debug-command local

            """
    }

    /// Quotes a text for redis.conf. Redis reads backslash escapes in double quotes, so any path can be written.
    static func quoted(_ text: String) -> String {
        let escaped = text.utf8.map { byte -> String in
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): "\\" + String(UnicodeScalar(byte))
            case 0x20...0x7e: String(UnicodeScalar(byte))
            default: "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}

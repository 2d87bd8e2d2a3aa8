import Glibc

/// Writes redis.conf: a file that a person can read, and start redis-server with by hand.
enum RedisConfiguration {
    static func write(_ directory: DataDirectory, options: PrivateRedisServer.Options) throws {
        let text = text(directory, options: options)
        let descriptor = open(directory.configPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw PrivateRedisError.directory(path: directory.path, reason: "redis.conf: \(errnoText())")
        }
        defer { close(descriptor) }
        let count = text.utf8.count
        guard Glibc.write(descriptor, text, count) == count else {
            throw PrivateRedisError.directory(path: directory.path, reason: "redis.conf: \(errnoText())")
        }
    }

    static func text(_ directory: DataDirectory, options: PrivateRedisServer.Options) -> String {
        let persistence =
            options.ephemeral
            ? """
            # Ephemeral: nothing is written, everything is lost at the end.
            appendonly no
            """
            : """
            # Every write is appended to a file before it is answered. \(options.appendfsync.explanation)
            appendonly yes
            appendfsync \(options.appendfsync.rawValue)
            """
        return """
            # Written by Switchyard at each start; changes here are lost. Give extra arguments instead.

            # Reached only through this socket, by this user alone. No TCP.
            port 0
            unixsocket \(quoted(directory.socketPath))
            unixsocketperm 700

            # Our child, and gone when we are: no daemon, no pid file.
            daemonize no
            dir \(quoted(directory.path))
            logfile \(quoted(directory.logPath))

            \(persistence)
            # No snapshots beside it.
            save ""

            # A task is never evicted: when memory is exhausted, writes fail and say so.
            maxmemory-policy noeviction

            # A task is a hash with a payload of some hundred bytes; packed, it costs half the memory.
            hash-max-listpack-value 4096

            # Tests use DEBUG (sleep, reload) over the socket.
            enable-debug-command local

            """
    }

    /// Redis reads double quotes with backslash escapes, so any path can be written.
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

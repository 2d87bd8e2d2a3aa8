import Glibc

/// Tests whether a redis-server on a Unix socket replies: it connects, sends PING and reads one line.
///
/// It needs no Redis client and never blocks a thread: reading is retried until `timeout`, and a failure to connect or
/// send is a result.
enum RedisProbe {
    /// The result of one PING.
    enum Answer: Sendable, Equatable {
        /// It serves.
        case pong
        /// It is loading its append-only file.
        case loading
        /// Another reply, or why there was none.
        case other(String)
    }

    /// Sends one PING.
    /// - Throws: only `CancellationError`.
    static func ping(socketPath: String, timeout: Duration = .seconds(2)) async throws -> Answer {
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return .other("socket: \(errnoText())") }
        defer { close(descriptor) }
        let deadline = ContinuousClock.now + timeout

        guard let code = connect(descriptor, to: socketPath) else { return .other("the socket path is too long") }
        guard code == 0 else { return .other("connect: \(errnoText(code))") }
        let request = "PING\r\n"
        guard send(descriptor, request, request.utf8.count, Int32(MSG_NOSIGNAL)) == request.utf8.count else {
            return .other("send: \(errnoText())")
        }

        var line: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 256)
        while !line.contains(UInt8(ascii: "\n")), line.count < 1024 {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count > 0 {
                line += buffer.prefix(count)
            } else if count == 0 {
                return .other("connection closed")
            } else if errno != EAGAIN && errno != EINTR {
                return .other("recv: \(errnoText())")
            } else if ContinuousClock.now >= deadline {
                return .other("no reply")
            } else {
                try await Task.sleep(for: .milliseconds(2))
            }
        }
        let text = String(decoding: line.prefix { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
        if text == "+PONG" { return .pong }
        return text.hasPrefix("-LOADING") ? .loading : .other(text)
    }

    /// Returns nil if the path is too long, otherwise 0 or an errno value.
    private static func connect(_ descriptor: Int32, to path: String) -> Int32? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
            guard path.utf8.count < room.count else { return false }
            room.copyBytes(from: path.utf8)
            return true
        }
        guard fits else { return nil }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0 ? 0 : errno
            }
        }
    }
}

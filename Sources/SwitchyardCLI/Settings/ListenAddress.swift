import Switchyard

/// The address on which HTTP listens: `host:port`, `[::1]:port` or `:port` (loopback).
struct ListenAddress: Sendable, Equatable {
    var host: String
    var port: Int

    /// - Throws: ``Failure`` for an invalid address, and, unless `allowPublic`, for one that other machines may reach:
    ///   there is no authentication, so anyone who reaches the port can run commands.
    init(_ text: String, allowPublic: Bool) throws(Failure) {
        let colon = text.lastIndex(of: ":")
        guard let colon, let port = Int(text[text.index(after: colon)...]), (0...65535).contains(port) else {
            throw Failure(.usage, "listen: expected host:port, found \(Name.shown(text))")
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw Failure(.usage, "listen: an IPv6 address needs brackets, [::1]:8080, found \(Name.shown(text))")
        }
        self.host = host.isEmpty ? "127.0.0.1" : host
        self.port = port
        guard allowPublic || isLoopback else {
            throw Failure(
                .usage,
                """
                listen: other machines may reach \(text), and there is no authentication: anyone who reaches it can \
                run commands on the workers. Listen on 127.0.0.1, or accept that with --insecure-public \
                (SWITCHYARD_INSECURE_PUBLIC=1), for example inside a container.
                """)
        }
    }

    var isLoopback: Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    func url(port: Int) -> String {
        let shown = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host
        return "http://\(shown.contains(":") ? "[\(shown)]" : shown):\(port)"
    }
}

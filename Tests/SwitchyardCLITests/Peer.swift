import Foundation
import Glibc
import Synchronization

/// A bare TCP connection to a server on this machine: a client that does as it likes.
final class Peer {
    private let socket: Int32

    init(port: Int) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    }

    deinit { close(socket) }

    /// Sends a request without a body.
    func ask(_ method: String = "GET", _ path: String) {
        let text = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n\r\n"
        _ = text.withCString { send(socket, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
    }

    /// What arrives within `time`, up to the first 64 KiB; "" if the connection is closed, nil if nothing arrives.
    func receive(within time: Duration = .zero) -> String? {
        var poller = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&poller, 1, Int32(time / .milliseconds(1))) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(socket, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    /// Sends a request on a connection of its own, and returns the beginning of the response.
    static func get(_ path: String, port: Int, within time: Duration = .seconds(5)) throws -> String? {
        let peer = try Peer(port: port)
        peer.ask("GET", path)
        return peer.receive(within: time)
    }
}

/// A server that reads once from a connection, writes a response, and closes. It has a response for each of the first
/// connections; the last one is for all later ones too.
final class CannedServer: Sendable {
    let port: Int
    private let socket: Int32
    private let received = Mutex<[String]>([])

    /// What was read from each connection.
    var requests: [String] { received.withLock { $0 } }
    var url: String { "http://127.0.0.1:\(port)" }

    convenience init(_ response: String) throws { try self.init([response]) }

    /// - Parameter isOpen: the connections stay open, silent.
    init(_ responses: [String], isOpen: Bool = false) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let socket = socket
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, size) == 0 && listen(socket, 16) == 0 && getsockname(socket, $0, &size) == 0
            }
        }
        guard bound else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        port = Int(in_port_t(bigEndian: address.sin_port))
        Thread.detachNewThread { [weak self] in
            var left = responses[...]
            while true {
                let connection = accept(socket, nil, nil)
                guard connection >= 0 else { return }
                var bytes = [UInt8](repeating: 0, count: 65536)
                let count = recv(connection, &bytes, bytes.count, 0)
                let request = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
                self?.received.withLock { $0.append(request) }
                let response = left.first ?? ""
                if left.count > 1 { left = left.dropFirst() }
                _ = response.withCString { send(connection, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
                if !isOpen { close(connection) }
            }
        }
    }

    /// Ends the server, and frees its port.
    func stop() {
        shutdown(socket, Int32(SHUT_RDWR))
        close(socket)
    }
}

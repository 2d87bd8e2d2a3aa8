import AsyncHTTPClient
import Foundation
import JSON
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A client of the server's HTTP interface. It throws a ``Failure`` with the matching exit code for every response that
/// is not a 2xx and for a server that it cannot reach.
struct APIClient: Sendable {
    /// Without a trailing slash.
    private let server: String
    /// The server for messages, without a login.
    let shown: String

    /// - Throws: ``Failure`` if `server` is not an http or https URL, or has a query.
    init(server: String) throws(Failure) {
        guard let url = URL(string: server), let scheme = url.scheme?.lowercased(), ["http", "https"].contains(scheme),
            !(url.host ?? "").isEmpty, url.query == nil
        else {
            let found = ServerAddress.shown(server)
            throw Failure(.usage, "the server's URL: expected http://host:port, found \"\(found)\"")
        }
        var text = server
        while text.hasSuffix("/") { text.removeLast() }
        self.server = text
        shown = ServerAddress.shown(text)
    }

    /// The longest silence of a stream. The server sends something every 10 s.
    var longestSilence: Duration = .seconds(30)

    /// How long a GET is repeated; nil: not at all.
    var patience: Patience? = Patience()

    /// The same client for a caller that asks again by itself, or goes on without.
    var withoutRepetition: APIClient {
        var client = self
        client.patience = nil
        return client
    }

    /// Shared by the process, and never shut down.
    private static let http = client(configuration)

    /// For streams, by the longest silence. They too are never shut down.
    private static let streaming = Mutex<[Duration: HTTPClient]>([:])

    /// The client does not retry by itself: ``Patience`` does. It follows no redirects: they would send a submission
    /// to a server that the user did not name.
    private static var configuration: HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout.connect = .seconds(5)
        configuration.connectionPool.retryConnectionEstablishment = false
        return configuration
    }

    private static func client(_ configuration: HTTPClient.Configuration) -> HTTPClient {
        HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    private var streamingClient: HTTPClient {
        Self.streaming.withLock { clients in
            if let client = clients[longestSilence] { return client }
            var configuration = Self.configuration
            configuration.timeout.read = .milliseconds(Int64(longestSilence / .milliseconds(1)))
            let client = Self.client(configuration)
            clients[longestSilence] = client
            return client
        }
    }

    /// Limit on a response's body. A page of 500 tasks with payloads stays well below it.
    private static let maxResponseBytes = 256 << 20
    /// Time allowed for a response, in addition to the wait that a long poll asks for.
    private static let grace: Duration = .seconds(30)

    struct Body: Sendable {
        var bytes: ByteBuffer
        var type: String

        static func json(_ text: String) -> Body { Body(bytes: ByteBuffer(string: text), type: "application/json") }
    }

    /// Sends a request and returns the body of the response. A GET is repeated while the server is unreachable
    /// (``Patience``); whether another request may be repeated, its caller knows.
    /// - Parameters:
    ///   - path: the segments of the path; they are escaped here.
    ///   - waiting: how long the request asks the server to wait before it replies.
    /// - Throws: ``Failure``, `CancellationError`.
    func send(
        _ method: HTTPMethod, _ path: [String], query: [(String, String?)] = [], body: Body? = nil,
        waiting: Duration = .zero
    ) async throws -> Data {
        let attempt: () async throws -> Data = {
            do {
                return try await sendOnce(method, path, query, body, key: nil, waiting)
            } catch {
                throw translated(error)
            }
        }
        guard method == .GET, let patience else { return try await attempt() }
        return try await patience.retrying(attempt)
    }

    /// Sends a submission.
    ///
    /// If there is no response (the connection closes, the deadline passes, a proxy replies 502), the server may or may
    /// not have accepted the submission. The request is repeated (``Patience``) under the same key, and the server
    /// accepts it once.
    /// - Parameter name: what may have been accepted, for the message if the server stays unreachable.
    func submit(
        _ path: [String], query: [(String, String?)] = [], body: Body, idempotencyKey: String, name: String,
        patience: Patience = Patience()
    ) async throws -> Data {
        var mayBeAccepted = false
        do {
            return try await patience.retrying {
                do {
                    return try await sendOnce(.POST, path, query, body, key: idempotencyKey, .zero)
                } catch {
                    let error = translated(error)
                    mayBeAccepted = mayBeAccepted || (error as? Failure)?.hadNoEffect != true
                    throw error
                }
            }
        } catch let failure as Failure where failure.status == .unavailable {
            if !mayBeAccepted { throw Failure(.unavailable, "\(failure)\nNothing was submitted.") }
            throw Failure(
                .unavailable,
                "\(failure)\nIt is not known whether the submission was accepted. If it was, it is \(name).")
        }
    }

    private func sendOnce(
        _ method: HTTPMethod, _ path: [String], _ query: [(String, String?)], _ body: Body?, key: String?,
        _ waiting: Duration
    ) async throws -> Data {
        var request = request(method, path, query: query)
        if let key { request.headers.replaceOrAdd(name: "idempotency-key", value: key) }
        if let body {
            request.headers.replaceOrAdd(name: "content-type", value: body.type)
            request.body = .bytes(body.bytes)
        }
        let deadline = NIODeadline.now() + .milliseconds(Int64((waiting + Self.grace).components.seconds * 1000))
        let response = try await Self.http.execute(request, deadline: deadline)
        let bytes = Data(try await response.body.collect(upTo: Self.maxResponseBytes).readableBytesView)
        guard (200..<300).contains(response.status.code) else {
            throw failure(response, bytes)
        }
        return bytes
    }

    private func failure(_ response: HTTPClientResponse, _ body: Data) -> Failure {
        if (300..<400).contains(response.status.code), let target = response.headers.first(name: "location") {
            return Failure(
                .error,
                "the server at \(server) replied \(response.status.code) and points to \(target); redirects are not "
                    + "followed: name that server, if you trust it")
        }
        return Problem.failure(
            status: response.status.code, reason: response.status.reasonPhrase, body: body,
            retryAfter: response.headers.first(name: "retry-after"))
    }

    /// Returns the body of a GET whatever its status: the body of a health check's 503 has the reasons.
    func probe(_ path: [String]) async throws -> Data {
        do {
            let response = try await Self.http.execute(
                request(.GET, path, query: []), timeout: .seconds(Self.grace.components.seconds))
            return Data(try await response.body.collect(upTo: Self.maxResponseBytes).readableBytesView)
        } catch {
            throw translated(error)
        }
    }

    /// Sends a request and decodes the body of the response; see ``send(_:_:query:body:waiting:)``.
    func send<Value: Decodable>(
        _ type: Value.Type, _ method: HTTPMethod, _ path: [String], query: [(String, String?)] = []
    ) async throws -> Value {
        try Self.decode(type, try await send(method, path, query: query))
    }

    /// Decodes the server's responses: `task_id` becomes `taskId`.
    static let decoder = Decoder()

    struct Decoder: Sendable {
        /// A response has the members of a task around a payload, which itself may have the depth of a submission. The
        /// values are not limited: a list of tasks may have more than a submission.
        private static let maxDepth = JSONReader.maxDepth + 16

        func decode<Value: Decodable>(_ type: Value.Type, from data: Data) throws -> Value {
            let value = try JSONReader.read(Array(data), maxDepth: Self.maxDepth, maxValues: .max)
            return try JSONValueDecoder.decode(type, from: value)
        }
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ data: Data) throws(Failure) -> Value {
        do {
            return try decoder.decode(type, from: data)
        } catch {
            let reason = (error as? JSONReader.Failure)?.message ?? "\(error)"
            throw Failure(.error, "the server sent a response that this version does not understand: \(reason)")
        }
    }

    /// Passes server-sent events to `receive` until the server ends the stream.
    /// - Parameters:
    ///   - lastID: the id of the event after which to resume.
    ///   - onBytes: called whenever the server sends anything, also what is no event.
    /// - Throws: ``Failure``: with `unavailable` after ``longestSilence``, with `error` if the response is no stream.
    func events(
        _ path: [String], query: [(String, String?)], lastID: String?, onBytes: () -> Void,
        receive: (EventStream.Event) async throws -> Void
    ) async throws {
        var request = request(.GET, path, query: query)
        request.headers.replaceOrAdd(name: "accept", value: "text/event-stream")
        if let lastID { request.headers.replaceOrAdd(name: "last-event-id", value: lastID) }
        var hasBegun = false
        do {
            let response = try await streamingClient.execute(request, deadline: .distantFuture)
            guard response.status == .ok else {
                let body = Data(try await response.body.collect(upTo: Self.maxResponseBytes).readableBytesView)
                throw failure(response, body)
            }
            let type = response.headers.first(name: "content-type") ?? "no type"
            guard type.lowercased().hasPrefix("text/event-stream") else {
                throw Failure(
                    .error, "the server at \(server) sent no event stream but \(type): is it a Switchyard server?")
            }
            hasBegun = true
            var stream = EventStream()
            for try await piece in response.body {
                onBytes()
                for event in stream.feed(piece.readableBytesView) { try await receive(event) }
            }
        } catch {
            let error = translated(error)
            guard hasBegun, let failure = error as? Failure, failure.isUnreachable else { throw error }
            throw Failure(.unavailable, "the server at \(shown) broke the stream off")
        }
    }

    private func request(_ method: HTTPMethod, _ path: [String], query: [(String, String?)]) -> HTTPClientRequest {
        var url = server + path.map { "/" + Self.escaped($0) }.joined()
        let pairs = query.compactMap { name, value in value.map { "\(name)=\(Self.escaped($0))" } }
        if !pairs.isEmpty { url += "?" + pairs.joined(separator: "&") }
        var request = HTTPClientRequest(url: url)
        request.method = method
        request.headers.replaceOrAdd(name: "accept", value: "application/json")
        request.headers.replaceOrAdd(name: "user-agent", value: "switchyard-cli")
        return request
    }

    /// Percent-encodes everything but the unreserved characters of RFC 3986.
    private static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                String(UnicodeScalar(byte))
            default: "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }.joined()
    }

    private func translated(_ error: any Error) -> any Error {
        switch error {
        case is Failure, is CancellationError: return error
        case let error as HTTPClientError where error == .deadlineExceeded || error == .readTimeout:
            return Failure(.unavailable, "the server at \(shown) did not respond in time")
        case let error as HTTPClientError where error == .remoteConnectionClosed:
            return Failure(.unavailable, "the server at \(shown) closed the connection")
        case let error as HTTPClientError where error == .connectTimeout:
            return unreachable("no connection in time")
        case let error as NIOConnectionError:
            return unreachable(error.connectionErrors.first.map { Self.reason($0.error) } ?? "no such host")
        case let error as IOError: return unreachable(Self.reason(error))
        default: return unreachable("\(error)")
        }
    }

    private func unreachable(_ reason: String) -> Failure {
        var failure = Failure(
            .unavailable,
            """
            no server at \(shown): \(reason)
            Start one with `switchyard dev`, or name another with --server URL or SWITCHYARD_SERVER.
            """)
        failure.isUnreachable = true
        return failure
    }

    private static func reason(_ error: any Error) -> String {
        (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
    }
}

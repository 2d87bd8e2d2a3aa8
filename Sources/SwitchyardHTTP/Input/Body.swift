import HTTPTypes
import Hummingbird
import NIOCore
import Switchyard

// The body of a request: bounded in bytes and in time, and JSON where JSON is needed.

/// What the Content-Type header says a body is.
enum BodyType {
    case json
    /// A JSON value on each line.
    case lines
}

extension API {
    /// The JSON value in the body.
    func json(_ request: Request, limit: Int? = nil) async throws -> JSONValue {
        try Self.value(in: try await body(request, limit: limit), field: "body")
    }

    /// JSON, unless the Content-Type says that it is lines of it: a program may leave the header out, and `curl -d` sends
    /// a wrong one. (What keeps other sites' pages from submitting is the Origin header, see `OriginMiddleware`.)
    func bodyType(_ request: Request) -> BodyType {
        let type = (request.headers[.contentType] ?? "").prefix { $0 != ";" }.filter { $0 != " " }.lowercased()
        return type == "application/x-ndjson" || type == "application/jsonl" ? .lines : .json
    }

    /// - Parameter limit: in bytes; nil for that of most requests.
    func body(_ request: Request, limit: Int? = nil) async throws -> ByteBuffer {
        let limit = limit ?? options.maxBodyBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Self.tooLarge("found \(length)", limit: limit)
        }
        let body = request.body
        do {
            return try await bodies.collect { try await body.collect(upTo: limit) }
        } catch is BodyTimer.Late {
            throw Problem(
                .requestTimeout, code: "BadRequest",
                "body: expected all of it within \(Int(options.bodyTimeout.seconds)) seconds", field: "body")
        } catch is NIOTooManyBytesError {
            throw Self.tooLarge("found more", limit: limit)
        }
    }

    private static func tooLarge(_ found: String, limit: Int) -> Problem {
        Problem(
            .contentTooLarge, code: "BadRequest", "body: expected at most \(limit) bytes, \(found)", field: "body",
            limit: limit)
    }

    static func value(in bytes: ByteBuffer, field: String) throws -> JSONValue {
        do {
            return try JSONReader.read(bytes)
        } catch {
            throw Problem.badRequest(
                field,
                "this is not JSON that can be taken: it \(error.message) (line \(error.line), byte \(error.byte))")
        }
    }
}

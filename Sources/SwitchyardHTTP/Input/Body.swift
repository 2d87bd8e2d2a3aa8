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
    func json(_ request: Request) async throws -> JSONValue {
        _ = try bodyType(request, allowLines: false)
        return try Self.value(in: try await body(request), field: "body")
    }

    /// - Throws: 415 unless the Content-Type is one that is understood. A browser lets a page of any site send the
    ///   others without asking, so this is also what keeps such pages from submitting tasks.
    func bodyType(_ request: Request, allowLines: Bool) throws -> BodyType {
        let header = request.headers[.contentType] ?? ""
        let type = header.prefix { $0 != ";" }.filter { $0 != " " }.lowercased()
        if type == "application/json" || (type.hasPrefix("application/") && type.hasSuffix("+json")) { return .json }
        if allowLines, type == "application/x-ndjson" || type == "application/jsonl" { return .lines }
        throw Problem(
            .unsupportedMediaType, code: "BadRequest",
            "Content-Type: expected application/json\(allowLines ? " or application/x-ndjson" : ""), found "
                + (header.isEmpty ? "none" : Name.shown(header)) + " (curl sends the right one with --json)",
            field: "Content-Type")
    }

    func body(_ request: Request) async throws -> ByteBuffer {
        let limit = options.maxBodyBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw tooLarge("found \(length)")
        }
        let body = request.body
        do {
            return try await withThrowingTaskGroup(of: ByteBuffer?.self) { group in
                group.addTask { try await body.collect(upTo: limit) }
                group.addTask {
                    try await Task.sleep(for: options.bodyTimeout)
                    return nil
                }
                defer { group.cancelAll() }
                guard let first = try await group.next(), let buffer = first else {
                    throw Problem(
                        .requestTimeout, code: "BadRequest",
                        "body: expected all of it within \(Int(options.bodyTimeout.seconds)) seconds", field: "body")
                }
                return buffer
            }
        } catch is NIOTooManyBytesError {
            throw tooLarge("found more")
        }
    }

    private func tooLarge(_ found: String) -> Problem {
        let limit = options.maxBodyBytes
        return Problem(
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

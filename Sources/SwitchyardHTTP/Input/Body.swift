import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Switchyard

// Reading the body of a request: limited in bytes and in time, and parsed as JSON.

/// The form of a body, according to its Content-Type header.
enum BodyType {
    case json
    /// A JSON value on each line.
    case lines
}

extension API {
    /// Returns the JSON value in the body.
    func json(_ request: Request, limit: Int? = nil) async throws -> JSONValue {
        let bytes = try await body(request, limit: limit)
        return try await LargeBodies.parse(bytes.readableBytes) { try Self.value(in: bytes, field: "body") }
    }

    /// Returns `json` unless the Content-Type header names JSON lines. Other values are not refused: a program may omit
    /// the header, and `curl -d` sends a wrong one. (``OriginMiddleware`` refuses submissions by pages of other sites.)
    func bodyType(_ request: Request) -> BodyType {
        let type = (request.headers[.contentType] ?? "").prefix { $0 != ";" }.filter { $0 != " " }.lowercased()
        return type == "application/x-ndjson" || type == "application/jsonl" ? .lines : .json
    }

    /// Returns the bytes of the body.
    /// - Parameter limit: in bytes; nil: `maxBodyBytes` of the options.
    func body(_ request: Request, limit: Int? = nil) async throws -> ByteBuffer {
        let limit = limit ?? options.maxBodyBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Self.tooLarge("found \(length)", limit: limit)
        }
        let body = request.body
        return try await arriving(limit: limit) { try await body.collect(upTo: limit) }
    }

    /// Returns the batch in the body, which is read while it arrives.
    func batch(_ request: Request, key: String?) async throws -> BatchInput {
        let limit = options.maxBatchBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw Self.tooLarge("found \(length)", limit: limit)
        }
        let reader = BatchReader(bodyType(request), key: key, longestTask: options.maxBodyBytes)
        let body = request.body
        return try await arriving(limit: limit) {
            var reader = reader
            var count = 0
            for try await bytes in body {
                count += bytes.readableBytes
                guard count <= limit else { throw NIOTooManyBytesError(maxBytes: limit) }
                try await reader.feed(bytes)
            }
            return try await reader.finish()
        }
    }

    /// Runs `collect`, which reads a body, in the time that a body may take.
    private func arriving<Value: Sendable>(
        limit: Int, _ collect: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        do {
            return try await bodies.collect(collect)
        } catch is BodyTimer.Late {
            throw Problem(
                .requestTimeout, code: "BadRequest",
                "body: expected all of it within \(Int(options.bodyTimeout.seconds)) seconds", field: "body")
        } catch is NIOTooManyBytesError {
            throw Self.tooLarge("found more", limit: limit)
        } catch let error where !(error is CancellationError || error is Problem || error is SchedulerError) {
            throw Problem.badRequest("body", "it cannot be read: \(error)")
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
                "cannot read the JSON: \(error.message) (line \(error.line), byte \(error.byte))")
        }
    }
}

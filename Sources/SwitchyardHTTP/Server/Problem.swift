import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import Switchyard

/// The response to a request that failed: `application/problem+json` (RFC 9457) with the scheduler's error code, the
/// field at fault, the limit exceeded and the time to retry, where they apply.
struct Problem: Error {
    var status: HTTPResponse.Status
    /// The scheduler's error code, which clients test for.
    var code: String
    /// Says what is wrong, what was expected and what was found.
    var message: String
    /// The part of the request that is at fault.
    var field: String?
    /// The limit that was exceeded.
    var limit: Int?
    /// Seconds after which the client may retry.
    var retryAfter: Int?
    /// False if it is certain that the request had no effect; nil if that is not known, or follows from the status.
    var applied: Bool?
    var headers: HTTPFields = [:]

    init(_ status: HTTPResponse.Status, code: String, _ message: String, field: String? = nil, limit: Int? = nil) {
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.limit = limit
    }

    static func badRequest(_ field: String, _ message: String, limit: Int? = nil) -> Problem {
        Problem(.badRequest, code: "BadRequest", "\(field): \(message)", field: field, limit: limit)
    }

    /// Maps an error of the scheduler to an HTTP status.
    init(_ error: SchedulerError) {
        let status: HTTPResponse.Status =
            switch error {
            case .queueFull: .tooManyRequests
            case .taskNotFound, .queueNotFound, .workerNotFound: .notFound
            case .queueDraining, .taskExists, .invalidStateTransition: .conflict
            case .noWorkers: .serviceUnavailable
            case .invalidInput: .badRequest
            case .internal(_, let redisAway): redisAway ? .serviceUnavailable : .internalServerError
            }
        self.init(status, code: error.code, error.message)
        switch error {
        case .invalidInput(let field, _): self.field = field
        case .queueFull where error.canNeverFit: break
        case .queueFull, .noWorkers: retryAfter = Self.retryAfter
        case .internal(_, true): retryAfter = Self.retryAfterOutage
        default: break
        }
    }

    /// Seconds. By then a worker may have registered, or the queue may have room.
    static let retryAfter = 2

    /// Seconds, which differ from response to response: the clients of a Redis that is back do not come all at once.
    static var retryAfterOutage: Int { Int.random(in: 1...3) }

    private var title: String {
        switch code {
        case "QueueFull": "The queue is full"
        case "QueueDraining": "The queue takes no new tasks"
        case "TaskNotFound": "There is no such task"
        case "TaskExists": "The task exists already"
        case "NoWorkers": "There is no worker"
        case "WorkerNotFound": "There is no such worker"
        case "InvalidStateTransition": "The task's state does not allow this"
        case "BadRequest": "The request cannot be understood"
        case "QueueNotFound": "There is no such queue"
        case "NotFound": "There is no such resource"
        case "MethodNotAllowed": "The resource does not support this method"
        case "Forbidden": "The request is not allowed"
        default: status.code == 503 ? "The service is not ready" : "Internal error"
        }
    }

    /// For a client that is one too many.
    static func tooManyConnections(limit: Int) -> Problem {
        var problem = Problem(
            .serviceUnavailable, code: "Internal",
            "too many connections are open: the limit is \(limit), or less if files run out; close idle ones, or retry")
        problem.retryAfter = retryAfter
        problem.limit = limit
        return problem
    }

    var body: JSONValue {
        var body: JSONValue = [
            "type": .string("urn:switchyard:problem:\(code)"), "title": .string(title),
            "status": JSONValue(status.code),
            "detail": .string(message), "code": .string(code), "message": .string(message),
        ]
        body.add("field", field.map { .string($0) })
        body.add("limit", limit.map { JSONValue($0) })
        body.add("retry_after", retryAfter.map { JSONValue($0) })
        body.add("applied", applied.map { .bool($0) })
        return body
    }

    var response: Response {
        var response = Response.json(body, status: status, headers: headers)
        response.headers[.contentType] = "application/problem+json"
        if let retryAfter { response.headers[.retryAfter] = "\(retryAfter)" }
        return response
    }
}

extension Response {
    /// A JSON response that no cache keeps.
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) -> Response {
        json(value.buffer, status: status, headers: headers)
    }

    /// - Parameter bytes: the text of a JSON value.
    static func json(_ bytes: ByteBuffer, status: HTTPResponse.Status, headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: bytes))
    }
}

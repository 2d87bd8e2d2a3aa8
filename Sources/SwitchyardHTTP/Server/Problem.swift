import HTTPTypes
import Hummingbird
import NIOCore
import Switchyard

/// What a request is answered with instead of what it asked for: `application/problem+json` (RFC 9457) with the
/// scheduler's code, and what is needed to act.
struct Problem: Error {
    var status: HTTPResponse.Status
    /// The seed's name, which clients test for.
    var code: String
    /// Names what was wrong, what was expected and what was found.
    var message: String
    /// The part of the request that is to blame.
    var field: String?
    /// The bound that was exceeded.
    var limit: Int?
    /// Seconds after which trying again makes sense.
    var retryAfter: Int?
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

    /// The table of the contract, §8.
    init(_ error: SchedulerError) {
        let status: HTTPResponse.Status =
            switch error {
            case .queueFull: .tooManyRequests
            case .taskNotFound, .workerNotFound: .notFound
            case .queueDraining, .taskExists, .invalidStateTransition: .conflict
            case .noWorkers: .serviceUnavailable
            case .invalidInput: .badRequest
            case .internal(_, let redisAway): redisAway ? .serviceUnavailable : .internalServerError
            }
        self.init(status, code: error.code, error.message)
        switch error {
        case .invalidInput(let field, _): self.field = field
        case .queueFull, .noWorkers: retryAfter = Self.retryAfter
        case .internal(_, true): retryAfter = Self.retryAfter
        default: break
        }
    }

    /// A few ticks: long enough for a worker to come or a place to become free.
    static let retryAfter = 2

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
        case "NotFound": "There is no such resource"
        case "MethodNotAllowed": "The resource does not answer this method"
        case "Forbidden": "The request is not allowed"
        default: status.code == 503 ? "The service is not ready" : "Something went wrong inside"
        }
    }

    var response: Response {
        var body: JSONValue = [
            "type": .string("urn:switchyard:problem:\(code)"), "title": .string(title),
            "status": JSONValue(status.code),
            "detail": .string(message), "code": .string(code), "message": .string(message),
        ]
        body.add("field", field.map { .string($0) })
        body.add("limit", limit.map { JSONValue($0) })
        body.add("retry_after", retryAfter.map { JSONValue($0) })
        var response = Response.json(body, status: status, headers: headers)
        response.headers[.contentType] = "application/problem+json"
        if let retryAfter { response.headers[.retryAfter] = "\(retryAfter)" }
        return response
    }
}

extension Response {
    static func json(_ value: JSONValue, status: HTTPResponse.Status = .ok, headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        headers[.cacheControl] = "no-store"
        headers[.xContentTypeOptions] = "nosniff"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: value.buffer))
    }
}

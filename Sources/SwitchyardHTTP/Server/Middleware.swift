import HTTPTypes
import Hummingbird
import Logging
import Switchyard

/// Turns every error of a route into problem+json, and logs each request and its status at debug level.
struct ProblemMiddleware: RouterMiddleware {
    typealias Context = ClientContext

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        var response: Response
        do {
            response = try await next(request, context)
        } catch {
            let problem = problem(for: error, logger: context.logger)
            response = problem.response
        }
        context.logger.debug(
            "handled a request",
            metadata: [
                "method": "\(request.method)", "path": "\(Name.shown(request.uri.path))",
                "status": "\(response.status.code)", "duration_ms": "\((ContinuousClock.now - start).milliseconds)",
            ])
        return response
    }

    private func problem(for error: any Error, logger: Logger) -> Problem {
        switch error {
        case let problem as Problem:
            return problem
        case let error as SchedulerError:
            if case .internal(_, redisAway: false) = error {
                logger.error("a request failed", metadata: ["error": "\(error)"])
            }
            return Problem(error)
        case let error as HTTPError where error.status == .notFound:
            return Problem(.notFound, code: "NotFound", "there is nothing at this address; GET / shows the dashboard")
        case let error as HTTPError:
            return Problem(error.status, code: "BadRequest", error.body ?? "\(error.status)")
        case is CancellationError:
            var problem = Problem(.serviceUnavailable, code: "Internal", "the server is shutting down")
            problem.retryAfter = Problem.retryAfter
            return problem
        default:
            logger.error("a request failed", metadata: ["error": "\(error)"])
            return Problem(.internalServerError, code: "Internal", "internal error; the server's log has the details")
        }
    }
}

/// Refuses changes that a page of another site requests through a user's browser: such a page can reach a server on
/// loopback. Requests without an `Origin` header pass, and so do GET and HEAD.
struct OriginMiddleware: RouterMiddleware {
    typealias Context = ClientContext

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin], request.method != .get, request.method != .head else {
            return try await next(request, context)
        }
        let host = origin.split(separator: "://", maxSplits: 1).last.map(String.init)
        guard let host, host == request.head.authority ?? request.headers[.host] else {
            throw Problem(
                .forbidden, code: "Forbidden",
                "Origin: a page of \(Name.shown(origin)) may not change anything here; send the request from a program",
                field: "Origin")
        }
        return try await next(request, context)
    }
}

extension HTTPField.Name {
    static let host = HTTPField.Name("Host")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let traceparent = HTTPField.Name("traceparent")!
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
    static let referrerPolicy = HTTPField.Name("Referrer-Policy")!
}

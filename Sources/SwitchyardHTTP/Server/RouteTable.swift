import HTTPTypes
import Hummingbird

/// Collects the routes by path, so that a known path replies to an unsupported method with 405 and `Allow`.
struct Routes {
    typealias Handler = @Sendable (Request, ClientContext) async throws -> Response

    private static let methods: [HTTPRequest.Method] = [.get, .head, .post, .put, .patch, .delete, .options]
    private var handlers: [(path: String, methods: [(method: HTTPRequest.Method, handler: Handler)])] = []

    mutating func on(_ method: HTTPRequest.Method, _ path: String, _ handler: @escaping Handler) {
        if let index = handlers.firstIndex(where: { $0.path == path }) {
            handlers[index].methods.append((method, handler))
        } else {
            handlers.append((path, [(method, handler)]))
        }
    }

    /// Every method and path that has a handler: `GET /livez`.
    var all: [String] {
        handlers.flatMap { path, methods in methods.map { "\($0.method.rawValue) \(path)" } }
    }

    func router(_ hosts: HostMiddleware, _ bodies: LargeBodyMiddleware) -> Router<ClientContext> {
        let router = Router(context: ClientContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: ProblemMiddleware())
        router.add(middleware: hosts)
        router.add(middleware: OriginMiddleware())
        router.add(middleware: bodies)
        for (path, known) in handlers {
            for (method, handler) in known { router.on(RouterPath(path), method: method, use: handler) }
            var allowed = known.map(\.method)
            if allowed.contains(.get) { allowed.append(.head) }
            let allow = allowed.map(\.rawValue).joined(separator: ", ")
            for method in Self.methods where !allowed.contains(method) {
                router.on(RouterPath(path), method: method) { _, _ -> Response in
                    var problem = Problem(
                        .methodNotAllowed, code: "MethodNotAllowed",
                        "\(method.rawValue) is not supported here; expected \(allow)")
                    problem.headers[.allow] = allow
                    throw problem
                }
            }
        }
        return router
    }
}

import Hummingbird
import NIOCore

/// The context of a request: also the channel that it came on.
struct ClientContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

extension API {
    /// Runs `body`, and cancels it when the client of this request has gone.
    func whilePresent<Value: Sendable>(
        _ context: ClientContext, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        guard let client = connections.client(of: context.channel) else { throw CancellationError() }
        return try await client.whilePresent(body)
    }
}

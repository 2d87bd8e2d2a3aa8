import NIOCore
import NIOPosix
import Synchronization

/// A client that sends bytes as it likes, and says what came back.
final class RawClient: Sendable {
    private let channel: any Channel
    private let received: Received

    private final class Received: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let text = Mutex("")
        let isClosed = Mutex(false)

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let part = String(buffer: unwrapInboundIn(data))
            text.withLock { $0 += part }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case ChannelEvent.inputClosed = event { isClosed.withLock { $0 = true } }
        }

        func channelInactive(context: ChannelHandlerContext) { isClosed.withLock { $0 = true } }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { isClosed.withLock { $0 = true } }
    }

    init(_ world: World) async throws {
        let received = Received()
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { $0.pipeline.addHandler(received) }
            .connect(host: "127.0.0.1", port: world.port).get()
        self.received = received
    }

    var text: String { received.text.withLock { $0 } }
    /// Whether the server has closed the connection, or its half of it.
    var isClosed: Bool { received.isClosed.withLock { $0 } }

    func send(_ text: String) async throws { try await channel.writeAndFlush(ByteBuffer(string: text)) }

    /// Sends a request without a body.
    func ask(_ path: String) async throws { try await send("GET \(path) HTTP/1.1\r\nHost: localhost\r\n\r\n") }

    /// No more requests come, but responses may.
    func closeOutput() async throws { try await channel.close(mode: .output) }

    func close() async {
        // It may be closed already.
        try? await channel.close()
    }

    /// Sends `piece` for as long as the server takes it.
    /// - Returns: the bytes sent until the connection was closed.
    func flood(_ piece: String, atMost limit: Int) async -> Int {
        var sent = 0
        while sent < limit, !isClosed {
            // It fails when the server closes the connection, which is what we wait for.
            guard (try? await send(piece)) != nil else { break }
            sent += piece.utf8.count
        }
        return sent
    }
}

import NIOCore
import NIOPosix

/// Posts the same request repeatedly over kept-alive connections, each with one request in flight.
///
/// The client does as little as possible, so that the measurement is of the server.
struct HTTPLoad: Sendable {
    let port: Int
    let path: String
    let body: String
    let connections: Int

    private var request: ByteBuffer {
        ByteBuffer(
            string: "POST \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(body.utf8.count)\r\n\r\n" + body)
    }

    /// Returns when the server has replied 201 to `count` requests.
    /// - Throws: ``BenchError`` for any other status, or if the server closes a connection.
    func run(_ count: Int) async throws {
        let request = request
        try await withThrowingTaskGroup(of: Void.self) { group in
            for connection in 0..<connections {
                let share = count / connections + (connection < count % connections ? 1 : 0)
                if share > 0 { group.addTask { try await post(request, times: share) } }
            }
            try await group.waitForAll()
        }
    }

    private func post(_ request: ByteBuffer, times: Int) async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let done = group.next().makePromise(of: Void.self)
        let channel = try await ClientBootstrap(group: group)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        PostingHandler(request: request, times: times, done: done))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        do {
            try await done.futureResult.get()
        } catch {
            channel.close(promise: nil)
            throw error
        }
        try await channel.close()
    }
}

/// Sends the next request when a response is complete. It supports only responses with a Content-Length.
private final class PostingHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: ByteBuffer
    private var left: Int
    private let done: EventLoopPromise<Void>
    private var received = ByteBuffer()

    init(request: ByteBuffer, times: Int, done: EventLoopPromise<Void>) {
        self.request = request
        self.left = times
        self.done = done
    }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        guard let length = responseLength(), received.readableBytes >= length else { return }
        guard received.readableBytesView.dropFirst(9).starts(with: "201".utf8) else {
            return done.fail(BenchError("bench: the server replied \(String(buffer: received).prefix(500))"))
        }
        received.clear()
        left -= 1
        if left == 0 { return done.succeed() }
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        done.fail(BenchError("bench: the server closed a connection"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        done.fail(error)
        context.close(promise: nil)
    }

    /// The length of the response, head and body; nil until the head is complete.
    private func responseLength() -> Int? {
        let view = received.readableBytesView
        guard let end = view.firstRange(of: "\r\n\r\n".utf8) else { return nil }
        let head = String(decoding: view[..<end.lowerBound], as: UTF8.self).lowercased()
        let length = head.split(whereSeparator: \.isNewline).first { $0.hasPrefix("content-length:") }
            .flatMap { Int($0.dropFirst("content-length:".count).drop { $0 == " " }) }
        guard let length else {
            done.fail(BenchError("bench: the server replied without a Content-Length: \(head)"))
            return nil
        }
        return end.upperBound - view.startIndex + length
    }
}

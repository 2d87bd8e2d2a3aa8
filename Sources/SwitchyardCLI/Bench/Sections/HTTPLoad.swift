import NIOCore
import NIOPosix

/// Posts the same request again and again over connections that are kept alive, each with one on its way. It does as
/// little as a client can, so that what is measured is the server.
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

    /// Returns when `count` requests have been answered with 201.
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

/// Sends the next request when an answer is whole. Understands what our server sends: a status and a Content-Length.
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
        guard let length = answerLength(), received.readableBytes >= length else { return }
        guard received.readableBytesView.dropFirst(9).starts(with: "201".utf8) else {
            return done.fail(Failure(.error, "bench: the server answered \(String(buffer: received).prefix(500))"))
        }
        received.clear()
        left -= 1
        if left == 0 { return done.succeed() }
        context.writeAndFlush(wrapOutboundOut(request), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        done.fail(Failure(.error, "bench: the server closed a connection"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        done.fail(error)
        context.close(promise: nil)
    }

    /// Of head and body; nil until the head is there.
    private func answerLength() -> Int? {
        let view = received.readableBytesView
        guard let end = view.firstRange(of: "\r\n\r\n".utf8) else { return nil }
        let head = String(decoding: view[..<end.lowerBound], as: UTF8.self).lowercased()
        let length = head.split(whereSeparator: \.isNewline).first { $0.hasPrefix("content-length:") }
            .flatMap { Int($0.dropFirst("content-length:".count).drop { $0 == " " }) }
        guard let length else {
            done.fail(Failure(.error, "bench: the server answered without a Content-Length: \(head)"))
            return nil
        }
        return end.upperBound - view.startIndex + length
    }
}

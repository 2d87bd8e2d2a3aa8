import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import RedisClient

/// Subscriptions whose new connection is lost again and again while they subscribe.
@Suite("Restoring subscriptions", .timeLimit(.minutes(1))) struct RestoringTests {
    /// A server of one channel. It closes the connections of the next `losses` that subscribe.
    private final class LosingServer: Sendable {
        private let channel: any Channel
        private let handled: Handled
        var url: String { "redis://127.0.0.1:\(channel.localAddress?.port ?? 0)" }
        var subscribed: Int { handled.counts.withLock { $0.subscribed } }

        private final class Handled: Sendable {
            let counts = Mutex((losses: 0, subscribed: 0))
            let open = Mutex<[any Channel]>([])
        }

        private final class Handler: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer
            let handled: Handled
            init(_ handled: Handled) { self.handled = handled }

            func channelActive(context: ChannelHandlerContext) {
                let channel = context.channel
                handled.open.withLock { $0.append(channel) }
            }

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                let text = String(buffer: unwrapInboundIn(data))
                for command in text.split(separator: "*") {
                    guard command.contains("SUBSCRIBE") else {
                        reply("+OK\r\n", context)
                        continue
                    }
                    let isLost = handled.counts.withLock { counts in
                        counts.subscribed += 1
                        counts.losses -= 1
                        return counts.losses >= 0
                    }
                    if isLost { return context.close(promise: nil) }
                    reply("*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", context)
                }
            }

            private func reply(_ text: String, _ context: ChannelHandlerContext) {
                context.channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
            }
        }

        init() async throws {
            let handled = Handled()
            self.handled = handled
            channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { $0.pipeline.addHandler(Handler(handled)) }
                .bind(host: "127.0.0.1", port: 0).get()
        }

        /// Closes all connections, and those of the next `losses` that subscribe.
        func lose(_ losses: Int) {
            handled.counts.withLock { $0 = (losses, 0) }
            for channel in handled.open.withLock({ $0 }) { channel.close(promise: nil) }
        }

        func stop() async throws { try await channel.close() }
    }

    /// Each loss costs one attempt more, not one for each loss before it, and is told once.
    @Test(arguments: [0, 1, 4]) func aLossCostsOneAttempt(losses: Int) async throws {
        let server = try await LosingServer()
        let client = RedisClient(try RedisConfiguration(url: server.url))
        var events = try await client.subscribe(to: ["news"]).makeAsyncIterator()
        for _ in 1...2 {
            server.lose(losses)
            #expect(await events.next() == .resubscribed)
            // What else is under way shows within the longest pause between two attempts.
            try await Task.sleep(for: .milliseconds(1100))
            #expect(server.subscribed == losses + 1)
        }
        await client.shutdown()
        #expect(await events.next() == nil)
        try await server.stop()
    }
}

import Foundation
import NIOCore
import NIOPosix
import Testing

@testable import RedisClient

/// A server that replies to every command with something else than Redis does. The client neither traps, nor waits
/// beyond its deadline, nor keeps more memory than arrived.
@Suite("A lying server", .timeLimit(.minutes(1))) struct LyingServerTests {
    /// Listens on a free port of this machine, and replies to whatever arrives with the same bytes.
    private final class LyingServer: Sendable {
        private let channel: any Channel
        var url: String { "redis://127.0.0.1:\(channel.localAddress?.port ?? 0)" }

        private final class Handler: ChannelInboundHandler, Sendable {
            typealias InboundIn = ByteBuffer
            let reply: ByteBuffer
            let closes: Bool
            init(reply: ByteBuffer, closes: Bool) { (self.reply, self.closes) = (reply, closes) }

            func channelRead(context: ChannelHandlerContext, data: NIOAny) {
                // Each command has one array header.
                let commands = unwrapInboundIn(data).readableBytesView.count { $0 == UInt8(ascii: "*") }
                for _ in 0..<max(1, commands) { context.channel.writeAndFlush(reply, promise: nil) }
                if closes { context.channel.close(promise: nil) }
            }
        }

        init(_ reply: ByteBuffer, closes: Bool) async throws {
            channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelInitializer { $0.pipeline.addHandler(Handler(reply: reply, closes: closes)) }
                .bind(host: "127.0.0.1", port: 0).get()
        }

        func stop() async throws { try await channel.close() }
    }

    private static let replies: [String] = [
        "", "\r\n", "+", "+OK", "$5\r\nab", "$5\r\nabcdefgh\r\n", "$-2\r\n", "$2147483647\r\nx",
        "$9223372036854775807\r\n",
        "$99999999999999999999\r\n", "*-2\r\n", "*2147483647\r\n:1\r\n", "*4294967296\r\n", "*9223372036854775807\r\n",
        "*1\r\n", "*3\r\n:1\r\n:2\r\n", ":\r\n", ":x\r\n", ":99999999999999999999\r\n", "-\r\n",
        "-MOVED 1 1.2.3.4:5\r\n",
        "-MOVED\r\n", "-ASK 1\r\n", "-LOADING x\r\n", "-BUSY\r\n", "-READONLY You can't write\r\n", "-NOAUTH x\r\n",
        "-WRONGTYPE \u{0}\r\n", "%1\r\n+a\r\n+b\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n", "=5\r\ntxt:a\r\n",
        "~1\r\n:1\r\n", ">2\r\n+a\r\n+b\r\n", "|1\r\n+a\r\n+b\r\n", "HTTP/1.1 200 OK\r\n\r\n",
        "\u{0}\u{0}\u{0}\u{0}\r\n",
        "$0\r\n\r\n", "*0\r\n", "$-1\r\n", "*-1\r\n", ":1\r\n", "+\u{FFFD}\r\n",
        String(repeating: "*1\r\n", count: 8) + ":1\r\n", String(repeating: "*1\r\n", count: 100_000),
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n:5\r\n", "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:0\r\n",
        "*2\r\n$7\r\nmessage\r\n:1\r\n",
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n", "+OK\r\n+OK\r\n+OK\r\n",
    ]

    @Test(arguments: [false, true])
    func isNeitherBelievedNorWaitedFor(closes: Bool) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reply in Self.replies {
                group.addTask {
                    let server = try await LyingServer(ByteBuffer(string: reply), closes: closes)
                    var configuration = try RedisConfiguration(url: server.url)
                    configuration.connectTimeout = .milliseconds(200)
                    configuration.commandTimeout = .milliseconds(300)
                    let client = RedisClient(configuration)
                    try await Self.ask(client, about: reply)
                    await client.shutdown()
                    try await server.stop()
                }
            }
            try await group.waitForAll()
        }
    }

    /// Sends one command of each kind. A reply or an error of Redis is as good as the other.
    private static func ask(_ client: RedisClient, about reply: String) async throws {
        let start = ContinuousClock.now
        let commands = [
            RedisCommand("PING"), RedisCommand("HGETALL", "x"), RedisCommand("FCALL", "switchyard_tick", 0),
        ]
        for command in commands { try await tolerate { _ = try await client.send(command) } }
        try await tolerate { _ = try await client.pipeline(commands) }
        try await tolerate {
            _ = try await client.sendBlocking(RedisCommand("BLPOP", "x", "0.1"), timeout: .milliseconds(100))
        }
        let subscriber = Task { try await tolerate { _ = try await client.subscribe(to: ["c"]) } }
        let watch = Task {
            try await Task.sleep(for: .seconds(1))
            subscriber.cancel()
        }
        try await subscriber.value
        watch.cancel()
        let time = ContinuousClock.now - start
        // Six calls with a deadline of 0.3 s each; the machine may be busy.
        #expect(time < .seconds(40), "\(reply.prefix(60).debugDescription): \(time)")
    }

    private static func tolerate(_ body: () async throws -> Void) async throws {
        do { try await body() } catch is RedisError {} catch is CancellationError {}
    }

    /// A length that a server announces takes no memory, and neither does what it announces later.
    @Test func announcedLengthsTakeNoMemory() throws {
        for text in [
            "$2147483647\r\n", "*2147483647\r\n", "*1000\r\n*2000000000\r\n", "*7\r\n*7\r\n*7\r\n*2147483647\r\n",
        ] {
            let before = Self.residentBytes()
            var readers: [HiredisReader] = []
            for _ in 0..<50 {
                let reader = HiredisReader(endpoint: "test")
                // It may refuse the announcement.
                try? reader.feed(ByteBuffer(string: text)) { _ in }
                readers.append(reader)
            }
            #expect(Self.residentBytes() - before < 64 << 20, "\(text.debugDescription)")
            #expect(readers.count == 50)
        }
    }

    private static func residentBytes() -> Int {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
}

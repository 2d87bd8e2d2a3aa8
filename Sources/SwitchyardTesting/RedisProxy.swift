import Foundation
import NIOCore
import NIOPosix
import RedisClient
import Synchronization

/// A proxy between clients and a redis-server, on a Unix socket of its own. It delays, loses and holds back what passes
/// through it, for each kind of connection apart, and all connections may share a slow link. The bytes of one
/// connection keep their order.
public final class RedisProxy: Sendable {
    /// What a client uses a connection for, known from the first commands on it.
    public enum Purpose: Sendable, Equatable {
        /// Ordinary commands, which share one connection.
        case commands
        /// Blocking pops, and the pulls that follow them.
        case sleeps
        /// A subscription.
        case subscription
    }

    /// Where bytes go.
    public enum Direction: Sendable, Equatable {
        /// From a client to Redis.
        case request
        /// From Redis to a client.
        case reply
    }

    /// What happens to bytes that have arrived.
    public enum Fate: Sendable {
        /// They are passed on after this delay.
        case deliver(after: Duration)
        /// They are dropped, and the connection is closed.
        case lose
    }

    /// Decides about bytes when they arrive.
    public typealias Rule = @Sendable (Purpose, Direction) -> Fate

    fileprivate enum Mode {
        case open
        /// Nothing passes in either direction, and no connection is closed.
        case stalled
        /// Connections are closed as soon as they are accepted.
        case refusing
    }

    private struct State {
        var mode = Mode.open
        var connections: [ObjectIdentifier: ProxiedConnection] = [:]
    }

    /// The URL for clients.
    public let url: String
    private let directory: String
    private let rule: Rule
    private let bytesPerSecond: Int?
    private let state = Mutex(State())
    /// When the link has carried all the bytes that were given to it, in each direction.
    private let link = Mutex((request: NIODeadline.uptimeNanoseconds(0), reply: NIODeadline.uptimeNanoseconds(0)))
    private let listener = Mutex<(any Channel)?>(nil)

    private init(url: String, directory: String, bytesPerSecond: Int?, rule: @escaping Rule) {
        self.url = url
        self.directory = directory
        self.bytesPerSecond = bytesPerSecond
        self.rule = rule
    }

    /// Starts a proxy of a test's redis-server.
    /// - Parameter bytesPerSecond: What all connections together may carry in each direction; nil: any number.
    public static func start(
        to redis: TestRedis, bytesPerSecond: Int? = nil, rule: @escaping Rule = { _, _ in .deliver(after: .zero) }
    ) async throws -> RedisProxy {
        let socket = String(redis.url.dropFirst("unix://".count))
        return try await start(toSocket: socket, bytesPerSecond: bytesPerSecond, rule: rule)
    }

    /// Starts a proxy of the redis-server that listens on a socket.
    /// - Parameter address: An address on which the proxy listens, with Redis's port; nil: it has a socket.
    public static func start(
        toSocket server: String, on address: String? = nil, bytesPerSecond: Int? = nil, rule: @escaping Rule
    ) async throws -> RedisProxy {
        let directory = NSTemporaryDirectory() + "switchyard-proxy-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let proxy = RedisProxy(
            url: address.map { "redis://\($0):6379" } ?? "unix://\(directory)/redis.sock", directory: directory,
            bytesPerSecond: bytesPerSecond, rule: rule)
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { client in
                ClientBootstrap(group: client.eventLoop).connect(unixDomainSocketPath: server).flatMapThrowing {
                    try proxy.join(client, to: $0)
                }
            }
        let channel =
            if let address {
                try await bootstrap.bind(host: address, port: 6379).get()
            } else {
                try await bootstrap.bind(
                    unixDomainSocketPath: directory + "/redis.sock", cleanupExistingSocketFile: true
                ).get()
            }
        proxy.listener.withLock { $0 = channel }
        return proxy
    }

    /// Returns a client of the proxy. The caller shuts it down.
    public func makeClient(commandTimeout: Duration = .seconds(5)) throws -> RedisClient {
        var configuration = try RedisConfiguration(url: url)
        configuration.commandTimeout = commandTimeout
        return RedisClient(configuration)
    }

    private func join(_ client: any Channel, to server: any Channel) throws {
        let connection = ProxiedConnection(proxy: self, client: client, server: server)
        let isRefused = state.withLock { state in
            state.connections[ObjectIdentifier(connection)] = connection
            return state.mode == .refusing
        }
        for (channel, direction) in [(client, Direction.request), (server, .reply)] {
            try channel.pipeline.syncOperations.addHandler(Relay(connection, direction))
        }
        if isRefused { connection.close() }
    }

    fileprivate func remove(_ connection: ProxiedConnection) {
        state.withLock { $0.connections[ObjectIdentifier(connection)] = nil }
    }

    fileprivate var isStalled: Bool { state.withLock { $0.mode == .stalled } }
    fileprivate func fate(_ purpose: Purpose, _ direction: Direction) -> Fate { rule(purpose, direction) }

    /// Gives bytes to the link. Returns when it has carried them.
    fileprivate func carry(_ count: Int, _ direction: Direction) -> NIODeadline {
        guard let bytesPerSecond else { return .now() }
        let time = TimeAmount.nanoseconds(Int64(count) * 1_000_000_000 / Int64(bytesPerSecond))
        return link.withLock { link in
            switch direction {
            case .request:
                link.request = max(link.request, .now()) + time
                return link.request
            case .reply:
                link.reply = max(link.reply, .now()) + time
                return link.reply
            }
        }
    }

    private func change(to mode: Mode) -> [ProxiedConnection] {
        state.withLock { state in
            state.mode = mode
            return Array(state.connections.values)
        }
    }

    /// Holds back everything, as a network does that drops all packets. New connections are accepted.
    public func stall() { _ = change(to: .stalled) }

    /// Passes everything on, and what was held back first.
    public func resume() {
        for connection in change(to: .open) { connection.resume() }
    }

    /// Closes all connections, and each new one at once, until ``resume()``.
    public func refuse() {
        for connection in change(to: .refusing) { connection.close() }
    }

    /// Closes all connections. Clients can connect again.
    public func closeAll() {
        for connection in change(to: .open) { connection.close() }
    }

    /// Closes the socket and all connections.
    public func stop() async {
        refuse()
        let channel = listener.withLock { $0 }
        // It can only fail because it is closed already.
        try? await channel?.close().get()
        // In the directory of temporary files nothing depends on it.
        try? FileManager.default.removeItem(atPath: directory)
    }
}

/// Both ends of a connection through the proxy, which share an event loop.
///
/// Unchecked because the state is not locked: each method is called on the event loop, or begins with a hop to it.
private final class ProxiedConnection: @unchecked Sendable {
    private let proxy: RedisProxy
    private let client: any Channel
    private let server: any Channel
    private var purpose = RedisProxy.Purpose.commands
    /// What arrived while the proxy was stalled.
    private var held: [(bytes: ByteBuffer, direction: RedisProxy.Direction)] = []
    /// When the last bytes in each direction are delivered. Later ones are not delivered before.
    private var deliveries: (request: NIODeadline, reply: NIODeadline) = (.uptimeNanoseconds(0), .uptimeNanoseconds(0))

    init(proxy: RedisProxy, client: any Channel, server: any Channel) {
        self.proxy = proxy
        self.client = client
        self.server = server
    }

    func received(_ bytes: ByteBuffer, _ direction: RedisProxy.Direction) {
        if direction == .request, purpose == .commands { purpose = Self.purpose(of: bytes) }
        if proxy.isStalled || !held.isEmpty { return held.append((bytes, direction)) }
        pass(bytes, direction)
    }

    private static func purpose(of request: ByteBuffer) -> RedisProxy.Purpose {
        let text = String(buffer: request)
        if text.contains("BLPOP") { return .sleeps }
        return text.contains("\r\nSUBSCRIBE\r\n") ? .subscription : .commands
    }

    /// The link carries pieces of this size, so that those of several connections take turns.
    private static let pieceBytes = 16 * 1024

    private func pass(_ bytes: ByteBuffer, _ direction: RedisProxy.Direction) {
        guard case .deliver(let delay) = proxy.fate(purpose, direction) else { return close() }
        var rest = bytes
        while let piece = rest.readSlice(length: min(rest.readableBytes, Self.pieceBytes)), piece.readableBytes > 0 {
            deliver(piece, direction, after: delay)
        }
    }

    private func deliver(_ bytes: ByteBuffer, _ direction: RedisProxy.Direction, after delay: Duration) {
        let isRequest = direction == .request
        let receiver = isRequest ? server : client
        let carried = proxy.carry(bytes.readableBytes, direction)
        let at = max(carried + TimeAmount(delay), isRequest ? deliveries.request : deliveries.reply)
        if isRequest { deliveries.request = at } else { deliveries.reply = at }
        if at <= .now() { return receiver.writeAndFlush(bytes, promise: nil) }
        client.eventLoop.scheduleTask(deadline: at) { receiver.writeAndFlush(bytes, promise: nil) }
    }

    func resume() {
        client.eventLoop.execute { [self] in
            let passing = held
            held = []
            for (bytes, direction) in passing { pass(bytes, direction) }
        }
    }

    func close() {
        client.eventLoop.execute { [self] in
            client.close(promise: nil)
            server.close(promise: nil)
        }
    }

    /// One end is closed: closes the other, unless the proxy is stalled, which hides the end from it.
    func ended() {
        if !proxy.isStalled { close() }
        proxy.remove(self)
    }
}

/// Hands what arrives at one end to its connection.
private final class Relay: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: ProxiedConnection
    private let direction: RedisProxy.Direction

    init(_ connection: ProxiedConnection, _ direction: RedisProxy.Direction) {
        self.connection = connection
        self.direction = direction
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connection.received(unwrapInboundIn(data), direction)
    }

    func channelInactive(context: ChannelHandlerContext) {
        connection.ended()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        connection.close()
    }
}

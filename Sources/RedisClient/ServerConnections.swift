import Logging
import NIOCore

/// The connections to one server: one for each kind of ``RedisClient/Traffic``, those of blocking commands, and the one
/// that all subscriptions share. Each is made when a call needs it.
final class ServerConnections: Sendable {
    let configuration: RedisConfiguration
    let blocking: BlockingConnections
    let subscriptions: Subscriptions
    private let connector: RedisConnector
    private let ordinary: SharedConnection
    private let bulk: SharedConnection
    private let urgent: SharedConnection

    init(_ configuration: RedisConfiguration, group: any EventLoopGroup, logger: Logger) {
        self.configuration = configuration
        connector = RedisConnector(configuration, group: group, logger: logger)
        ordinary = SharedConnection(connector)
        bulk = SharedConnection(connector)
        urgent = SharedConnection(connector)
        subscriptions = Subscriptions(connector, logger: logger)
        blocking = BlockingConnections(connector)
    }

    /// The connection for a kind of traffic.
    func shared(_ traffic: RedisClient.Traffic) -> SharedConnection {
        switch traffic {
        case .ordinary: ordinary
        case .bulk: bulk
        case .urgent: urgent
        }
    }

    /// Closes the connections that calls share, if they are open.
    func closeShared(_ reason: String) {
        for shared in [ordinary, bulk, urgent] { shared.current?.close(reason) }
    }

    /// When bytes last arrived on the connections that calls share; nil if none of them is open.
    var lastReceived: NIODeadline? {
        [ordinary, bulk, urgent].compactMap { $0.current?.lastReceived }.max()
    }

    func shutDown() {
        subscriptions.shutDown()
        ordinary.shutDown()
        bulk.shutDown()
        urgent.shutDown()
        blocking.shutDown()
        connector.shutDown()
    }
}

import Logging
import NIOCore

/// The connections to one sentinel: one to ask it, and one on which it tells of changes. Each is made when it is
/// needed, and again after a loss.
final class SentinelLink: Sendable {
    let endpoint: RedisConfiguration.Endpoint
    private let commands: SharedConnection
    private let subscriptions: Subscriptions
    private let limit: Duration

    /// What a sentinel publishes when another server becomes the primary: to itself first if it leads the failover, and
    /// when it has learned of it otherwise.
    private static let channels = ["+switch-master", "+promoted-slave"]

    init(
        _ endpoint: RedisConfiguration.Endpoint, of configuration: RedisConfiguration,
        login: RedisConfiguration.Sentinel, group: any EventLoopGroup, logger: Logger
    ) {
        var own = configuration
        own.endpoint = endpoint
        own.deployment = .single
        own.username = login.username
        own.password = login.password
        own.database = 0
        self.endpoint = endpoint
        limit = configuration.connectTimeout
        // One attempt: whoever asks all sentinels must know soon which of them are away.
        let connector = RedisConnector(own, group: group, logger: logger, attempts: 1)
        commands = SharedConnection(connector)
        subscriptions = Subscriptions(connector, logger: logger)
    }

    /// Asks for the primary of a name. A failure is a reply too.
    func ask(_ name: String) async -> SentinelReplies.Reply {
        do {
            // A sentinel that leads a failover names the new primary in the second reply before it does in the first.
            let replies = try await commands.connection(until: .after(limit)).execute(
                [
                    RedisCommand("SENTINEL", "MASTER", .string(name)),
                    RedisCommand("SENTINEL", "GET-MASTER-ADDR-BY-NAME", .string(name)),
                ], limit: TimeLimit(limit))
            return Self.reply(replies[0], replies[1])
        } catch let error as RedisError where error.kind == .server {
            return .refused(error.message)
        } catch let error as RedisError {
            return .unreachable(error.message)
        } catch {
            return .unreachable("no reply yet")
        }
    }

    /// Reads the replies to `SENTINEL MASTER`, pairs of name and value, and to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
    static func reply(_ master: RESPValue, _ address: RESPValue) -> SentinelReplies.Reply {
        if let error = master.error ?? address.error {
            return error.message.contains("No such master") ? .unknownName : .refused(error.message)
        }
        if address.isNull { return .unknownName }
        var fields: [String: String] = [:]
        let texts = (master.array ?? []).map(\.string)
        for index in stride(from: 0, to: texts.count - 1, by: 2) {
            if let name = texts[index] { fields[name] = texts[index + 1] }
        }
        guard let parts = address.array, parts.count == 2, let host = parts[0].string,
            let port = parts[1].string.flatMap(Int.init), let epoch = fields["config-epoch"].flatMap(Int64.init)
        else { return .refused("what is no reply of a sentinel") }
        return .primary(
            SentinelPrimary(endpoint: .tcp(host: host, port: port), epoch: epoch),
            isHealthy: fields["flags"] == "master")
    }

    /// Subscribes to the news that another server is the primary.
    func subscribe() async throws -> RedisSubscription {
        RedisSubscription(feed: try await subscriptions.add(Self.channels))
    }

    func shutDown() {
        commands.shutDown()
        subscriptions.shutDown()
    }
}

import Logging
import NIOCore
import Synchronization

/// Finds the primary that sentinels watch over, and leaves it when another server takes its place.
///
/// Before each connection all sentinels are asked at once. From the first one on, a watch listens to all of them and
/// also asks them, every second while something is wrong and every ten seconds otherwise, because news may be lost. As
/// soon as one of them names another primary, every connection to the former one is closed: it may take writes for ten
/// more seconds, and they are all lost.
///
/// If no sentinel replies, the primary of before is used. If it was replaced meanwhile, which then nobody can tell, its
/// connections write into a server that will be a Redis replica; `min-replicas-to-write` on the servers ends that.
final class PrimaryFinder: Sendable {
    private struct State {
        var primary: SentinelPrimary?
        /// The open connections to servers, each with the server's address.
        var connections: [ObjectIdentifier: (connection: RedisConnection, endpoint: RedisConfiguration.Endpoint)] = [:]
        /// The question that is under way, which later callers share.
        var asking: Task<SentinelReplies, Never>?
        var watch: [Task<Void, Never>]?
        /// Whether the watch must look soon again.
        var isTroubled = false
        /// Whether the latest attempt to connect failed: the primary may then be one that only few sentinels name.
        var isDoubted = false
        var isShutDown = false
    }

    /// A description for messages: `mymaster (sentinels h1:26379, h2:26379)`.
    let endpoint: String
    private let name: String
    private let links: [SentinelLink]
    private let logger: Logger
    private let state = Mutex(State())

    /// How long the other sentinels may take once one has named a healthy primary. A sentinel that does not reply must
    /// not delay every connection, and a slow one may know of a later failover.
    private static let patience: Duration = .milliseconds(250)
    private static let watchInterval: Duration = .seconds(1)
    /// Without trouble, every tenth look of the watch is carried out.
    private static let quietLooks = 10

    /// Returns nil for a deployment without sentinels.
    init?(_ configuration: RedisConfiguration, group: any EventLoopGroup, logger: Logger) {
        guard case .sentinel(let sentinel) = configuration.deployment else { return nil }
        endpoint = configuration.shownEndpoint
        name = sentinel.name
        self.logger = logger
        links = sentinel.sentinels.map {
            SentinelLink($0, of: configuration, login: sentinel, group: group, logger: logger)
        }
    }

    // MARK: Connections

    /// Asks the sentinels, and returns the address to connect to.
    func address() async throws -> RedisConfiguration.Endpoint {
        try startWatch()
        let replies = await ask()
        let known = state.withLock { $0.primary }
        if let known, replies.primary(known: known) != nil || replies.isSilence { return known.endpoint }
        throw replies.error(endpoint: endpoint)
    }

    /// Notes a new connection, which is closed when another server becomes the primary. Returns false if that has
    /// happened already.
    func add(_ connection: RedisConnection, to endpoint: RedisConfiguration.Endpoint) -> Bool {
        let id = ObjectIdentifier(connection)
        let isCurrent = state.withLock { state in
            guard state.primary?.endpoint == endpoint, !state.isShutDown else { return false }
            state.connections[id] = (connection, endpoint)
            return true
        }
        if isCurrent {
            connection.whenClosed { [weak self] in self?.state.withLock { _ = $0.connections.removeValue(forKey: id) } }
        }
        return isCurrent
    }

    /// Called after each attempt to connect. After a failure the watch looks soon again.
    func attempted(_ succeeded: Bool) {
        state.withLock { state in
            state.isDoubted = !succeeded
            if !succeeded { state.isTroubled = true }
        }
    }

    func shutDown() {
        let watch = state.withLock { state in
            defer {
                state.isShutDown = true
                state.watch = []
            }
            return state.watch ?? []
        }
        for task in watch { task.cancel() }
        for link in links { link.shutDown() }
    }

    // MARK: Asking

    /// Asks all sentinels, or waits for the replies to the question under way, and acts on them.
    @discardableResult
    private func ask() async -> SentinelReplies {
        let asking = state.withLock { state in
            if let asking = state.asking { return asking }
            let task = Task { await self.askAll() }
            state.asking = task
            return task
        }
        return await asking.value
    }

    /// Asks all sentinels after the question under way, whose replies may be older than what the caller has heard.
    private func askAgain() async {
        if let asking = state.withLock({ $0.asking }) { _ = await asking.value }
        await ask()
    }

    private func askAll() async -> SentinelReplies {
        var replies = [SentinelReplies.Reply](repeating: .unreachable("no reply yet"), count: links.count)
        await withTaskGroup(of: (index: Int, reply: SentinelReplies.Reply)?.self) { group in
            for (index, link) in links.enumerated() {
                group.addTask { [name] in (index, await link.ask(name)) }
            }
            var missing = links.count
            var isTimed = false
            while missing > 0, case .some(let next) = await group.next() {
                // The time is up.
                guard let next else { break }
                replies[next.index] = next.reply
                missing -= 1
                // A former primary is left at once, whatever the other sentinels take.
                if case .primary = next.reply, state.withLock({ $0.primary }) != nil { follow(self.all(replies)) }
                if case .primary(_, isHealthy: true) = next.reply, !isTimed {
                    isTimed = true
                    group.addTask {
                        // The sleep fails only when the group is cancelled, which then needs no timer.
                        try? await Task.sleep(for: Self.patience)
                        return nil
                    }
                }
            }
            group.cancelAll()
        }
        let all = all(replies)
        follow(all)
        state.withLock { state in
            state.asking = nil
            state.isTroubled = !all.isSettled
        }
        return all
    }

    private func all(_ replies: [SentinelReplies.Reply]) -> SentinelReplies {
        SentinelReplies(name: name, replies: zip(links, replies).map { ($0.endpoint, $1) })
    }

    /// Notes which server the sentinels name, and closes the connections to a former primary.
    private func follow(_ replies: SentinelReplies) {
        let (former, found, leaving) = state.withLock { state in
            let former = state.primary
            state.primary = replies.primary(known: state.isDoubted ? nil : former) ?? former
            let left = state.connections.filter { $1.endpoint != state.primary?.endpoint }
            for id in left.keys { state.connections[id] = nil }
            return (former, state.primary, left.values.map(\.connection))
        }
        for connection in leaving { connection.close("the sentinels name another primary") }
        guard let found, found.endpoint != former?.endpoint else { return }
        let metadata: Logger.Metadata = [
            "sentinel": "\(name)", "primary": "\(found.endpoint)", "epoch": "\(found.epoch)",
        ]
        guard let former else { return logger.debug("found the primary", metadata: metadata) }
        // Not debug: the last writes to the former primary may be lost, which its operator must know.
        logger.notice(
            "another Redis server is the primary now; the last writes to the former one may be lost",
            metadata: metadata.merging(["former": "\(former.endpoint)"]) { mine, _ in mine })
    }

    // MARK: Watching

    private func startWatch() throws {
        let isShutDown = state.withLock { state in
            if state.watch == nil, !state.isShutDown {
                state.watch =
                    links.map { link in Task { await self.listen(to: link) } } + [Task { await self.lookRegularly() }]
            }
            return state.isShutDown
        }
        if isShutDown { throw RedisError.clientShutDown(endpoint: endpoint) }
    }

    /// Asks all sentinels whenever one of them says that another server is the primary.
    private func listen(to link: SentinelLink) async {
        var backoff = Backoff(first: .milliseconds(100), limit: .seconds(2))
        while !Task.isCancelled {
            do {
                let events = try await link.subscribe()
                backoff = Backoff(first: .milliseconds(100), limit: .seconds(2))
                await askAgain()
                for await event in events where concerns(event) { await askAgain() }
            } catch {
                logger.debug(
                    "cannot listen to a sentinel", metadata: ["sentinel": "\(link.endpoint)", "error": "\(error)"])
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: backoff.nextDelay())
        }
    }

    /// Whether an event is about our primary. `+switch-master` begins with its name, `+promoted-slave` has it behind @.
    /// After a lost connection anything may have happened.
    private func concerns(_ event: RedisSubscription.Event) -> Bool {
        guard case .message(_, let payload) = event else { return true }
        return String(buffer: payload).split(separator: " ").contains { $0 == name }
    }

    private func lookRegularly() async {
        var quiet = 0
        // The sleep fails only when the task is cancelled.
        while (try? await Task.sleep(for: Self.watchInterval * Double.random(in: 0.8...1))) != nil {
            quiet += 1
            if quiet < Self.quietLooks, !state.withLock({ $0.isTroubled }) { continue }
            quiet = 0
            await ask()
        }
    }
}

extension RedisConfiguration {
    /// The server in messages: its address or, with sentinels, the name of the primary.
    package var shownEndpoint: String {
        guard case .sentinel(let sentinel) = deployment else { return endpoint.description }
        return "\(sentinel.name) (sentinels \(sentinel.sentinels.map(\.description).joined(separator: ", ")))"
    }
}

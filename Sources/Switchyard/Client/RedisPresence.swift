import NIOCore
import RedisClient
import Synchronization

/// Whether a Redis server replies, for the calls of a process that must not wait for it. In a Redis Cluster it is the
/// primary of one hash slot, whichever node that is: a slot that moves or fails over takes its presence along.
///
/// While a call has had no reply for a moment, the server is sent PING, on the connection that no large reply delays.
/// As long as it replies, calls take the time they need: the server is busy, or the call is large. Otherwise it counts
/// as away: the calls in progress end, and later ones are refused at once, until it replies to PING again. So an outage
/// costs a caller less than a second, and one that is shorter than that is not noticed.
package final class RedisPresence: Sendable {
    private struct Call {
        /// Nil if it may take long, such as a blocking one.
        var start: ContinuousClock.Instant?
        var cancel: @Sendable () -> Void
    }

    private struct State {
        /// Why the server counts as away; nil if it does not.
        var absence: String?
        var calls: [UInt64: Call] = [:]
        var nextID: UInt64 = 0
        var isWatched = false

        /// Whether a call has had no reply for a moment.
        var isLate: Bool {
            let late = ContinuousClock.now - RedisPresence.doubt
            return calls.values.contains { $0.start.map { $0 < late } ?? false }
        }
    }

    private enum Glance {
        case fine
        case late
        /// There are no calls.
        case over
    }

    private let client: RedisClient
    /// A key in the hash slot; nil if there is one server.
    private let key: String?
    private let state = Mutex(State())

    /// How often the calls in progress are looked at.
    private static let glances: Duration = .milliseconds(100)
    /// A call without a reply for this long raises a doubt.
    private static let doubt: Duration = .milliseconds(150)
    /// The server has this long to reply to PING.
    private static let patience: Duration = .milliseconds(600)
    /// One that is away may come back on a link that is slow.
    private static let longPatience: Duration = .milliseconds(1500)
    /// The pause between two PINGs while a call takes long.
    private static let rest: Duration = .milliseconds(500)

    /// The presence of the server that `client` is connected to.
    /// - Parameter key: a key in the hash slot of a Redis Cluster whose primary is meant. It need not exist.
    package init(_ client: RedisClient, key: String? = nil) {
        self.client = client
        self.key = key
    }

    /// A client of the server itself; the client of the Redis Cluster while its nodes are not known.
    private var server: RedisClient { key.flatMap { client.knownPrimary(of: $0) } ?? client }

    /// Why the server counts as away; nil if it does not.
    package var absence: String? { state.withLock { $0.absence } }

    /// Runs calls to the server. If it is away, or is found to be while they run, they end at once.
    /// - Parameter mayTakeLong: whether the server may take long to reply, as to a blocking command.
    /// - Throws: what `body` throws; `internal` with `redisAway` if the server is away.
    package func calling<Value: Sendable>(
        mayTakeLong: Bool = false, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        if let absence { throw away(absence) }
        let work = Task { try await body() }
        let id = begin(mayTakeLong: mayTakeLong) { work.cancel() }
        defer { end(id) }
        do {
            return try await withTaskCancellationHandler {
                try await work.value
            } onCancel: {
                work.cancel()
            }
        } catch is CancellationError where !Task.isCancelled {
            throw away(absence ?? "it did not reply in time", mayHaveBeenApplied: true)
        }
    }

    private func away(_ reason: String, mayHaveBeenApplied: Bool = false) -> SchedulerError {
        let doubt =
            mayHaveBeenApplied
            ? "; a change may have been made all the same: repeat the request under its id or Idempotency-Key"
            : ""
        return .internal(
            message: "Redis at \(server.configuration.shownEndpoint) does not reply: \(reason)\(doubt)", redisAway: true
        )
    }

    private func begin(mayTakeLong: Bool, _ cancel: @escaping @Sendable () -> Void) -> UInt64 {
        let (id, isAway) = state.withLock { state in
            state.nextID += 1
            state.calls[state.nextID] = Call(start: mayTakeLong ? nil : .now, cancel: cancel)
            if !state.isWatched {
                state.isWatched = true
                Task { await watch() }
            }
            return (state.nextID, state.absence != nil)
        }
        // It was found to be away just now.
        if isAway { cancel() }
        return id
    }

    private func end(_ id: UInt64) {
        state.withLock { $0.calls[id] = nil }
    }

    // MARK: Watching

    /// Looks at the calls until there are none.
    private func watch() async {
        while true {
            // Nobody cancels this task.
            try? await Task.sleep(for: Self.glances)
            let glance = state.withLock { state -> Glance in
                if state.calls.isEmpty {
                    state.isWatched = false
                    return .over
                }
                return state.isLate ? .late : .fine
            }
            switch glance {
            case .fine: continue
            case .late: await probe()
            case .over: return
            }
        }
    }

    /// Finds out whether the server replies. If not, waits until it does.
    private func probe() async {
        guard let reason = await silence() else {
            // Nobody cancels this task.
            try? await Task.sleep(for: Self.rest)
            return
        }
        let calls = state.withLock { state in
            state.absence = reason
            return state.calls.values.map(\.cancel)
        }
        for cancel in calls { cancel() }
        // What was sent on them may never arrive. New ones work as soon as the server does.
        server.closeSharedConnections()
        var backoff = Backoff(first: .milliseconds(100), limit: .seconds(1))
        while let reason = await ping(within: Self.longPatience) {
            state.withLock { $0.absence = reason }
            // Nobody cancels this task.
            try? await Task.sleep(for: backoff.nextDelay())
        }
        state.withLock { $0.absence = nil }
    }

    /// Sends PING until there is a reply, or no call is late any more. Returns nil then, and why there is no reply when
    /// the time is over.
    private func silence() async -> String? {
        var start = ContinuousClock.now
        var heard = NIODeadline.now()
        while let reason = await ping(within: max(.milliseconds(1), start + Self.patience - .now)) {
            let waited = ContinuousClock.now - start
            if waited >= Self.patience * 2 {
                // This process itself stood still, so that it cannot tell.
                start = .now
                heard = .now()
            } else if waited >= Self.patience {
                guard let last = server.lastReceived, last > heard else { return reason }
                // The reply to PING is late because the link is slow.
                start = .now
                heard = last
            }
            guard state.withLock({ $0.isLate }) else { return nil }
            // Nobody cancels this task.
            try? await Task.sleep(for: .milliseconds(20))
        }
        return nil
    }

    /// Returns why there is no reply to PING; nil if there is one, even one that refuses PING. In a Redis Cluster
    /// EXISTS takes its place: a command without a key would go to any node.
    private func ping(within limit: Duration) async -> String? {
        do {
            let command = key.map { RedisCommand("EXISTS", .string($0)) } ?? RedisCommand("PING")
            _ = try await client.send(command, deadline: limit, traffic: .urgent)
            return nil
        } catch let error as RedisError {
            switch error.kind {
            case .server: return error.isPassing ? error.message : nil
            case .invalidConfiguration, .overloaded, .clientShutDown: return nil
            default: return error.message
            }
        } catch {
            // Not an error of this client.
            return nil
        }
    }
}

extension RedisError {
    /// The server is there, and takes no commands for a while.
    fileprivate var isPassing: Bool { ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"].contains(code) }
}

/// The presences of the Redis servers of a process, or of the hash slots that it calls in a Redis Cluster.
package final class RedisPresences: Sendable {
    private let instances: [RedisClient]
    /// By the index of the server, or by the hash slot.
    private let known = Mutex<[Int: RedisPresence]>([:])

    /// No presence is watched before there is a call.
    init(_ instances: [RedisClient]) { self.instances = instances }

    /// Returns the presence of a server, or in a Redis Cluster of the primary that has `key`.
    package func presence(of index: Int, key: String) -> RedisPresence {
        let client = instances[index]
        return known.withLock { known in
            let place = client.isCluster ? HashSlot.of(key: key.utf8) : index
            if let presence = known[place] { return presence }
            let presence = RedisPresence(client, key: client.isCluster ? key : nil)
            known[place] = presence
            return presence
        }
    }
}

import Logging
import NIOCore
import Synchronization

/// One connection that many callers share.
///
/// It connects when a caller needs it: for the first time, and again after a loss. It does not reconnect by itself.
/// Callers that come while it connects wait for the same attempt, each until its own deadline.
final class SharedConnection: Sendable {
    private typealias Waiter = OneShot<RedisConnection>

    private enum Phase {
        /// Can transition to: connecting, if a caller needs a connection; shutDown.
        case disconnected
        /// Can transition to: ready, if it succeeds; disconnected, if it fails; shutDown.
        case connecting
        /// Can transition to: connecting, if a caller finds it closed; shutDown.
        case ready(RedisConnection)
        case shutDown
    }

    private struct State {
        var phase = Phase.disconnected
        /// Empty unless connecting.
        var waiters: [Waiter] = []

        mutating func takeWaiters() -> [Waiter] {
            defer { waiters = [] }
            return waiters
        }
    }

    private enum Action {
        case use(RedisConnection)
        case connect(Waiter)
        case wait(Waiter)
        case refuse
    }

    private let connector: RedisConnector
    private let onPush: RedisConnection.PushHandler?
    private let state = Mutex(State())

    init(_ connector: RedisConnector, onPush: RedisConnection.PushHandler? = nil) {
        self.connector = connector
        self.onPush = onPush
    }

    /// The open connection; nil if there is none now.
    var current: RedisConnection? {
        state.withLock { state in
            if case .ready(let connection) = state.phase, connection.isOpen { connection } else { nil }
        }
    }

    /// Returns the open connection, or connects first.
    func connection(until deadline: NIODeadline) async throws -> RedisConnection {
        let action = state.withLock { state -> Action in
            switch state.phase {
            case .ready(let connection) where connection.isOpen:
                return .use(connection)
            case .disconnected, .ready:
                state.phase = .connecting
                let waiter = Waiter()
                state.waiters.append(waiter)
                return .connect(waiter)
            case .connecting:
                let waiter = Waiter()
                state.waiters.append(waiter)
                return .wait(waiter)
            case .shutDown:
                return .refuse
            }
        }
        switch action {
        case .use(let connection): return connection
        case .refuse: throw RedisError.clientShutDown(endpoint: connector.endpoint)
        case .wait(let waiter): return try await wait(waiter, until: deadline)
        case .connect(let waiter):
            // In its own task: if the first caller is cancelled, the others still need the connection.
            Task { await connect() }
            return try await wait(waiter, until: deadline)
        }
    }

    private func wait(_ waiter: Waiter, until deadline: NIODeadline) async throws -> RedisConnection {
        let timer = connector.anyEventLoop.scheduleTask(deadline: deadline) { [connector] in
            let reason = connector.lastFailure.map { ": \($0)" } ?? ""
            let error = RedisError(
                kind: .deadlineExceeded, message: "no connection to \(connector.endpoint) in time\(reason)",
                endpoint: connector.endpoint)
            _ = waiter.complete(.failure(error))
        }
        defer { timer.cancel() }
        return try await waiter.wait(start: {})
    }

    private func connect() async {
        let result: Result<RedisConnection, any Error>
        do {
            result = .success(try await connector.connect(until: .distantFuture, onPush: onPush))
        } catch {
            result = .failure(error)
        }
        let waiters = state.withLock { state -> [Waiter]? in
            guard case .connecting = state.phase else { return nil }
            switch result {
            case .success(let connection): state.phase = .ready(connection)
            case .failure: state.phase = .disconnected
            }
            return state.takeWaiters()
        }
        guard let waiters else {
            // The client was shut down meanwhile.
            if case .success(let connection) = result {
                connection.close(.clientShutDown(endpoint: connector.endpoint))
            }
            return
        }
        for waiter in waiters {
            waiter.complete(result)
        }
    }

    func shutDown() {
        let error = RedisError.clientShutDown(endpoint: connector.endpoint)
        let (former, waiters) = state.withLock { state in
            defer { state.phase = .shutDown }
            return (state.phase, state.takeWaiters())
        }
        if case .ready(let connection) = former {
            connection.close(error)
        }
        for waiter in waiters {
            waiter.complete(.failure(error))
        }
    }
}

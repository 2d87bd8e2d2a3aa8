import NIOCore
import Synchronization

/// Connections for blocking commands such as BLPOP. Each connection serves one call at a time: a blocking command and
/// the commands sent with it.
///
/// A connection is reused after all its replies have arrived. If a call is cancelled or late, its connection is closed,
/// because the server may still reply on it.
final class BlockingConnections: Sendable {
    /// Limit on idle connections; beyond it a connection is closed after use. Each costs the server about 20 kB.
    private static let maximumIdle = 32

    private struct State {
        var idle: [RedisConnection] = []
        var busy: [ObjectIdentifier: RedisConnection] = [:]
        var isShutDown = false
    }

    private let connector: RedisConnector
    private let state = Mutex(State())

    init(_ connector: RedisConnector) {
        self.connector = connector
    }

    /// Returns all replies. `limit` counts from the moment a connection is ready; connecting has until `connectBy`.
    func execute(_ commands: [RedisCommand], limit: Duration, connectBy: NIODeadline) async throws -> [RESPValue] {
        let connection = try await take(connectBy: connectBy)
        do {
            let replies = try await connection.execute(commands, limit: TimeLimit(limit)) {
                connection.close("its blocking command was cancelled")
            }
            giveBack(connection, isUsable: true)
            return replies
        } catch {
            giveBack(connection, isUsable: false)
            throw error
        }
    }

    private func take(connectBy: NIODeadline) async throws -> RedisConnection {
        let idle = try state.withLock { state -> RedisConnection? in
            if state.isShutDown { throw RedisError.clientShutDown(endpoint: connector.endpoint) }
            while let connection = state.idle.popLast() {
                if connection.isOpen {
                    state.busy[ObjectIdentifier(connection)] = connection
                    return connection
                }
            }
            return nil
        }
        if let idle { return idle }

        let made = OneShot<RedisConnection>()
        let connection = try await made.wait(start: {
            // In its own task: connecting cannot be interrupted, and a cancelled caller must not wait for it.
            Task { [connector] in
                do {
                    let connection = try await connector.connect(until: connectBy)
                    if !made.complete(.success(connection)) { connection.close("its caller no longer waits for it") }
                } catch {
                    made.complete(.failure(error))
                }
            }
        })
        let isShutDown = state.withLock { state in
            if !state.isShutDown { state.busy[ObjectIdentifier(connection)] = connection }
            return state.isShutDown
        }
        if isShutDown {
            let error = RedisError.clientShutDown(endpoint: connector.endpoint)
            connection.close(error)
            throw error
        }
        return connection
    }

    private func giveBack(_ connection: RedisConnection, isUsable: Bool) {
        let isKept = state.withLock { state in
            state.busy[ObjectIdentifier(connection)] = nil
            let isKept =
                isUsable && connection.isOpen && !state.isShutDown && state.idle.count < Self.maximumIdle
            if isKept { state.idle.append(connection) }
            return isKept
        }
        if !isKept { connection.close("it is no longer needed") }
    }

    func shutDown() {
        let all = state.withLock { state in
            defer { state = State(isShutDown: true) }
            return state.idle + state.busy.values
        }
        for connection in all {
            connection.close(.clientShutDown(endpoint: connector.endpoint))
        }
    }
}

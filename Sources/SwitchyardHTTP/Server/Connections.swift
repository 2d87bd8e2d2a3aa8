import Foundation
import NIOCore
import Synchronization

/// The open connections, and how many of them are served.
///
/// A connection beyond the limit is a visitor: it gets the probes (`/livez`, `/readyz`), and 503 for anything else, and
/// is then closed. There is room for a few visitors; the oldest one leaves for a new one. So a probe gets its response
/// whatever number of clients there is, and no client waits for a place without being told.
final class Connections: Sendable {
    struct Limits: Sendable {
        /// The maximum number of connections that are served.
        var most: Int
        /// The first descriptor that is reserved: for Redis, for children, and for visitors. The system gives a new
        /// connection the lowest free descriptor, so that its number says how many files are open, whoever opened them.
        var firstReserved: Int
        /// The maximum number of visitors at once. As many may be about to leave.
        var visitors: Int
        /// The maximum number of connections at once, of which more are accepted only when one has closed: a burst of
        /// them may come faster than visitors leave.
        var accepted: Int
        /// The maximum number of clients that follow logs: each needs a connection to Redis.
        var followers: Int

        /// - Parameter openFiles: the limit on open files of this process.
        init(most: Int, openFiles: Int) {
            let reserve = min(512, openFiles / 4)
            self.most = most
            firstReserved = openFiles - reserve
            visitors = max(4, reserve / 4)
            // 32 files, or a few more, are open before there is a connection.
            accepted = min(most, max(1, firstReserved - 32)) + 3 * visitors
            followers = max(4, reserve / 4)
        }
    }

    private struct State {
        var clients: [ObjectIdentifier: Client] = [:]
        var served = 0
        /// The oldest is the first.
        var visitors: [Client] = []
    }

    let limits: Limits
    private let state = Mutex(State())

    init(_ limits: Limits) {
        self.limits = limits
    }

    /// The soft limit on open files of this process.
    static var openFileLimit: Int {
        let limit = sysconf(Int32(_SC_OPEN_MAX))
        return limit > 0 ? limit : .max  // -1: there is none
    }

    /// Adds a connection.
    /// - Parameter descriptor: its number; nil if the transport has none.
    func enter(_ channel: any Channel, descriptor: Int?) -> Client {
        let (client, leaving) = state.withLock { state -> (Client, [Client]) in
            let isVisitor = state.served >= limits.most || (descriptor ?? 0) >= limits.firstReserved
            let client = Client(channel: channel, isVisitor: isVisitor)
            state.clients[ObjectIdentifier(channel)] = client
            guard isVisitor else {
                state.served += 1
                return (client, [])
            }
            state.visitors.append(client)
            let late = state.visitors.count - limits.visitors - 1
            guard late >= 0 else { return (client, []) }
            return (client, [state.visitors[late]] + (late >= limits.visitors ? [state.visitors[0]] : []))
        }
        for client in leaving { client.channel.pipeline.fireUserInboundEventTriggered(ConnectionHandler.MakeRoom()) }
        return client
    }

    func leave(_ client: Client) {
        let isKnown = state.withLock { state in
            guard state.clients.removeValue(forKey: ObjectIdentifier(client.channel)) != nil else { return false }
            if client.isVisitor {
                state.visitors.removeAll { $0 === client }
            } else {
                state.served -= 1
            }
            return true
        }
        if isKnown { client.hasLeft() }
    }

    /// Returns the client of a channel; nil after it has left.
    func client(of channel: any Channel) -> Client? {
        state.withLock { $0.clients[ObjectIdentifier(channel)] }
    }
}

/// The peer of one connection.
final class Client: Sendable {
    let channel: any Channel
    /// Whether it gets the probes only.
    let isVisitor: Bool

    private struct State {
        var isPresent = true
        var works: [Int: @Sendable () -> Void] = [:]
        var nextID = 0
    }
    private let state = Mutex(State())

    init(channel: any Channel, isVisitor: Bool) {
        self.channel = channel
        self.isVisitor = isVisitor
    }

    /// Runs `body`, and cancels it when the client closes the connection or its half of it.
    func whilePresent<Value: Sendable>(
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let work = Task { try await body() }
        let id = state.withLock { state -> Int? in
            guard state.isPresent else { return nil }
            state.nextID += 1
            state.works[state.nextID] = { work.cancel() }
            return state.nextID
        }
        if id == nil { work.cancel() }
        defer { if let id { state.withLock { $0.works[id] = nil } } }
        return try await withTaskCancellationHandler {
            try await work.value
        } onCancel: {
            work.cancel()
        }
    }

    /// Called when no more can come from the client.
    func hasLeft() {
        let works = state.withLock { state in
            defer { state.works = [:] }
            state.isPresent = false
            return state.works.values
        }
        for cancel in works { cancel() }
    }
}

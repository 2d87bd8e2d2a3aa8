import Logging
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Returns the code of the error with which Redis refuses `body`; nil if it does not.
func refusal(_ body: () async throws -> Void) async throws -> String? {
    do {
        try await body()
        return nil
    } catch let error as RedisError {
        return error.code
    }
}

/// Returns the name of the scheduler error that `body` throws; nil if it throws none.
func schedulerError(_ body: () async throws -> Void) async throws -> String? {
    do {
        try await body()
        return nil
    } catch let error as SchedulerError {
        return error.code
    }
}

/// Expects that Redis refuses `body` with `code`.
func expectRefusal(
    _ code: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws {
    let found = try await refusal(body)
    #expect(found == code, sourceLocation: sourceLocation)
}

/// Expects that `body` throws the scheduler error named `code`.
func expectError(
    _ code: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws {
    let found = try await schedulerError(body)
    #expect(found == code, sourceLocation: sourceLocation)
}

extension TestQueue {
    /// Pulls, starts and completes one task after the other until there is none. Returns their order.
    func runAll(_ worker: String, holding: Int = 1) async throws -> [String] {
        var order: [String] = []
        while true {
            let got = try await pull(worker, max: holding, start: true)
            if got.isEmpty { return order }
            for task in got {
                order.append(task.id)
                try await finish(worker, task.id, attempt: task.attempt, "completed")
            }
        }
    }

    func stats() async throws -> QueueStats { try await handle.getStats() }
}

extension RedisSubscription {
    /// The text of the next message, if one comes in time.
    func firstMessage(within limit: Duration = .seconds(5)) async throws -> String? {
        try await withThrowingTaskGroup(of: String?.self) { group in
            group.addTask {
                for await event in self {
                    if case .message(_, let payload) = event { return String(buffer: payload) }
                }
                return nil
            }
            group.addTask {
                try await Task.sleep(for: limit)
                return nil
            }
            let first = try await group.next() ?? nil
            group.cancelAll()
            return first
        }
    }
}

extension Logger {
    /// For replicas that a test starts and kills on purpose.
    static let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
}

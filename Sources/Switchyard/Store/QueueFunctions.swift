import Logging
import NIOCore
import RedisClient

/// Calls the functions of a queue, or of one of its partitions. Restores the library when Redis has lost it, repeats a call whose reply was lost (a
/// repetition is answered like the first, or does no harm: output may stand in a log twice), and turns Redis's errors
/// into ``SchedulerError``.
public struct QueueFunctions: Sendable {
    public let keys: Keys
    public let client: RedisClient
    let library: FunctionLibrary

    /// - Parameter queue: a valid ``Name``.
    public init(queue: String, partition: Int = 0, client: RedisClient, logger: Logger) {
        self.keys = Keys(queue: queue, partition: partition)
        self.client = client
        self.library = FunctionLibrary(client: client, logger: logger)
    }

    /// How long a call goes on trying while Redis is away.
    static let patience: Duration = .seconds(8)

    /// Calls `switchyard_<function>` with pairs of name and value.
    /// - Throws: ``SchedulerError``, or `CancellationError`.
    public func call(_ function: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
        try await callNotingRepeats(function, arguments).reply
    }

    /// As ``call(_:_:)``; `repeated` tells that an earlier try may have been carried out without its reply arriving.
    func callNotingRepeats(
        _ function: String, _ arguments: [RedisArgument]
    ) async throws -> (reply: RESPValue, repeated: Bool) {
        let command = RedisCommand(
            "FCALL", [.string("switchyard_\(function)")] + keys.declared, arguments)
        let start = ContinuousClock.now
        var repeated = false
        var restored = false
        var pause = Duration.milliseconds(20)
        while true {
            do {
                return (try await client.send(command), repeated)
            } catch let error as RedisError {
                let isMissing = FunctionLibrary.isMissing(error)
                if isMissing {
                    try await restoreLibrary()
                    // Missing again: flushed once more, or a newer library that has no such function.
                    if !restored {
                        restored = true
                        continue
                    }
                }
                guard isMissing || Self.mayPass(error), ContinuousClock.now - start + pause < Self.patience else {
                    throw SchedulerError(error)
                }
                repeated = repeated || error.mayHaveBeenApplied
            }
            try await Task.sleep(for: pause * Double.random(in: 0.5...1.5))
            pause = min(pause * 2, .seconds(1))
        }
    }

    private func restoreLibrary() async throws {
        do {
            try await library.ensureLoaded()
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
    }

    /// Whether the same call may succeed in a moment.
    private static func mayPass(_ error: RedisError) -> Bool {
        switch error.kind {
        case .connectionClosed, .connectionFailed, .deadlineExceeded: true
        case .server: error.code == "READONLY"
        default: false
        }
    }
}

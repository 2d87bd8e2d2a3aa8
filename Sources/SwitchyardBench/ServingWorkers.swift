import SwitchyardWorker

/// Workers in this process, which serve while something is measured.
enum ServingWorkers {
    /// Runs `body` while the workers run; then drains them, and returns when they have ended.
    /// - Throws: the error of the first worker or of `body`; ``BenchError`` if a worker ends before `body`. The others
    ///   are cancelled then.
    static func run<Value: Sendable>(
        _ workers: [Worker], _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await run(
            workers.map { worker in { try await worker.run() } }, drain: { for worker in workers { worker.drain() } },
            body)
    }

    static func run<Value: Sendable>(
        _ workers: [@Sendable () async throws -> Void], drain: () -> Void,
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            for worker in workers {
                group.addTask {
                    try await worker()
                    return nil
                }
            }
            group.addTask { try await body() }
            guard let first = try await group.next(), let value = first else {
                // A cancelled worker ends without an error.
                try Task.checkCancellation()
                throw BenchError("bench: a worker ended before the measurement, expected it to serve until its end")
            }
            drain()
            try await group.waitForAll()
            return value
        }
    }
}

import RedisClient

// What a person tells a worker: to drain, or that it is cordoned. Each partition is told.

extension SchedulerHandle {
    /// Drains a worker: its process finishes its attempts, takes no more work, and ends. Another process with the same
    /// id takes work again.
    /// - Throws: `workerNotFound`.
    public func drainWorker(_ id: String) async throws {
        try await tell("drain", id)
    }

    /// Cordons a worker: it gets no work until it is uncordoned, also after a restart with its id. It finishes its
    /// attempts, and stays registered.
    /// - Throws: `workerNotFound`.
    public func cordonWorker(_ id: String) async throws {
        try await tell("cordon", id)
    }

    /// Ends the cordon of a worker, which need not be registered now.
    /// - Throws: `workerNotFound` if it is neither registered nor cordoned.
    public func uncordonWorker(_ id: String) async throws {
        try await tell("cordon", id, ["off", "1"])
    }

    private func tell(_ function: String, _ id: String, _ more: [RedisArgument] = []) async throws {
        let arguments: [RedisArgument] = ["worker", .string(try Name.validate(id, field: "worker"))] + more
        let refusals = try await all { functions in
            do {
                _ = try await functions.call(function, arguments)
                return SchedulerError?.none
            } catch let error as SchedulerError {
                guard case .workerNotFound = error else { throw error }
                return error
            }
        }
        // A worker may not have registered in every partition yet.
        if let refusal = refusals.first ?? nil, refusals.allSatisfy({ $0 != nil }) { throw refusal }
    }
}

import RedisClient

extension WorkerClient {
    /// Tells another live process with this worker's id that this process replaces it. A process that a `Worker` runs
    /// then stops its attempts and leaves.
    ///
    /// Call it before the first registration, and again until it returns nil, so that the other process has stopped its
    /// attempts before the queue gives their tasks to others. It asks who listens on the worker's control channel, so
    /// it does not see a process whose subscription is interrupted; that one learns of the replacement by its next
    /// call, which the queue refuses because of the nonce.
    /// - Returns: how long the leases of the queue last, or nil if there is no other process.
    package func announceReplacement() async throws -> Duration? {
        guard let nonce else { return nil }
        let channel = functions.keys.control(worker)
        let isSharded = functions.client.isCluster
        let replies: [RESPValue]
        do {
            replies = try await functions.client.pipeline([
                RedisCommand("PUBSUB", isSharded ? "SHARDNUMSUB" : "NUMSUB", .string(channel)),
                RedisCommand(isSharded ? "SPUBLISH" : "PUBLISH", .string(channel), .string("replaced \(nonce)")),
                RedisCommand("HGET", .string(functions.keys.config), "lease_ms"),
            ])
        } catch let error as RedisError {
            throw SchedulerError(error)
        }
        // A login that may not ask gets an error as the first reply: the registration then replaces the process.
        guard let listeners = replies.first?.array?.last?.int, listeners > 0 else { return nil }
        let lease = NumberRange.duration.number(replies.last, field: "lease_ms")
        return lease.map { .milliseconds($0) } ?? SchedulerConfig().lease
    }

    /// What the process learns that another one replaces: the same as the queue's reply to its next call.
    package var replacement: SchedulerError {
        .workerNotFound(
            message: "worker \(worker) is another process now, which registered with its id: stop the work")
    }
}

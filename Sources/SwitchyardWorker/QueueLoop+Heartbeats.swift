import Logging
import RedisClient
import Switchyard

// The heartbeats of a worker, and what the scheduler sends to it: the replies to its heartbeats, and messages on its
// control channel.

extension QueueLoop {
    /// The pause before a heartbeat that failed is repeated.
    private static let pauseAfterFailedHeartbeat: Duration = .seconds(1)

    /// Sends heartbeats, which renew the leases, and obeys their replies: one after each pause, and at once when orders
    /// may have been missed.
    func sendHeartbeats(_ terms: WorkerClient.Terms) async {
        var pause = leaseWatch.pause(terms)
        var timer = beat(after: pause)
        for await deadline in beats.stream {
            timer.cancel()
            let next = await heartbeat(deadline: deadline)
            if let next { pause = leaseWatch.pause(next) } else { pause = min(pause, Self.pauseAfterFailedHeartbeat) }
            timer = beat(after: pause)
        }
        timer.cancel()
    }

    private func beat(after pause: Duration) -> Task<Void, any Error> {
        Task { [beats] in
            try await Task.sleep(for: pause)
            beats.continuation.yield(max(.seconds(1), pause / 2))
        }
    }

    /// Has a heartbeat sent now. Its reply has the orders that the control channel may have lost. One that fails is
    /// repeated.
    private func askForOrders() {
        beats.continuation.yield(.seconds(1))
    }

    /// Sends one heartbeat and obeys its reply. Returns the intervals that hold from now on, or nil if it failed.
    func heartbeat(deadline: Duration) async -> WorkerClient.Terms? {
        let leased = table.leased
        let sent = ContinuousClock.now
        do {
            let orders = try await link.heartbeat(
                leased.map { ($0.id.taskID, $0.id.number, $0.progress) }, deadline: deadline)
            leaseWatch.renew(sent: sent, orders.terms)
            if orders.drain { drain() }
            if let found = orders.partitions, let error = partitions.mismatch(found, link.functions) { refuse(error) }
            for reason in orders.ignored {
                logger.warning("the queue did not accept a part of a heartbeat", metadata: ["reason": "\(reason)"])
            }
            for stop in orders.stop { self.stop(stop.taskID, attempt: stop.attempt) }
            if leaseWatch.mayHaveLeftLeases(now: sent) { table.noteWork() }
            return orders.terms
        } catch let error as SchedulerError where error.isReplacement {
            stopForReplacement(error)
        } catch SchedulerError.workerNotFound {
            logger.warning("the queue counted this worker as lost; it registers again")
            for attempt in leased { stop(attempt.id.taskID, attempt: attempt.id.number) }
            return await register()
        } catch {
            if !Task.isCancelled { logger.warning("heartbeat failed", metadata: ["error": "\(error)"]) }
        }
        return nil
    }

    /// Subscribes to the control channel. Returns nil if that fails.
    func subscribeToControlChannel() async -> RedisSubscription? {
        do {
            return try await link.functions.client.subscribe(to: [link.functions.keys.control(link.worker)])
        } catch {
            if !Task.isCancelled {
                logger.warning("cannot subscribe to the control channel; retrying", metadata: ["error": "\(error)"])
            }
            return nil
        }
    }

    /// Obeys the messages on the control channel. A message arrives sooner than the reply to a heartbeat, which repeats
    /// the same orders, but may be lost: so a heartbeat follows whenever the subscription is made, for the messages
    /// before it.
    /// - Parameter first: the subscription, if the first try succeeded.
    func obeyControlChannel(_ first: RedisSubscription?) async {
        var subscription = first
        var backoff = Self.backoff()
        while !Task.isCancelled {
            if let events = subscription {
                backoff = Self.backoff()
                askForOrders()
                for await event in events { obey(event) }
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: backoff.nextDelay())
            subscription = await subscribeToControlChannel()
        }
    }

    private func obey(_ event: RedisSubscription.Event) {
        // Otherwise messages may have been lost.
        guard case .message(_, let payload) = event else { return askForOrders() }
        let words = String(buffer: payload).split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("cancel", 3), ("timeout", 3):
            if let attempt = Int(words[2]) { stop(words[1], attempt: attempt) }
        case ("drain", 1):
            drain()
        case ("replaced", 2):
            if words[1] != link.nonce { stopForReplacement(link.replacement) }
        default:
            logger.debug("unknown message on the control channel", metadata: ["message": "\(words)"])
        }
    }

    private func stop(_ taskID: String, attempt: Int) {
        if table.stop(taskID, attempt: attempt, .notOurs) {
            logger.info("stopping an attempt", metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)"])
        }
    }

    // MARK: Replacement

    /// Tells a live process with this worker's id that this one replaces it, and waits until it has stopped its
    /// attempts and left, at most for a lease: by then a process that is cut off has stopped its attempts by its own
    /// clock.
    func replaceFormerProcess() async throws {
        var limit: ContinuousClock.Instant?
        while let lease = try await link.announceReplacement() {
            if limit == nil {
                logger.warning(
                    "another process is running with this worker's id: it is told to stop, and this one replaces it",
                    metadata: ["queue": "\(link.functions.keys.name)"])
            }
            limit = limit ?? .now + lease
            if let limit, limit <= .now { return }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Stops all attempts and ends the worker, because another process has its id. `run` throws `error`.
    func stopForReplacement(_ error: SchedulerError) {
        if refuse(error) {
            logger.warning(
                "another process has this worker's id: this one stops its attempts and ends",
                metadata: ["attempts": "\(table.runningCount)"])
        }
        table.abandon()
    }
}

import Logging
import RedisClient
import Switchyard

// How a worker waits for work: it sleeps on its wake-up list in Redis.

extension QueueLoop {
    /// How long the worker waits for a wake-up before it pulls without one. After a broken connection it pulls at once.
    private static let wakeTimeout: Duration = .seconds(30)

    /// Waits for wake-ups until the worker drains or the task is cancelled.
    func listenForWakeUps() async {
        if isSpread { await listen() } else { await sleepAndWake() }
    }

    /// Sleeps whenever there is nothing else to do. The sleep and the pull that follows it are one round trip.
    private func sleepAndWake() async {
        var backoff = Self.backoff()
        while let sleep = await table.nextSleep() {
            let sent = ContinuousClock.now
            do {
                let awakening = try await sleepAndPull(sleep)
                await begin(table.wakeUp(sleep, awakening.assignments), sent: sent)
                // A poller's call gets the same refusal, and handles it.
                if awakening.refusal != nil { table.noteWork() }
                backoff = Self.backoff()
            } catch {
                // The wake-up, or the reply to the pull, may have been lost with the connection: a poller calls.
                table.breakSleep(sleep)
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                // The sleep fails only when the task is cancelled: `nextSleep` then returns nil.
                try? await Task.sleep(for: backoff.nextDelay())
            }
        }
    }

    /// Sleeps in a task of its own, which ``endSleep()`` can cancel.
    private func sleepAndPull(_ sleep: AttemptTable.Sleep) async throws -> WorkerClient.Awakening {
        let call = Task { [link, takesTogether] in
            try await link.sleepAndPull(
                timeout: Self.wakeTimeout, max: sleep.want, together: takesTogether, maxBytes: sleep.maxBytes)
        }
        sleepCall.withLock { $0 = call }
        return try await withTaskCancellationHandler {
            try await call.value
        } onCancel: {
            call.cancel()
        }
    }

    /// Starts what a sleep has brought.
    ///
    /// After a long sleep nobody knows when the wake-up came: just now, or long ago, and the network has delivered the
    /// reply late. Other connections may have been restored before, so heartbeats do not tell. One that names these
    /// attempts does.
    private func begin(_ assignments: [WorkerClient.Assignment], sent: ContinuousClock.Instant) async {
        if assignments.isEmpty || leaseWatch.allowsStart(sent: sent, now: .now) {
            return start(assignments, sent: sent)
        }
        let asked = ContinuousClock.now
        guard await heartbeat(deadline: .seconds(1)) != nil else { return start(assignments, sent: sent) }
        var leased: [WorkerClient.Assignment] = []
        for assignment in assignments {
            let attempt = Attempt(assignment, holder: holder)
            // During the call, the queue or the end of the lease may have stopped it, and a poller may have received
            // the next attempt at its task.
            if table.mayRun(attempt) {
                leased.append(assignment)
            } else {
                // Nobody wants its outcome. Does nothing for an attempt that a later one has replaced.
                table.endAtOnce([AttemptEnd(attempt: attempt, outcome: .completed())])
            }
        }
        start(leased, sent: asked)
    }

    /// How long Redis has to take the wake-up that ends the sleep of a worker that drains, and then to deliver it.
    private static let awakening: (sending: Duration, delivery: Duration) = (.seconds(2), .seconds(3))

    /// Ends the sleep of a worker that drains. Tasks that the sleep still brings are run.
    ///
    /// If Redis does not reply, the sleep is given up: a worker ends although Redis is away. What its pull may still
    /// bring is handed out again, as after the death of a worker.
    func endSleep() async {
        do {
            let list = link.functions.keys.wake(link.worker)
            _ = try await link.functions.client.send(
                RedisCommand("LPUSH", .string(list), "1"), deadline: Self.awakening.sending)
            // Nobody cancels this task.
            try? await Task.sleep(for: Self.awakening.delivery)
        } catch {
            logger.debug("cannot end the sleep", metadata: ["error": "\(error)"])
        }
        if table.isSleeping { sleepCall.withLock { $0?.cancel() } }
    }

    /// Waits for wake-ups without pulling. Several partitions share the slots, so before a sleep none of them knows how
    /// many slots are free after it.
    private func listen() async {
        var backoff = Self.backoff()
        while !Task.isCancelled, !table.isDraining {
            do {
                let isWoken = try await link.waitForWakeUp(timeout: Self.wakeTimeout)
                backoff = Self.backoff()
                if isWoken {
                    table.noteWakeUp()
                    continue
                }
            } catch {
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                // The sleep fails only when the task is cancelled, which ends the loop.
                try? await Task.sleep(for: backoff.nextDelay())
            }
            // Also after a failure, because the wake-up may have been lost with the connection.
            table.noteWork()
        }
    }
}

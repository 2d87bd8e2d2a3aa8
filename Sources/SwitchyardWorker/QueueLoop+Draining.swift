import Logging
import RedisClient
import Switchyard

// How a worker drains: it pulls no more tasks, waits for its attempts and, if that takes too long, hands them back.

extension QueueLoop {
    /// Drains the whole worker.
    func drain() {
        if table.isDraining { return }
        logger.info("worker drains: it takes no more tasks", metadata: ["queue": "\(link.functions.keys.name)"])
        onDrain()
    }

    /// Takes no more tasks from this partition.
    func beginToDrain() {
        if table.isDraining { return }
        table.drain()
        // A sleep may still bring tasks.
        if table.isSleeping { Task { await endSleep() } }
        if table.isSleeping || !table.leased.isEmpty { Task { await tellThatItDrains() } }
        guard let drainTimeout else { return }
        Task { [weak self] in
            // Nobody cancels this. The loop may have ended by then.
            try? await Task.sleep(for: drainTimeout)
            self?.handBackAll()
        }
    }

    /// Makes the drain known while attempts still run: the worker is then not counted as idle, and if it is killed
    /// before they end, they use up no retry. A worker without attempts deregisters at once.
    private func tellThatItDrains() async {
        var backoff = Self.backoff()
        while !table.isClosed {
            do {
                try await link.drain()
                return
            } catch SchedulerError.internal(_, redisAway: true) {
                // Nobody cancels this task.
                try? await Task.sleep(for: backoff.nextDelay())
            } catch {
                logger.debug("cannot say that this worker drains", metadata: ["error": "\(error)"])
                return
            }
        }
    }

    /// Tells all attempts to end, and hands them back once they have. The worker drains.
    func handBackAll() {
        let isFirst = isHandingBack.withLock { isHandingBack in
            defer { isHandingBack = true }
            return !isHandingBack
        }
        guard isFirst else { return }
        let count = table.runningCount
        if count > 0 {
            logger.notice(
                "worker drains: its attempts are told to end, and go back to the queue", metadata: ["count": "\(count)"]
            )
        }
        table.stopAll(.drained)
    }

    /// Hands an attempt back that was told to end because the worker drains.
    func handBackDrained(_ attempt: Attempt) async {
        await handBack(attempt) { try await self.link.handBackDrained(taskID: attempt.id, attempt: attempt.number) }
    }
}

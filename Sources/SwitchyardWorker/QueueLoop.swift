import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard
import Synchronization

/// Serves one queue, or one partition of it, for a worker: registers, pulls tasks, runs and reports attempts, and
/// deregisters.
///
/// Two pollers call the queue in a loop. One call reports the attempts that have ended and pulls as many tasks as slots
/// are free; ``AttemptTable`` decides when. Besides, the loop waits on the worker's wake-up list, sends heartbeats that
/// renew its leases, and listens to its control channel. While Redis is unreachable, attempts go on and reports are
/// kept.
final class QueueLoop: Sendable {
    let link: WorkerClient
    let table: AttemptTable
    let logger: Logger
    let partitions: Partitions
    private let registration: WorkerClient.Registration
    let takesTogether: Bool
    let isSpread: Bool
    private let handler: any TaskHandler
    private let holder: AttemptHolder
    private let limits: TimeLimits

    /// Redis can run one call while the reply to the other is on its way; a third call would only wait.
    private static let pollerCount = 2
    /// The pause between two tries while Redis is unreachable. Each try includes the retries of ``QueueFunctions``.
    static let pauseAfterFailure: Duration = .milliseconds(500)

    /// Why the worker cannot serve the queue at all; `run` throws it.
    private let refusal = Mutex<SchedulerError?>(nil)
    /// Drains the whole worker.
    private let onDrain: @Sendable () -> Void

    /// - Parameters:
    ///   - grant: this partition's share of the worker's slots; nil: all of them.
    ///   - onDrain: called when the scheduler asks the worker to drain.
    init(
        link: WorkerClient, partitions: Partitions, grant: SlotGrant?, registration: WorkerClient.Registration,
        takesTogether: Bool, handler: any TaskHandler, logger: Logger, onDrain: @escaping @Sendable () -> Void
    ) {
        self.link = link
        self.partitions = partitions
        self.onDrain = onDrain
        self.registration = registration
        self.takesTogether = takesTogether
        self.handler = handler
        self.logger = logger
        isSpread = grant != nil
        table = AttemptTable(slots: registration.slots, grant: grant)
        holder = AttemptHolder(link: link, table: table, logger: logger)
        limits = TimeLimits(table: table)
    }

    /// Runs until drained. If cancelled, it stops its attempts and deregisters.
    /// - Throws: `invalidInput` if the queue has other partitions than this worker was given; `workerNotFound` if
    ///   another process has registered with the worker's id.
    func run() async throws {
        let terms = await cancelWhenGracefulShutdown { await self.register() }
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
        guard let terms else { return }
        logger.info(
            "worker registered",
            metadata: ["queue": "\(link.functions.keys.name)", "slots": "\(registration.slots)"])
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listenForWakeUps() }
            group.addTask { await self.sendHeartbeats(every: terms.heartbeat) }
            group.addTask { await self.obeyControlChannel() }
            await withGracefulShutdownHandler {
                await withTaskGroup(of: Void.self) { pollers in
                    for _ in 0..<Self.pollerCount { pollers.addTask { await self.poll() } }
                }
            } onGracefulShutdown: {
                self.drain()
            }
            group.cancelAll()
        }
        // A drained worker has no attempts left; those of a cancelled one are stopped here.
        limits.end()
        table.stopAll()
        await leave()
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
    }

    /// Takes no more tasks from this partition.
    func beginToDrain() {
        table.drain()
        if table.isSleeping { Task { await endSleep() } }
        if !table.leased.isEmpty { Task { await tellThatItDrains() } }
    }

    /// Makes the drain known while attempts still run, so that the worker is not counted as idle. A worker without
    /// attempts deregisters at once.
    private func tellThatItDrains() async {
        do {
            try await link.drain()
        } catch {
            // Only what people are shown depends on it: the worker pulls nothing in any case.
            logger.debug("cannot say that this worker drains", metadata: ["error": "\(error)"])
        }
    }

    /// Drains the whole worker.
    func drain() {
        if table.isDraining { return }
        logger.info("worker drains: it takes no more tasks", metadata: ["queue": "\(link.functions.keys.name)"])
        onDrain()
    }

    /// Registers the worker, and retries until it succeeds. Returns nil if the loop was cancelled or drained before
    /// that, or if the queue has other partitions than this worker was given; then the worker drains.
    @discardableResult
    func register() async -> WorkerClient.Terms? {
        while !Task.isCancelled, !table.isDraining {
            do {
                try await partitions.join(link.functions, mayChange: false)
                return try await link.register(registration)
            } catch let error as SchedulerError where error.field == "partitions" {
                refuse(error)
                return nil
            } catch {
                logger.error("cannot register; retrying", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
        return nil
    }

    /// Stops all attempts and drains the worker, because another process has registered with its id, which ends this
    /// process's leases. `run` throws `error`.
    func stopForReplacement(_ error: SchedulerError) {
        refuse(error)
        table.abandon()
    }

    /// Drains the worker, because it cannot serve the queue. `run` throws `error`.
    func refuse(_ error: SchedulerError) {
        logger.error("this worker cannot serve the queue", metadata: ["error": "\(error)"])
        refusal.withLock { $0 = error }
        onDrain()
    }

    private func leave() async {
        // A cancelled Swift task cannot send. An unstructured one deregisters, so that the queue ends the leases that
        // are left at once, not when they expire.
        await Task { [link, logger] in
            do {
                try await link.deregister()
                logger.info("worker deregistered")
            } catch SchedulerError.workerNotFound {
                logger.info("worker stopped; the queue had already counted it as lost")
            } catch {
                logger.warning("cannot deregister; the registration will expire", metadata: ["error": "\(error)"])
            }
        }.value
    }

    // MARK: Pollers

    private func poll() async {
        while let exchange = await table.nextExchange() { await perform(exchange) }
    }

    private func perform(_ exchange: AttemptTable.Exchange) async {
        if !exchange.starts.isEmpty { return start(exchange.starts) }
        do {
            let reply = try await link.finish(
                exchange.reports, pull: exchange.want, holding: exchange.holding, together: takesTogether)
            for case (let report, .failure(let refusal)) in zip(exchange.reports, reply.states) {
                logger.warning(
                    "a report was refused; the attempt's result is dropped",
                    metadata: ["task_id": "\(report.taskID)", "error": "\(refusal)"])
            }
            start(table.settle(exchange, reply.assignments, isCertain: !reply.isRepetition))
            if let refused = reply.pullRefusal {
                if refused.isReplacement { return stopForReplacement(refused) }
                await register()
                table.noteWork()
            }
        } catch let error as SchedulerError where error.isReplacement {
            table.giveBack(exchange)
            stopForReplacement(error)
        } catch SchedulerError.workerNotFound {
            // The queue counted the worker as lost. The next heartbeat's reply says which leases it has lost.
            table.giveBack(exchange)
            await register()
        } catch {
            table.giveBack(exchange)
            if Task.isCancelled { return }
            logger.error("cannot reach the queue; retrying", metadata: ["error": "\(error)"])
            try? await Task.sleep(for: Self.pauseAfterFailure)
        }
    }

    // MARK: Attempts

    /// Starts attempts. Those that the handler runs in place have ended when this returns.
    func start(_ assignments: [WorkerClient.Assignment]) {
        var ends: [AttemptEnd] = []
        for assignment in assignments {
            let attempt = Attempt(assignment, holder: holder)
            if let outcome = handler.runAtOnce(attempt) {
                ends.append(AttemptEnd(attempt: attempt, outcome: outcome))
            } else {
                start(attempt)
            }
        }
        if !ends.isEmpty { table.endAtOnce(ends) }
    }

    private func start(_ attempt: Attempt) {
        let deadline = ContinuousClock.now + attempt.timeout
        let work = Task { [handler, table] in
            let outcome = await handler.run(attempt)
            table.end(AttemptEnd(attempt: attempt, outcome: outcome))
        }
        table.attach(work, to: attempt.id, attempt: attempt.number, deadline: deadline)
        limits.watch(deadline)
    }
}

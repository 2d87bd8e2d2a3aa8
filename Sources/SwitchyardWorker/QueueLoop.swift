import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard
import Synchronization

/// Serves one queue, or one partition of it, for a worker: registers there, carries reports and tasks, runs the attempts, and
/// leaves.
///
/// Two couriers talk to Redis, each in a loop: a call delivers what has ended and brings as many tasks as slots are free
/// (``AttemptTable`` says when). Beside them it sleeps on its wake-up list, sends heartbeats that renew the leases of what it
/// holds, and listens to its control channel. While Redis is away it goes on working and keeps its reports.
final class QueueLoop: Sendable {
    let link: WorkerProtocol
    let table: AttemptTable
    let logger: Logger
    let partitions: Partitions
    private let registration: WorkerProtocol.Registration
    let takesTogether: Bool
    let isSpread: Bool
    private let handler: any TaskHandler
    private let holder: AttemptHolder
    private let limits: TimeLimits

    /// One call can be answered while the next is on its way; a third would only wait.
    private static let couriers = 2
    /// Between two tries while Redis is away, after the client's own.
    static let pauseAfterFailure: Duration = .milliseconds(500)

    /// Why it cannot serve the queue at all.
    private let refusal = Mutex<SchedulerError?>(nil)
    /// Drains the whole worker.
    private let onDrain: @Sendable () -> Void

    /// - Parameters:
    ///   - grant: its part of the worker's slots; nil: all of them.
    ///   - onDrain: called when the scheduler asks the worker to drain.
    init(
        link: WorkerProtocol, partitions: Partitions, grant: SlotGrant?, registration: WorkerProtocol.Registration,
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

    /// Runs until drained. Cancelled, it stops its attempts and leaves.
    /// - Throws: `invalidInput` when the queue has other partitions than this worker was told.
    func run() async throws {
        let terms = await cancelWhenGracefulShutdown { await self.register() }
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
        guard let terms else { return }
        logger.info(
            "worker registered",
            metadata: ["queue": "\(link.functions.keys.place)", "slots": "\(registration.slots)"])
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listenForWakeUps() }
            group.addTask { await self.beat(every: terms.heartbeat) }
            group.addTask { await self.obeyControlChannel() }
            await withGracefulShutdownHandler {
                await withTaskGroup(of: Void.self) { couriers in
                    for _ in 0..<Self.couriers { couriers.addTask { await self.carry() } }
                }
            } onGracefulShutdown: {
                self.drain()
            }
            group.cancelAll()
        }
        // Nothing is left of a drained worker; of a cancelled one, what runs is stopped.
        limits.end()
        table.stopAll()
        await leave()
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
    }

    /// No more tasks.
    func beginToDrain() {
        table.drain()
        if table.isSleeping { Task { await endSleep() } }
    }

    func drain() {
        if table.isDraining { return }
        logger.info("worker drains: it takes no more tasks", metadata: ["queue": "\(link.functions.keys.place)"])
        onDrain()
    }

    /// Nil when cancelled or drained before it succeeded, and when the queue has other partitions: then the worker drains.
    @discardableResult
    func register() async -> WorkerProtocol.Terms? {
        while !Task.isCancelled, !table.isDraining {
            do {
                try await partitions.join(link.functions, mayChange: false)
                return try await link.register(registration)
            } catch let error as SchedulerError where error.field == "partitions" {
                refuse(error)
                return nil
            } catch {
                logger.error("cannot register, and will try again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
        return nil
    }

    /// Another process has the worker's id: what this one still runs is lost, and it leaves.
    func stopForReplacement(_ error: SchedulerError) {
        refuse(error)
        table.abandon()
    }

    /// It would miss tasks: the worker drains, and says why.
    func refuse(_ error: SchedulerError) {
        logger.error("this worker cannot serve the queue", metadata: ["error": "\(error)"])
        refusal.withLock { $0 = error }
        onDrain()
    }

    private func leave() async {
        // A cancelled task cannot send: what ran under it must still be given back at once, not after its lease.
        await Task { [link, logger] in
            do {
                try await link.deregister()
                logger.info("worker left")
            } catch SchedulerError.workerNotFound {
                logger.info("worker left; it had been taken for lost")
            } catch {
                logger.warning("could not say good-bye; its registration runs out", metadata: ["error": "\(error)"])
            }
        }.value
    }

    // MARK: Couriers

    private func carry() async {
        while let turn = await table.nextTurn() { await take(turn) }
    }

    private func take(_ turn: AttemptTable.Turn) async {
        if !turn.starts.isEmpty { return start(turn.starts) }
        do {
            let answer = try await link.finish(
                turn.reports, pull: turn.want, holding: turn.holding, together: takesTogether)
            for case (let report, .failure(let refusal)) in zip(turn.reports, answer.states) {
                logger.warning(
                    "a report was refused; the attempt's result is dropped",
                    metadata: ["task_id": "\(report.taskID)", "error": "\(refusal)"])
            }
            start(table.settle(turn, answer.assignments, isCertain: !answer.isRepetition))
            if let refused = answer.pullRefusal {
                if refused.isReplacement { return stopForReplacement(refused) }
                await register()
                table.noteWork()
            }
        } catch let error as SchedulerError where error.isReplacement {
            table.giveBack(turn)
            stopForReplacement(error)
        } catch SchedulerError.workerNotFound {
            // Taken for lost. The next heartbeat tells which attempts are no longer ours.
            table.giveBack(turn)
            await register()
        } catch {
            table.giveBack(turn)
            if Task.isCancelled { return }
            logger.error("cannot reach the queue, and will try again", metadata: ["error": "\(error)"])
            try? await Task.sleep(for: Self.pauseAfterFailure)
        }
    }

    // MARK: Attempts

    func start(_ assignments: [WorkerProtocol.Assignment]) {
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

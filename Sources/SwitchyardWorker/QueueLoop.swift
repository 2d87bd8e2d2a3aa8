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
    let leaseWatch: LeaseWatch
    private let handler: any TaskHandler
    let holder: AttemptHolder
    private let limits: TimeLimits
    let host: HostHealth

    /// Redis can run one call while the reply to the other is on its way; a third call would only wait.
    private static let pollerCount = 2
    /// The pauses between tries of one loop while Redis is unreachable.
    static func backoff() -> Backoff { Backoff(first: .milliseconds(200), limit: .seconds(1)) }

    /// How long attempts may run on once the worker drains; nil: until they end.
    let drainTimeout: Duration?
    /// The worker drains, and waits for no attempt any longer.
    let isHandingBack = Mutex(false)
    /// Why the worker cannot serve the queue at all; `run` throws it.
    private let refusal = Mutex<SchedulerError?>(nil)
    /// Drains the whole worker.
    let onDrain: @Sendable () -> Void
    /// The call of the latest sleep.
    let sleepCall = Mutex<Task<WorkerClient.Awakening, any Error>?>(nil)
    /// Each value has a heartbeat sent, with this time limit. Those that come during a heartbeat are one.
    let beats = AsyncStream.makeStream(of: Duration.self, bufferingPolicy: .bufferingNewest(1))

    /// - Parameters:
    ///   - grant: this partition's share of the worker's slots; nil: all of them.
    ///   - onDrain: called when the scheduler asks the worker to drain.
    init(
        link: WorkerClient, partitions: Partitions, grant: SlotGrant?, registration: WorkerClient.Registration,
        options: WorkerOptions, handler: any TaskHandler, host: HostHealth, logger: Logger,
        onDrain: @escaping @Sendable () -> Void
    ) {
        self.link = link
        self.partitions = partitions
        self.onDrain = onDrain
        var registration = registration
        registration.grace = handler.grace
        self.registration = registration
        takesTogether = options.takesGroupsTogether
        drainTimeout = options.drainTimeout
        self.handler = handler
        self.logger = logger
        isSpread = grant != nil
        table = AttemptTable(slots: registration.slots, grant: grant)
        holder = AttemptHolder(link: link, table: table, logger: logger, timeToEnd: handler.timeToEnd)
        limits = TimeLimits(table: table)
        self.host = host
        leaseWatch = LeaseWatch(table: table, grace: handler.grace, logger: logger)
        host.listen { [weak self] in self?.setAside($0) }
    }

    /// Runs until drained. If cancelled, it stops its attempts and deregisters.
    /// - Throws: `invalidInput` if the queue has other partitions than this worker was given, or refuses to register
    ///   it; `workerNotFound` if another process has registered with the worker's id.
    func run() async throws {
        let terms = await cancelWhenGracefulShutdown { await self.register(isFirst: true) }
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
        guard let terms else { return }
        logger.info(
            "worker registered",
            metadata: ["queue": "\(link.functions.keys.name)", "slots": "\(registration.slots)"])
        // Before the first pull, so that a process that replaces this one sees it.
        let orders = await subscribeToControlChannel()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listenForWakeUps() }
            group.addTask { await self.sendHeartbeats(terms) }
            group.addTask { await self.leaseWatch.watch() }
            group.addTask { await self.obeyControlChannel(orders) }
            await withGracefulShutdownHandler {
                await withTaskGroup(of: Void.self) { pollers in
                    for _ in 0..<Self.pollerCount { pollers.addTask { await self.poll() } }
                }
            } onGracefulShutdown: {
                self.drain()
            }
            // A drained worker has no attempts left. Those of a cancelled or replaced one are stopped here, and end
            // before the queue hears that the worker leaves.
            self.table.stopAll()
            await self.waitForAttempts()
            group.cancelAll()
        }
        limits.end()
        await leave()
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
    }

    /// Registers the worker, and retries until it succeeds. Returns nil if the loop was cancelled or drained before
    /// that, or if the queue refuses the worker or has other partitions; then the worker drains.
    /// - Parameter isFirst: another live process with the worker's id is to leave first.
    @discardableResult
    func register(isFirst: Bool = false) async -> WorkerClient.Terms? {
        var backoff = Self.backoff()
        while !Task.isCancelled, !table.isDraining {
            do {
                if isFirst { try await partitions.checkRole(of: link.functions.client) }
                try await partitions.join(link.functions, mayChange: false)
                if isFirst { try await replaceFormerProcess() }
                var registration = registration
                registration.note = host.note
                let sent = ContinuousClock.now
                let terms = try await link.register(registration)
                leaseWatch.renew(sent: sent, terms)
                // The queue takes a worker that registers for awake: only its next pull lets it be woken again. Two
                // loops may register at once, and the other one may have pulled already.
                table.noteWork()
                return terms
            } catch let error as SchedulerError where error.isInvalidInput {
                refuse(error)
                return nil
            } catch let error as SchedulerError where isFirst && error.isLoginRefused {
                refuse(.invalidInput(field: "redis", message: "redis: \(error.message)"))
                return nil
            } catch {
                if Task.isCancelled { return nil }
                logger.error("cannot register; retrying", metadata: ["error": "\(error)"])
                // The sleep fails only when the task is cancelled, which ends the loop.
                try? await Task.sleep(for: backoff.nextDelay())
            }
        }
        return nil
    }

    /// Drains the worker, because it cannot serve the queue. `run` throws `error`. Returns false if the worker drains
    /// for such a reason already.
    @discardableResult
    func refuse(_ error: SchedulerError) -> Bool {
        let isFirst = refusal.withLock { refusal in
            defer { refusal = refusal ?? error }
            return refusal == nil
        }
        if isFirst { logger.error("this worker cannot serve the queue", metadata: ["error": "\(error)"]) }
        onDrain()
        return isFirst
    }

    /// Waits until the attempts that were told to end have ended.
    private func waitForAttempts() async {
        let limit = ContinuousClock.now + max(handler.grace, table.longestGrace ?? .zero) + .seconds(1)
        // A cancelled Swift task cannot sleep, an unstructured one can: this sleep never fails.
        await Task { [table] in
            while table.runningCount > 0, ContinuousClock.now < limit { try? await Task.sleep(for: .milliseconds(5)) }
        }.value
        if table.runningCount > 0 {
            logger.warning(
                "attempts go on although they were told to end", metadata: ["count": "\(table.runningCount)"])
        }
    }

    /// How long Redis has to hear that the worker leaves. If it does not, the registration expires.
    private static let leavingLimit: Duration = .seconds(5)

    private func leave() async {
        // A cancelled Swift task cannot send. An unstructured one deregisters, so that the queue ends the leases that
        // are left at once, not when they expire.
        let leaving = Task { [self] in
            do {
                try await link.deregister()
                logger.info("worker deregistered")
            } catch let error as SchedulerError where error.isReplacement {
                // While another process takes over more attempts than one call ends, this one is told to drain.
                self.stopForReplacement(error)
            } catch SchedulerError.workerNotFound {
                logger.info("worker stopped; the queue had already counted it as lost")
            } catch {
                logger.warning("cannot deregister; the registration will expire", metadata: ["error": "\(error)"])
            }
        }
        let timer = Task {
            try await Task.sleep(for: Self.leavingLimit)
            leaving.cancel()
        }
        await leaving.value
        timer.cancel()
    }

    // MARK: Pollers

    private func poll() async {
        var backoff = Self.backoff()
        while let exchange = await table.nextExchange() {
            if await perform(exchange) {
                backoff = Self.backoff()
            } else {
                // The sleep fails only when the task is cancelled: there are then no more exchanges.
                try? await Task.sleep(for: backoff.nextDelay())
            }
        }
    }

    /// Makes a call. Returns false if the queue cannot be reached.
    private func perform(_ exchange: AttemptTable.Exchange) async -> Bool {
        let sent = ContinuousClock.now
        if !exchange.starts.isEmpty {
            start(exchange.starts, sent: sent)
            return true
        }
        do {
            let reply = try await link.finish(
                exchange.reports, pull: exchange.want, holding: exchange.holding, together: takesTogether,
                maxBytes: exchange.maxBytes)
            for case (let report, .failure(let refusal)) in zip(exchange.reports, reply.states) {
                noteRefusal(of: report, refusal)
            }
            start(table.settle(exchange, reply.assignments, isCertain: !reply.isRepetition), sent: sent)
            if let refused = reply.pullRefusal {
                if refused.isReplacement { stopForReplacement(refused) } else { await register() }
            }
        } catch let error as SchedulerError where error.isReplacement {
            table.giveBack(exchange)
            stopForReplacement(error)
        } catch SchedulerError.workerNotFound {
            // The queue counted the worker as lost. The next heartbeat's reply says which leases it has lost.
            table.giveBack(exchange)
            await register()
        } catch let error as SchedulerError where error.isInvalidInput && !exchange.reports.isEmpty {
            return await reportOneByOne(exchange)
        } catch {
            table.giveBack(exchange)
            if !Task.isCancelled {
                logger.error("cannot reach the queue; retrying", metadata: ["error": "\(error)"])
            }
            return false
        }
        return true
    }

    private func noteRefusal(of report: WorkerClient.Report, _ refusal: any Error) {
        logger.warning(
            "a report was refused; the attempt's result is dropped",
            metadata: ["task_id": "\(report.taskID)", "attempt": "\(report.attempt)", "error": "\(refusal)"])
    }

    /// Sends the reports of a call that the queue has refused as a whole, each in a call of its own. A report that is
    /// refused again is replaced by a failure that says why. Returns false if the queue cannot be reached.
    private func reportOneByOne(_ exchange: AttemptTable.Exchange) async -> Bool {
        var refused: [WorkerClient.Report] = []
        for (index, report) in exchange.reports.enumerated() {
            do {
                do {
                    try await send(report)
                } catch let error as SchedulerError where error.isInvalidInput {
                    noteRefusal(of: report, error)
                    try await send(
                        report.refused(code: "ReportRefused", "the queue refused the report: \(error.message)"))
                }
            } catch let error as SchedulerError where error.isInvalidInput {
                // The lease of the attempt is not renewed any more.
                noteRefusal(of: report, error)
                refused.append(report)
            } catch {
                table.settleOneByOne(exchange, unsent: Array(exchange.reports[index...]), refused: refused)
                if let error = error as? SchedulerError, error.isReplacement { stopForReplacement(error) }
                return false
            }
        }
        table.settleOneByOne(exchange, unsent: [], refused: refused)
        return true
    }

    private func send(_ report: WorkerClient.Report) async throws {
        let reply = try await link.finish([report], pull: 0, holding: 0)
        if case .failure(let refusal)? = reply.states.first { noteRefusal(of: report, refusal) }
    }

    // MARK: Attempts

    /// Starts attempts. Those that the handler runs in place have ended when this returns.
    /// - Parameter sent: when the call was sent that brought them.
    func start(_ assignments: [WorkerClient.Assignment], sent: ContinuousClock.Instant) {
        guard leaseWatch.allowsStart(sent: sent, now: .now) else { return handBackUnstarted(assignments) }
        var ends: [AttemptEnd] = []
        for assignment in assignments {
            let attempt = Attempt(assignment, holder: holder)
            if let outcome = handler.runAtOnce(attempt) {
                if case .handedBack = outcome {
                    Task { await end(attempt, outcome) }
                    continue
                }
                ends.append(AttemptEnd(attempt: attempt, outcome: outcome))
            } else {
                start(attempt)
            }
        }
        if !ends.isEmpty { table.endAtOnce(ends) }
    }

    /// Hands back attempts whose leases are over, or nearly: another worker may run them already.
    private func handBackUnstarted(_ assignments: [WorkerClient.Assignment]) {
        for assignment in assignments {
            let attempt = Attempt(assignment, holder: holder)
            table.stop(attempt.id, attempt: attempt.number, .leaseOver)
            table.endAtOnce([AttemptEnd(attempt: attempt, outcome: .completed())])
            Task { await handBack(attempt, "the worker learned of it only when its lease ended") }
        }
    }

    private func start(_ attempt: Attempt) {
        let deadline = ContinuousClock.now + attempt.timeout
        let work = Task { [self] in
            let outcome = await handler.run(attempt)
            await end(attempt, outcome)
        }
        table.attach(work, to: attempt.id, attempt: attempt.number, deadline: deadline)
        limits.watch(deadline)
        if isHandingBack.withLock({ $0 }) { table.stop(attempt.id, attempt: attempt.number, .drained) }
    }

    /// Ends an attempt once its output is in the log.
    private func end(_ attempt: Attempt, _ outcome: AttemptOutcome) async {
        await attempt.log.finish()
        await noteHost(attempt, outcome)
        let reason = table.stopReason(of: attempt)
        // A cancelled Swift task cannot send.
        if reason == .drained { await Task { await handBackDrained(attempt) }.value }
        table.end(AttemptEnd(attempt: attempt, outcome: outcome))
        // If only Redis stood still, the queue still has the lease. Handed back, the attempt uses no retry.
        if reason == .leaseOver {
            Task { await handBack(attempt, "the worker was cut off from Redis until the lease ended") }
        }
    }
}

import Logging
import NIOCore
import RedisClient
import ServiceLifecycle
import Switchyard

/// Takes tasks from one queue and runs them with a ``TaskHandler``.
///
/// One loop talks to Redis: it delivers reports and asks for as many tasks as slots are free, in one call. It sleeps on
/// its wake-up list; heartbeats renew the leases of what it holds. While Redis is away it goes on working and keeps its
/// reports. A graceful shutdown drains it: no new tasks, and it leaves when the last attempt has been reported.
public final class Worker: Service {
    private let link: WorkerProtocol
    private let client: RedisClient
    private let queue: String
    private let registration: WorkerProtocol.Registration
    private let handler: any TaskHandler
    private let takesTogether: Bool
    private let table: AttemptTable
    private let logger: Logger

    /// How long it sleeps before it looks by itself. A connection that breaks meanwhile makes it look at once.
    private static let wakeTimeout: Duration = .seconds(30)
    /// Between two tries while Redis is away, after the client's own.
    private static let pauseAfterFailure: Duration = .milliseconds(500)

    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a bad id, queue, number of slots or resource.
    public init(
        id: String, queue: String, client: RedisClient, options: WorkerOptions, handler: any TaskHandler,
        logger: Logger = Logger(label: "switchyard.worker")
    ) throws(SchedulerError) {
        guard (1...1000).contains(options.slots) else {
            throw .invalidInput(field: "slots", message: "slots: expected 1 to 1000, found \(options.slots)")
        }
        try options.resources.check(path: "resources.")
        var logger = logger
        logger[metadataKey: "worker_id"] = "\(id)"
        self.link = try WorkerProtocol(worker: id, queue: queue, client: client, logger: logger)
        self.client = client
        self.queue = queue
        self.handler = handler
        self.takesTogether = options.takesGroupsTogether
        self.table = AttemptTable(slots: options.slots)
        self.logger = logger
        var registration = WorkerProtocol.Registration(slots: options.slots)
        registration.labels = options.labels
        registration.resources = options.resources
        registration.host = options.host
        registration.processID = options.processID
        self.registration = registration
    }

    /// Runs until drained: by a graceful shutdown, by ``drain()``, or by the scheduler's order. Cancelled, it stops its
    /// attempts and leaves.
    public func run() async throws {
        guard let terms = await cancelWhenGracefulShutdown({ await self.register() }) else { return }
        logger.info("worker registered", metadata: ["queue": "\(queue)", "slots": "\(registration.slots)"])
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listenForWakeUps() }
            group.addTask { await self.beat(every: terms.heartbeat) }
            group.addTask { await self.obeyControlChannel() }
            await withGracefulShutdownHandler {
                await self.work()
            } onGracefulShutdown: {
                self.drain()
            }
            group.cancelAll()
        }
        await leave()
    }

    /// Takes no more tasks; `run` returns when the last attempt has been reported.
    public func drain() {
        logger.info("worker drains: it takes no more tasks")
        table.drain()
    }

    // MARK: The loop

    private func work() async {
        for await _ in table.signals {
            while let turn = table.nextTurn() { await take(turn) }
            if table.isDone { return }
        }
        // Cancelled: what runs is stopped, and whoever waits for it is told by the lease.
        table.stopAll()
    }

    private func take(_ turn: AttemptTable.Turn) async {
        do {
            let assignments: [WorkerProtocol.Assignment]
            if turn.reports.isEmpty {
                assignments = try await link.pull(
                    max: turn.want, holding: turn.holding, together: takesTogether)
            } else {
                let answer = try await link.finish(
                    turn.reports, pull: turn.want, holding: turn.holding, together: takesTogether)
                for case (let report, .failure(let refusal)) in zip(turn.reports, answer.states) {
                    logger.warning(
                        "a report was refused; the attempt's result is dropped",
                        metadata: ["task_id": "\(report.taskID)", "error": "\(refusal)"])
                }
                assignments = answer.assignments
                if answer.pullRefusal != nil {
                    _ = await register()
                    table.noteWork()
                }
            }
            for assignment in assignments { start(assignment) }
            if turn.want > 0, assignments.count >= turn.want { table.noteWork() }
        } catch SchedulerError.workerNotFound {
            // Taken for lost. The next heartbeat tells which attempts are no longer ours.
            table.giveBack(turn)
            _ = await register()
        } catch {
            table.giveBack(turn)
            if Task.isCancelled { return }
            logger.error("cannot reach the queue, and will try again", metadata: ["error": "\(error)"])
            try? await Task.sleep(for: Self.pauseAfterFailure)
        }
    }

    private func start(_ assignment: WorkerProtocol.Assignment) {
        let id = assignment.task.id
        guard table.begin(id, attempt: assignment.attempt) else { return }
        let work = Task { await self.run(assignment) }
        table.attach(work, to: id, attempt: assignment.attempt)
    }

    private func run(_ assignment: WorkerProtocol.Assignment) async {
        let id = assignment.task.id
        let attempt = Attempt(
            task: assignment.task, number: assignment.attempt, timeout: assignment.timeout, workerID: link.worker,
            queue: queue, dependencyResults: assignment.dependencyResults,
            log: AttemptLog(worker: link, taskID: id, attempt: assignment.attempt, logger: logger), table: table)
        let limit = Task {
            try await Task.sleep(for: assignment.timeout)
            table.stop(id, attempt: attempt.number, .timeLimit)
        }
        let outcome = await handler.run(attempt)
        limit.cancel()
        table.end(id, attempt: attempt.number) { Self.report(attempt, outcome, stopped: $0) }
    }

    // MARK: Hearing from the scheduler

    /// Nil when cancelled before it succeeded.
    private func register() async -> WorkerProtocol.Terms? {
        while !Task.isCancelled {
            do {
                return try await link.register(registration)
            } catch {
                logger.error("cannot register, and will try again", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
        }
        return nil
    }

    private func listenForWakeUps() async {
        while !Task.isCancelled, !table.isDraining {
            do {
                try await link.waitForWakeUp(timeout: Self.wakeTimeout)
            } catch {
                if Task.isCancelled { return }
                logger.debug("cannot wait for wake-ups", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
            }
            // After a failure too: the wake-up may have been lost with the connection.
            table.noteWork()
        }
    }

    private func beat(every interval: Duration) async {
        var interval = interval
        while (try? await Task.sleep(for: interval)) != nil {
            do {
                let orders = try await link.heartbeat(table.held)
                interval = orders.terms.heartbeat
                if orders.drain, !table.isDraining { drain() }
                for stop in orders.stop { self.stop(stop.taskID, attempt: stop.attempt) }
            } catch SchedulerError.workerNotFound {
                logger.warning("this worker was taken for lost, and registers again")
                for attempt in table.held { stop(attempt.taskID, attempt: attempt.attempt) }
                _ = await register()
                table.noteWork()
            } catch {
                if Task.isCancelled { return }
                logger.warning("a heartbeat failed", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Its messages come sooner than the heartbeat's reply, which tells the same for certain.
    private func obeyControlChannel() async {
        do {
            for await event in try await client.subscribe(to: [link.functions.keys.control(link.worker)]) {
                guard case .message(_, let payload) = event else { continue }
                let words = String(buffer: payload).split(separator: " ").map(String.init)
                switch (words.first, words.count) {
                case ("cancel", 3), ("timeout", 3):
                    if let attempt = Int(words[2]) { stop(words[1], attempt: attempt) }
                case ("drain", 1):
                    drain()
                default:
                    logger.debug("unknown message on the control channel", metadata: ["message": "\(words)"])
                }
            }
        } catch {
            logger.debug("cannot subscribe to the control channel", metadata: ["error": "\(error)"])
        }
    }

    private func stop(_ taskID: String, attempt: Int) {
        logger.info("an attempt is stopped", metadata: ["task_id": "\(taskID)", "attempt": "\(attempt)"])
        table.stop(taskID, attempt: attempt, .notOurs)
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
}

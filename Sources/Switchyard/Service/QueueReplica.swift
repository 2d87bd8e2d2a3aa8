import Foundation
import Logging
import NIOCore
import RedisClient
import ServiceLifecycle

/// Serves one partition of a queue for one replica: calls ticks, applies reports that arrive over pub/sub, and
/// reconciles.
///
/// It has no state that another replica needs, and any number of replicas may serve the same partition. While Redis is
/// away it keeps trying, and logs that once.
struct QueueReplica: Sendable {
    let functions: QueueFunctions
    let partitions: Partitions
    let interval: Duration
    /// The settings that the replica was given. It writes them when it starts, and again to a queue that Redis lost.
    let settings: [(name: String, value: Int)]
    let health: ReplicaHealth
    let logger: Logger

    /// The pause between two calls of the reconciler, each of which checks a bounded piece of the queue.
    private static let reconcileInterval: Duration = .seconds(10)

    /// Runs until cancelled.
    /// - Throws: `invalidInput` if the queue's number of partitions has changed: this replica would miss tasks.
    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await tick() }
            group.addTask { await applyReports() }
            group.addTask { await reconcile() }
            for try await _ in group {}
        }
    }

    private func tick() async throws {
        var cleanUpAt = ContinuousClock.now
        var schedules = ScheduleFirer(functions: functions, logger: logger)
        // The instance id of the queue that has the settings.
        var configured: Int?
        // An older state of Redis may have an older library, and older settings.
        var isOlder = false
        while !Task.isCancelled {
            var pause = interval
            do {
                let cleansUp = cleanUpAt <= .now
                let fields = try ReplyFields(
                    await functions.call(
                        "tick",
                        ["cleanup", cleansUp ? "1" : "0", "interval", .integer(Int64(max(1, interval.milliseconds)))]))
                try await check(fields)
                try await functions.nameChannels(foundDatabase: fields.optionalInt("database"))
                let hasChanged = health.ticked(
                    queue: functions.keys.name, instance: fields.string("instance") ?? "",
                    ticks: fields.optionalInt("ticks") ?? 0, logger: logger)
                isOlder = isOlder || hasChanged
                if isOlder {
                    try await functions.library.ensureLoaded()
                    configured = nil
                    isOlder = false
                }
                if !settings.isEmpty, configured != fields.optionalInt("instance") {
                    configured = try await functions.configure(settings)["instance"]
                }
                if cleansUp, !fields.flag("more") {
                    cleanUpAt = .now + fields.duration("cleanup_interval_ms") * Double.random(in: 0.8...1)
                }
                pause = nextPause(fields)
                logWhatHappened(fields)
                let due = (fields["schedules"]?.array ?? []).compactMap(\.string)
                if let now = fields.date("now") {
                    try await schedules.fire(due, now: now, resumedAt: fields.date("resumed_at"))
                }
            } catch is CancellationError {
                return
            } catch let error as PartitionMismatch {
                throw error.error
            } catch {
                health.failed("a tick failed", queue: functions.keys.name, error: error, logger: logger)
            }
            // Jitter keeps replicas that started together from ticking together. The sleep fails only when the task is
            // cancelled, which ends the loop.
            try? await Task.sleep(for: pause * Double.random(in: 0.9...1))
        }
    }

    /// Checks the queue's stored number of partitions. If Redis lost the queue's data, the number is lost too, and is
    /// written again.
    private func check(_ fields: ReplyFields) async throws {
        guard let stored = fields.optionalInt("partitions"), let mismatch = partitions.mismatch(stored, functions)
        else { return }
        let known = health.current[functions.keys.name]?.instance
        guard known == nil || known != fields.string("instance") else {
            throw PartitionMismatch(error: mismatch)
        }
        do {
            try await partitions.join(functions)
        } catch let error as SchedulerError where error.field == "partitions" {
            throw PartitionMismatch(error: error)
        }
    }

    private struct PartitionMismatch: Error {
        let error: SchedulerError
    }

    /// Returns the time until something is due, at most the interval.
    private func nextPause(_ fields: ReplyFields) -> Duration {
        if fields.flag("more") { return .zero }
        let due = fields.int("next_due")
        guard due > 0 else { return interval }
        return min(interval, max(.milliseconds(due - fields.int("now")), .milliseconds(5)))
    }

    private func logWhatHappened(_ fields: ReplyFields) {
        if fields.int("set_back_ms") > 0 {
            logger.error(
                "Redis's clock was set back; leases were shortened, but delays and backoffs last longer by as much",
                metadata: ["queue": "\(functions.keys.name)", "milliseconds": "\(fields.int("set_back_ms"))"])
        }
        for (name, message) in [
            ("lost_workers", "workers missed their heartbeats and are lost" as Logger.Message),
            ("expired", "leases expired"),
            ("purged", "deleted ended tasks whose retention is over"),
        ] where fields.int(name) > 0 {
            let level: Logger.Level = name == "purged" ? .debug : .info
            logger.log(
                level: level, message, metadata: ["queue": "\(functions.keys.name)", "count": "\(fields.int(name))"])
        }
    }

    // MARK: Reports over pub/sub

    /// A report from a worker that can only PUBLISH. Every replica applies it, and the first wins.
    private struct PublishedReport: Decodable {
        let worker: String
        let task: String
        let attempt: Int
        let outcome: String
        let result: String?
        let errorCode: String?
        let errorMessage: String?
        let exitCode: Int?
        let retryable: Bool?

        enum CodingKeys: String, CodingKey {
            case worker, task, attempt, outcome, result
            case errorCode = "error_code"
            case errorMessage = "error_message"
            case exitCode = "exit_code"
            case retryable
        }
    }

    private static var backoff: Backoff { Backoff(first: .milliseconds(200), limit: .seconds(1)) }

    private func applyReports() async {
        var backoff = Self.backoff
        while !Task.isCancelled {
            do {
                let events = try await functions.client.subscribe(to: [functions.keys.reports])
                backoff = Self.backoff
                health.hears(queue: functions.keys.name, failure: nil)
                for await event in events {
                    guard case .message(_, let payload) = event else { continue }
                    await apply(String(buffer: payload))
                }
            } catch {
                if Task.isCancelled { return }
                health.hears(queue: functions.keys.name, failure: error)
                logger.error(
                    "cannot subscribe to reports; retrying",
                    metadata: ["queue": "\(functions.keys.name)", "error": "\(error)"])
            }
            // The sleep fails only when the task is cancelled, which ends the loop.
            try? await Task.sleep(for: backoff.nextDelay())
        }
    }

    private func apply(_ text: String) async {
        do {
            let report = try JSONDecoder().decode(PublishedReport.self, from: Data(text.utf8))
            guard let outcome = WorkerClient.Report.Outcome(rawValue: report.outcome) else {
                throw SchedulerError.invalidInput(
                    field: "outcome",
                    message: "outcome: expected completed, failed or timeout, found \(Name.shown(report.outcome))")
            }
            var finished = WorkerClient.Report(taskID: report.task, attempt: report.attempt, outcome: outcome)
            finished.result = report.result.map { ByteBuffer(string: $0) }
            finished.exitCode = report.exitCode
            finished.isRetryable = report.retryable ?? true
            finished.failure = report.errorMessage.map {
                TaskFailure(code: report.errorCode ?? "Failed", message: $0)
            }
            let worker = try WorkerClient(worker: report.worker, functions: functions)
            let answer = try await worker.finish([finished], pull: 0, holding: 0)
            if case .failure(let refusal) = answer.states.first {
                // Expected if several replicas applied different reports of the attempt. Otherwise the worker was late.
                logger.debug("a published report was refused", metadata: ["error": "\(refusal)"])
            }
        } catch {
            logger.warning(
                "a published report could not be applied",
                metadata: ["queue": "\(functions.keys.name)", "report": "\(Name.shown(text))", "error": "\(error)"])
        }
    }

    // MARK: Reconciling

    private func reconcile() async {
        var cursor = ""
        // The sleep fails only when the task is cancelled.
        while (try? await Task.sleep(for: Self.reconcileInterval)) != nil {
            do {
                let reply = try await functions.call("reconcile", ["cursor", .string(cursor)])
                let repaired = reply.array?.last?.int ?? 0
                if repaired > 0 {
                    logger.error(
                        "repaired inconsistent keys of the queue: something else wrote to them, or Redis lost some",
                        metadata: [
                            "queue": "\(functions.keys.name)", "cursor": "\(cursor)", "count": "\(repaired)",
                        ])
                }
                cursor = reply.array?.first?.string ?? ""
            } catch {
                // The tick logs that Redis is away.
                logger.debug(
                    "could not reconcile", metadata: ["queue": "\(functions.keys.name)", "error": "\(error)"])
                cursor = ""
            }
        }
    }
}

import Foundation
import Logging
import ServiceLifecycle

/// Keeps the size of a local pool of worker processes at the demand.
///
/// Surplus workers are drained, never killed: a draining worker counts against the maximum until its last task has
/// ended. While the server is unreachable the size does not change. A graceful shutdown drains all workers and waits
/// for them; a second signal makes them hand back what they run; cancellation kills them. The same happens once a
/// worker has exited with a usage error or is replaced again and again, which ends the pool with that error.
struct AutoscaledPool: Service, CustomStringConvertible {
    var range: ClosedRange<Int>
    var coolDown: Duration
    var interval: Duration
    /// A worker's argument vector; `{n}` in it is the worker's number.
    var command: [String]
    var demand: DemandSource
    var logger: Logger

    /// Service groups log their services: not the command, which may have a password.
    var description: String { "AutoscaledPool(\(range.lowerBound) to \(range.upperBound))" }

    /// The workers by number, from 1. A number is free again when its worker has ended.
    private actor Roster {
        private(set) var workers: [Int: SupervisedWorker] = [:]

        var active: [(number: Int, worker: SupervisedWorker)] {
            workers.filter { !$0.value.isDraining }.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 }
        }

        func add(_ make: (Int) -> SupervisedWorker) -> (Int, SupervisedWorker) {
            var number = 1
            while workers[number] != nil { number += 1 }
            let worker = make(number)
            workers[number] = worker
            return (number, worker)
        }

        func remove(_ number: Int) { workers[number] = nil }

        /// Why a worker is not started again.
        private(set) var failure: Failure?

        func fail(_ failure: Failure) { self.failure = failure }
    }

    func run() async throws {
        let roster = Roster()
        try await Interruption.noticingRepetition {
            Task { for worker in await roster.workers.values { worker.handBack() } }
        } _: {
            try await run(roster)
        }
    }

    private func run(_ roster: Roster) async throws {
        var size = PoolSize(range: range, coolDown: coolDown)
        var isFirst = true
        var wanted: Int?
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled, !Task.isShuttingDownGracefully, await roster.failure == nil {
                wanted = await ask(wouldBeFirst: isFirst || wanted != nil)
                isFirst = false
                if let wanted { size.note(wanted: wanted, now: .now) }
                await adjust(roster, to: size.target, wanted: wanted, &group)
                await cancelWhenGracefulShutdown { try? await Task.sleep(for: interval) }
            }
            let left = await roster.workers
            if !left.isEmpty, !Task.isCancelled {
                let reason = await roster.failure == nil ? "shutdown was requested" : "one of them cannot run"
                logger.notice("all workers are drained: \(reason)", metadata: list(left.keys))
            }
            for worker in left.values { worker.drain() }
        }
        logger.notice("no worker is left")
        try Task.checkCancellation()
        if let failure = await roster.failure { throw failure }
    }

    /// Asks the server for the demand. Returns nil, and logs the error, if that fails.
    /// - Parameter wouldBeFirst: a failure would be the first in a row, and is logged as a warning.
    private func ask(wouldBeFirst: Bool) async -> Int? {
        do {
            return try await cancelWhenGracefulShutdown { try await demand.desiredWorkers() }
        } catch {
            if !Task.isShuttingDownGracefully, !Task.isCancelled {
                logger.log(
                    level: wouldBeFirst ? .warning : .debug, "the demand is not known, and the pool stays as it is",
                    metadata: ["error": "\(Failure(error)?.firstLine ?? "\(error)")"])
            }
            return nil
        }
    }

    private func adjust(
        _ roster: Roster, to target: Int, wanted: Int?, _ group: inout DiscardingTaskGroup
    ) async {
        let active = await roster.active
        var why: Logger.Metadata = ["workers": "\(active.count)", "target": "\(target)"]
        why["wanted"] = wanted.map { "\($0)" }
        if target > active.count {
            let room = range.upperBound - (await roster.workers.count)
            let missing = min(target - active.count, max(room, 0))
            guard missing > 0 else {
                return logger.debug("more is wanted, but draining workers count against --max", metadata: why)
            }
            var started: [Int] = []
            for _ in 0..<missing {
                let (number, worker) = await roster.add(make)
                started.append(number)
                group.addTask {
                    do throws(Failure) {
                        try await worker.run()
                    } catch {
                        await roster.fail(error)
                    }
                    await roster.remove(number)
                }
            }
            let reason = wanted == nil ? "the minimum number" : "more is wanted"
            logger.notice("workers are started: \(reason)", metadata: why.merging(list(started)) { $1 })
        } else if target < active.count {
            let busy = await demand.busyProcesses()
            let leaving = Self.leaving(active.count - target, of: active.map { ($0.number, $0.worker.processID) }, busy)
            for (number, worker) in active where leaving.contains(number) { worker.drain() }
            why["cool_down"] = "\(coolDown)"
            logger.notice(
                "workers are drained: less was wanted during the cool-down",
                metadata: why.merging(list(leaving)) { $1 })
        }
    }

    /// Selects the workers to drain: first those without a process or a task, and among equals the highest number.
    static func leaving(_ count: Int, of workers: [(number: Int, processID: Int32?)], _ busy: Set<Int32>) -> [Int] {
        func isBusy(_ processID: Int32?) -> Bool { processID.map(busy.contains) ?? false }
        let order = workers.sorted { first, second in
            let (one, other) = (isBusy(first.processID), isBusy(second.processID))
            return one == other ? first.number > second.number : other
        }
        return order.prefix(count).map(\.number)
    }

    private func make(_ number: Int) -> SupervisedWorker {
        SupervisedWorker(
            label: "auto-\(number)", arguments: command.map { $0.replacing("{n}", with: "\(number)") },
            environment: ProcessInfo.processInfo.environment, grace: nil, logger: logger)
    }

    private func list(_ numbers: some Sequence<Int>) -> Logger.Metadata {
        ["numbers": "\(numbers.sorted().map(String.init).joined(separator: ","))"]
    }
}

import Foundation
import Logging
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardBench

/// What happens to a measurement whose worker ends. Without a reaction the measurement waits for its tasks for ever.
@Suite(.timeLimit(.minutes(2))) struct ServingWorkersTests {
    private struct Lost: Error, Equatable {}

    /// Ends only when it is cancelled.
    private static let endless: @Sendable () async throws -> Void = { try await Task.sleep(for: .seconds(100_000)) }

    @Test(arguments: 0..<3) func theErrorOfAnyWorkerEndsTheMeasurement(failing: Int) async throws {
        let workers = (0..<3).map { index -> @Sendable () async throws -> Void in
            {
                if index == failing { throw Lost() }
                try await Self.endless()
            }
        }
        await #expect(throws: Lost.self) {
            try await ServingWorkers.run(workers, drain: {}, Self.endless)
        }
    }

    @Test func aWorkerThatEndsEarlyEndsTheMeasurement() async throws {
        let error = await #expect(throws: BenchError.self) {
            try await ServingWorkers.run([{}, Self.endless], drain: {}, Self.endless)
        }
        #expect(error?.description.contains("a worker ended before the measurement") == true)
    }

    @Test func theErrorOfTheMeasurementEndsTheWorkers() async throws {
        await #expect(throws: Lost.self) {
            try await ServingWorkers.run([Self.endless, Self.endless], drain: {}, { () -> Int in throw Lost() })
        }
    }

    /// A worker ends without an error when it is cancelled, and perhaps before the measurement notices.
    @Test func aCancelledMeasurementIsNoFailure() async throws {
        let (ends, workerEnds) = AsyncStream<Void>.makeStream()
        let worker: @Sendable () async throws -> Void = {
            try? await Self.endless()
            workerEnds.finish()
        }
        let body: @Sendable () async throws -> Int = {
            try? await Self.endless()
            // A task of its own, because a cancelled one waits for nothing.
            await Task { for await _ in ends {} }.value
            try await Task { try await Task.sleep(for: .milliseconds(100)) }.value
            throw Lost()
        }
        let running = Task { try await ServingWorkers.run([worker], drain: {}, body) }
        running.cancel()
        await #expect(throws: CancellationError.self) { try await running.value }
    }

    @Test func theWorkersAreDrainedAfterTheMeasurement() async throws {
        let (drained, drain) = AsyncStream<Void>.makeStream()
        let worker: @Sendable () async throws -> Void = { for await _ in drained {} }
        let value = try await ServingWorkers.run([worker], drain: { drain.finish() }, { 7 })
        #expect(value == 7)
    }

    /// Another process registers with the id of a worker: the worker ends with an error.
    @Test(arguments: [25, 200]) func aWorkerThatLosesItsIdEndsTheSpreadLoad(slots: Int) async throws {
        let redis = try await TestRedis.start()
        let logger = Logger(label: "test")
        let queue = "switchyard-bench"
        try await FunctionLibrary(client: redis.client, logger: logger).ensureLoaded()
        let running = Task {
            var load = SpreadLoad(Partitions(redis.client), perCall: 10)
            load.workers = 1
            load.slots = slots
            // More than it can complete before the worker is lost.
            return try await load.run(tasks: 20_000, queue: queue, logger: logger)
        }
        let keys = Keys(queue: queue)
        let deadline = ContinuousClock.now + .seconds(60)
        while try await redis.client.send(RedisCommand("ZCARD", .string(keys.workers))).int != 1 {
            try #require(ContinuousClock.now < deadline, "the worker does not register")
            try await Task.sleep(for: .milliseconds(5))
        }
        let functions = QueueFunctions(queue: queue, client: redis.client, logger: logger)
        let other = try WorkerClient(worker: "spread-0", nonce: "other", functions: functions)
        _ = try await other.register(.init(slots: 1))
        let error = await #expect(throws: (any Error).self) { try await running.value }
        // More attempts than one call ends are ended in several, while the worker drains: it may have left before the
        // last of them, and then it only ended too early.
        let hasLeft = slots > 25 && error is BenchError
        #expect(hasLeft || (error as? SchedulerError)?.code == "WorkerNotFound", "\(String(describing: error))")
        await redis.stop()
    }
}

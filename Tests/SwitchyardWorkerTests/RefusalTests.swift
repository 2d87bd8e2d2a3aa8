import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// What the queue refuses: reports, and workers.
@Suite("What a worker does when the queue refuses")
struct RefusalTests {
    /// Ends each attempt as its task's id says.
    private struct ScriptedHandler: TaskHandler {
        func run(_ attempt: Attempt) async -> AttemptOutcome {
            let long = String(repeating: "x", count: 700_000)
            let failure = TaskFailure(code: "Broken", message: long)
            return switch attempt.id.prefix { !$0.isNumber } {
            case "long": .completed(result: ByteBuffer(string: long + long))
            case "together": .failed(failure, result: ByteBuffer(string: long))
            case "text": .failed(TaskFailure(code: "Broken", message: long + long), exitCode: 1)
            case "code": .completed(exitCode: 123_456)
            case "negative": .failed(TaskFailure(code: "Broken", message: "so"), exitCode: -100_000)
            case "largest": .completed(result: ByteBuffer(repeating: 1, count: 1 << 20), exitCode: -99_999)
            case "medium": .completed(result: ByteBuffer(repeating: 1, count: 60_000))
            default: .completed(exitCode: 0)
            }
        }
    }

    private func submit(_ ids: [String], to queue: TestQueue, maxRetries: Int = 0) async throws {
        _ = try await queue.handle.addTasks(
            ids.map { id in
                var task = QueuedTask(BuildRequest(), id: id)
                task.maxRetries = maxRetries
                return task
            })
    }

    @Test(arguments: [1, 4, 40])
    func aReportThatTheQueueWouldRefuseBecomesAFailure(slots: Int) async throws {
        try await TestQueue.run(settings: quickSettings.merging(["lease_ms": 15_000]) { $1 }) { queue in
            let bad = ["long1", "together1", "text1", "code1", "negative1"]
            let good = (0..<20).map { "good\($0)" } + ["largest1"]
            try await submit((bad + good).shuffled(), to: queue)
            // `withWorker` returns when the worker has drained, which needs the replies to all reports.
            try await queue.withWorker(slots: slots, handler: ScriptedHandler()) { _ in
                for id in good { #expect(try await queue.ended(id).state == .completed) }
                for id in bad {
                    let task = try await queue.ended(id)
                    #expect(task.state == .failed)
                    let isCode = id == "code1" || id == "negative1"
                    #expect(task.failure?.code == (isCode ? "InvalidExitCode" : "ResultTooLong"))
                    #expect(task.result == nil && task.exitCode == nil)
                    #expect((task.failure?.message.utf8.count ?? 0) < 6000)
                    let keepsReason = task.failure?.message.contains("Broken: ") == true
                    #expect(keepsReason == !["long1", "code1"].contains(id))
                }
            }
            #expect(try await queue.handle.getStats().lost == 0)
        }
    }

    /// A library that accepts less than the worker believes refuses a call as a whole.
    @Test(arguments: [1, 16])
    func aCallThatIsRefusedIsRepeatedOneReportAtATime(slots: Int) async throws {
        try await TestRedis.run { redis in
            let library = FunctionLibrary.source
                .replacing("sw.MAX_VALUE_BYTES = 1048576", with: "sw.MAX_VALUE_BYTES = 50000")
                .replacing(/local VERSION = \d+/, with: "local VERSION = 1000000", maxReplacements: 1)
            _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(library)))
            try await TestQueue.run(on: redis, settings: quickSettings.merging(["lease_ms": 15_000]) { $1 }) { queue in
                let good = (0..<40).map { "good\($0)" }
                try await submit((good + ["medium1", "medium2"]).shuffled(), to: queue)
                try await queue.withWorker(slots: slots, handler: ScriptedHandler()) { _ in
                    for id in good { #expect(try await queue.ended(id).state == .completed) }
                    for id in ["medium1", "medium2"] {
                        let task = try await queue.ended(id)
                        #expect(task.state == .failed)
                        #expect(task.failure?.code == "ReportRefused")
                        #expect(task.failure?.message.contains("at most 50000 bytes, found 60000") == true)
                    }
                }
                #expect(try await queue.handle.getStats().lost == 0)
            }
        }
    }

    @Test(
        arguments: [
            (["a b"], []), (["=x"], []), (["x="], []), (["ok", "a,b"], []), ([""], []), (["gpu"], ["os"]),
            ([], ["gpu"]),
            (["os=linux"], ["os=linux"]), (["ü"], []), ([String(repeating: "x", count: 1001)], []),
        ] as [([String], [String])])
    func aWorkerWithBadLabelsIsNotMade(labels: [String], only: [String]) throws {
        var options = WorkerOptions()
        options.labels = labels
        options.only = only
        #expect(throws: SchedulerError.self) {
            try Worker(
                id: "w", queue: "q", client: RedisClient(.init(endpoint: .unixSocket(path: "/nonexistent"))),
                options: options, handler: NoOpHandler(), logger: TestRedis.quiet)
        }
    }

    @Test(
        arguments: [([], []), (["gpu", "os=linux"], ["os"]), (["a=b"], ["a"]), (["gpu"], [])] as [([String], [String])])
    func aWorkerWithGoodLabelsRegisters(labels: [String], only: [String]) async throws {
        try await TestQueue.run { queue in
            var options = WorkerOptions()
            options.labels = labels
            options.only = only
            let worker = try Worker(
                id: "w", queue: queue.name, client: queue.redis.client, options: options, handler: NoOpHandler(),
                logger: TestRedis.quiet)
            let running = Task { try await worker.run() }
            #expect(try await eventually { try await queue.handle.getWorkers().count == 1 })
            worker.drain()
            try await running.value
        }
    }

    @Test func aRefusedRegistrationEndsTheWorkerWithTheError() async throws {
        try await TestQueue.run { queue in
            var options = WorkerOptions()
            options.host = String(repeating: "h", count: 5000)
            let worker = try Worker(
                id: "w", queue: queue.name, client: queue.redis.client, options: options, handler: NoOpHandler(),
                logger: TestRedis.quiet)
            let error = await #expect(throws: SchedulerError.self) { try await worker.run() }
            #expect(error?.field == "host")
        }
    }
}

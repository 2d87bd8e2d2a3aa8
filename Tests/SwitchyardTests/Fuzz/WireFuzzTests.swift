import Foundation
import JSON
import NIOCore
import Testing

@testable import RedisClient
@testable import Switchyard
@testable import SwitchyardHTTP

/// Decodes replies with damaged values, and shows what was decoded as HTTP does: neither traps, and what is shown is
/// JSON.
@Suite("Fuzz: replies of the functions", .serialized)
struct WireFuzzTests {
    /// Shows what was decoded for a fifth of the inputs, because that costs most of the time.
    private static func show(_ input: inout FuzzInput, _ json: @autoclosure () -> JSONValue) throws {
        guard input.oneIn(5) else { return }
        _ = try JSONReader.read(json().bytes)
    }

    private static func isRefusal(_ error: any Error) throws {
        guard error is SchedulerError else { throw error }
    }

    /// Calls `body`, which may refuse the input, but only with the scheduler's error.
    private static func decode(_ body: () throws -> Void) throws {
        do { try body() } catch { try isRefusal(error) }
    }

    @Test func tasks() async throws {
        try await Fuzz.run("tasks", share: 0.25) { input in
            let reply = input.reply(FuzzExamples.task)
            try Self.decode {
                let task = try QueuedTask(ReplyFields(reply))
                try Self.show(&input, TaskJSON.json(task, queue: "q", reason: HoldJSON.json(task)))
                // What was read can be submitted again.
                _ = task.submission
            }
        }
    }

    @Test func assignments() async throws {
        try await Fuzz.run("assignments", share: 0.25) { input in
            let reply = input.reply(FuzzExamples.task)
            try Self.decode {
                let assignment = try WorkerClient.Assignment(reply)
                _ = ContinuousClock.now + assignment.timeout * 1.5
                let task = assignment.task
                try Self.show(&input, TaskJSON.json(task, queue: "q"))
                _ = assignment.dependencyResults
            }
        }
    }

    @Test func workers() async throws {
        try await Fuzz.run("workers", share: 0.25) { input in
            let list = RESPValue.array([input.reply(FuzzExamples.worker), input.reply(FuzzExamples.worker)])
            let reply = input.oneIn(50) ? input.value() : .array([input.field(), list])
            try Self.decode {
                for worker in try WorkersPage(reply).workers {
                    try Self.show(&input, WorkerJSON.json(worker, queue: "q"))
                }
            }
        }
    }

    @Test func schedules() async throws {
        try await Fuzz.run("schedules", share: 0.3) { input in
            let reply = input.reply(FuzzExamples.schedule)
            try Self.decode {
                let schedule = try RecurringSchedule(ReplyFields(reply))
                try Self.show(&input, ScheduleJSON.json(schedule, queue: "q"))
                if let due = schedule.next, schedule.problem == nil {
                    _ = try schedule.firing(due: due, now: Date(), resumedAt: schedule.last)
                }
            }
        }
    }

    @Test func statisticsAddUp() async throws {
        try await Fuzz.run("stats", share: 0.25) { input in
            var stats: [StatsJSON.Queue] = []
            for _ in 0..<(input.oneIn(10) ? 4 : 1) {
                let (reply, demand) = (input.reply(FuzzExamples.stats), Self.demandPage(&input))
                try Self.decode {
                    let one = QueueStats(try ReplyFields(reply), queue: "q")
                    _ = (one.pending, one.busyWorkers, one.oldestPending * 2)
                    stats.append((one, Self.demand(try DemandPage(demand))))
                }
            }
            try Self.show(&input, StatsJSON.json(stats))
        }
    }

    private static func demandPage(_ input: inout FuzzInput) -> RESPValue {
        if input.oneIn(50) { return input.value() }
        let lane = RESPValue.array([input.field(), input.field(), input.string("a"), input.field()])
        let one = RESPValue.array([input.string("a")] + (0..<4).map { _ in input.field() })
        return .array([.array([lane, input.value()]), .array([one, input.value()]), input.string("")])
    }

    private static func demand(_ page: DemandPage) -> Demand {
        var demand = Demand(classes: [], unserved: 0)
        for (name, numbers) in page.classes {
            demand.classes.append(
                Demand.Class(
                    name: name, workers: numbers[0], slots: numbers[1], busy: numbers[2], draining: numbers[3],
                    ready: 0, slotsPerWorker: Double(numbers[1]) / Double(numbers[0])))
        }
        for lane in page.lanes { demand.count(ready: lane.ready, servedBy: lane.servedBy) }
        _ = (demand.desiredWorkers, demand.drainingWorkers)
        return demand
    }

    @Test func batches() async throws {
        try await Fuzz.run("batches", share: 0.5) { input in
            let reply = input.reply(FuzzExamples.batch)
            try Self.decode {
                let batch = BatchStatus(try ReplyFields(reply), id: "b")
                try Self.show(&input, BatchJSON.json(batch, queue: "q"))
            }
        }
    }

    @Test func explanations() async throws {
        try await Fuzz.run("explanations", share: 0.4) { input in
            let head = input.oneIn(10) ? input.field() : input.string("pending")
            let reply = RESPValue.array([head, input.reply(FuzzExamples.reason), input.reply(FuzzExamples.reason)])
            try Self.decode {
                let explanation = try Explanation(reply, id: "t")
                try Self.show(&input, ExplanationJSON.json(explanation))
            }
        }
    }

    @Test func settings() async throws {
        try await Fuzz.run("settings") { input in
            let reply = input.reply(FuzzExamples.settings)
            try Self.decode {
                let numbers = try ReplyFields(reply).numbers
                try Self.show(&input, Settings.json(numbers, queue: "q"))
            }
        }
    }

    @Test func heartbeats() async throws {
        try await Fuzz.run("heartbeats") { input in
            var values = input.reply(FuzzExamples.heartbeat).array ?? []
            values += [input.string("stop"), .array((0..<input.below(8)).map { _ in input.field() })]
            try Self.decode {
                let orders = WorkerClient.Orders(try ReplyFields(.array(values)))
                // A worker neither calls without pause, nor does a sum with its intervals trap.
                guard orders.terms.heartbeat >= .milliseconds(100), orders.terms.lease >= .milliseconds(100) else {
                    throw FuzzFailure(description: "intervals of \(orders.terms)")
                }
                _ = ContinuousClock.now + orders.terms.lease * 2 + orders.terms.heartbeat
            }
        }
    }

    @Test func logs() async throws {
        try await Fuzz.run("logs", share: 0.5) { input in
            let entries = (0..<3).map { _ -> RESPValue in
                let id = input.oneIn(3) ? input.text() : "\(input.number())-\(input.number())"
                return .array([input.string(id), input.reply(FuzzExamples.log)])
            }
            let after = input.oneIn(2) ? "0" : "\(input.number())-\(input.number())"
            for entry in SchedulerHandle.following(after, SchedulerHandle.entries(.array(entries))) {
                try Self.show(&input, LogJSON.json(entry))
                _ = entry.mark
            }
        }
    }

    @Test func errorsOfRedis() async throws {
        try await Fuzz.run("errors") { input in
            let codes = ["QUEUEFULL", "TASKNOTFOUND", "BADREQUEST", "LEASELOST", "OOM", "ERR", "LOADING"]
            let text = input.pick(codes) + (input.oneIn(2) ? " " : "") + input.text() + ": " + input.text()
            _ = SchedulerError(RedisError.server(text, endpoint: "fuzz")).message
        }
    }

    // MARK: What is written is read again

    @Test func aTaskIsReadAsItWasSubmitted() async throws {
        try await Fuzz.run("task and back", share: 0.5) { input in
            let task = Self.task(&input)
            let values = task.submission.map { argument -> RESPValue in
                switch argument {
                case .string(let text): .bulkString(ByteBuffer(string: text))
                case .integer(let number): .bulkString(ByteBuffer(string: "\(number)"))
                case .buffer(let bytes): .bulkString(bytes)
                }
            }
            var read = try QueuedTask(ReplyFields(.array(values)))
            // The functions turn a delay into a time.
            read.delay = task.delay
            try expectEqual(read, task, "the task")
        }
    }

    private static func task(_ input: inout FuzzInput) -> QueuedTask {
        var request = BuildRequest()
        request.kind = input.oneIn(2) ? "k" : nil
        request.repo = input.oneIn(2) ? input.text() : nil
        request.target = input.oneIn(2) ? input.text() : nil
        request.args = (0..<input.below(4)).map { _ in input.text() }
        request.labels = (0..<input.below(3)).map { _ in input.text() }
        request.command = (0..<input.below(3)).map { _ in input.text() }
        for _ in 0..<input.below(3) { request.environment[input.text()] = input.text() }
        request.cwd = input.oneIn(3) ? input.text() : nil
        request.payload = input.oneIn(2) ? ByteBuffer(bytes: input.bytes(input.below(50))) : nil
        var task = QueuedTask(request, priority: input.pick(TaskPriority.allCases), id: "t")
        task.priorityReason = "given"
        task.requestToken = input.oneIn(2) ? "r" : nil
        task.timeout = input.oneIn(2) ? .milliseconds(1 + input.below(2_592_000_000)) : nil
        task.maxRetries = input.oneIn(2) ? input.below(101) : nil
        task.runAt = input.oneIn(3) ? Date(timeIntervalSince1970: Double(1 + input.below(4_000_000_000)) / 1000) : nil
        task.delay = input.oneIn(3) ? .milliseconds(input.below(31_536_000_000)) : nil
        task.scheduling.requires = input.oneIn(3) ? ["gpu", "os=linux|mac"] : []
        task.scheduling.resources.cpu = input.oneIn(3) ? Double(input.below(1_000_000)) / 1000 : nil
        task.scheduling.resources.memoryMB = input.oneIn(3) ? input.below(1_000_000_000) : nil
        if input.oneIn(3) { task.scheduling.resources.custom["gpu"] = Double(input.below(1000)) / 8 }
        task.scheduling.concurrencyKey = input.oneIn(3) ? "c d" : nil
        task.scheduling.concurrencyLimit = input.oneIn(3) ? 1 + input.below(1_000_000) : nil
        task.scheduling.ratePerSecond = input.oneIn(3) ? Double(1 + input.below(1000)) / 16 : nil
        task.scheduling.uniqueFor = input.oneIn(3) ? .milliseconds(1 + input.below(1_000_000)) : nil
        task.scheduling.runAnyway = input.oneIn(3)
        return task
    }

    @Test func aScheduleIsReadAsItWasPut() async throws {
        try await Fuzz.run("schedule and back", share: 0.2) { input in
            var task = Self.task(&input)
            (task.runAt, task.request.payload) = (nil, input.oneIn(2) ? ByteBuffer(string: input.text()) : nil)
            let zone = input.pick(FuzzExamples.zones)
            let put = RecurringSchedule(
                id: "s", cron: "0 3 * * *", zone: zone, missed: input.pick([.skip, .once]), task: task)
            let next = Date(timeIntervalSince1970: Double(1 + input.below(4_000_000_000)))
            let values = try put.arguments(next: next).map { argument -> RESPValue in
                switch argument {
                case .string(let text): .bulkString(ByteBuffer(string: text == "schedule" ? "id" : text))
                case .integer(let number): .bulkString(ByteBuffer(string: "\(number)"))
                case .buffer(let bytes): .bulkString(bytes)
                }
            }
            let read = try RecurringSchedule(ReplyFields(.array(values)))
            var expected = put
            expected.next = next
            expected.task.id = "s"
            try expectEqual(read, expected, "the schedule")
        }
    }
}

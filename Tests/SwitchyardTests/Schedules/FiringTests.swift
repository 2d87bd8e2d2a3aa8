import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite struct FiringTests {
    private func schedule(
        _ id: String, _ cron: String, missed: RecurringSchedule.Missed = .skip, command: [String] = ["true"]
    ) -> RecurringSchedule {
        var request = BuildRequest()
        request.command = command
        return RecurringSchedule(id: id, cron: cron, missed: missed, task: QueuedTask(request, priority: .high))
    }

    /// Runs `body` while replicas serve the queue.
    private func withReplicas(_ count: Int, _ queue: TestQueue, _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                let replica = try TaskScheduler(client: queue.redis.client, queues: [queue.name], logger: .silent)
                group.addTask { try await replica.run() }
            }
            do {
                try await body()
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
    }

    /// Makes a schedule overdue, as after a night without replicas.
    private func setNext(_ id: String, _ secondsAgo: Double, _ queue: TestQueue) async throws -> Int64 {
        let stats = try await queue.call("stats").pairs
        let due = try #require(stats["now"]?.int) - Int64(secondsAgo * 1000)
        try await queue.raw("ZADD", "{}schedules", "\(due)", id)
        return due
    }

    /// The ids of the tasks that the schedule has made. They are not checked as a snapshot, because replicas change the
    /// queue meanwhile.
    private func tasks(_ id: String, _ queue: TestQueue) async throws -> [String] {
        try await Snapshot(reading: queue.keys, client: queue.redis.client).taskIDs.filter { $0.hasPrefix("\(id).") }
    }

    @Test func aScheduleIsReadBackAsItWasPut() async throws {
        try await TestQueue.run { queue in
            var request = BuildRequest()
            request.command = ["make", "ü", "a b"]
            request.environment = ["A": "1"]
            request.payload = ByteBuffer(string: #"{"n":[1]}"#)
            var task = QueuedTask(request)
            task.timeout = .seconds(90)
            task.maxRetries = 7
            task.delay = .seconds(3)
            var put = RecurringSchedule(
                id: "nightly", cron: "0 3 * * *", zone: "Europe/Berlin", missed: .once, task: task)
            let answer = try await queue.handle.putSchedule(put)
            #expect(answer.isNew)
            let read = try #require(try await queue.handle.getSchedule("nightly"))
            #expect(read.cron == put.cron && read.zone == put.zone && read.missed == .once && read.problem == nil)
            #expect(read.task.request == request)
            #expect(read.task.timeout == .seconds(90) && read.task.maxRetries == 7 && read.task.delay == .seconds(3))
            #expect(read.task.priority == .normal && read.task.priorityReason == "default")
            let next = try #require(read.next)
            #expect(next == answer.schedule.next && next > Date() && next < Date(timeIntervalSinceNow: 25 * 3600))

            put.cron = "0 4 * * *"
            let again = try await queue.handle.putSchedule(put)
            #expect(!again.isNew && again.schedule.next != read.next)
            #expect(try await queue.handle.getSchedules().map(\.id) == ["nightly"])
            #expect(try await queue.handle.removeSchedule("nightly"))
            #expect(try await !queue.handle.removeSchedule("nightly"))
            #expect(try await queue.handle.getSchedules().isEmpty)
        }
    }

    @Test func whatCannotRecurIsRefused() async throws {
        try await TestQueue.run { queue in
            var bad: [RecurringSchedule] = [
                schedule("s", "61 * * * *"), schedule("s", "0 0 30 2 *"), schedule("a b", "* * * * *"),
                schedule(String(repeating: "a", count: 171), "* * * * *"),
            ]
            var other = schedule("s", "* * * * *")
            other.zone = "Mars/Olympus"
            bad.append(other)
            other = schedule("s", "* * * * *")
            other.task.runAt = Date()
            bad.append(other)
            other = schedule("s", "* * * * *")
            other.task.request.payload = ByteBuffer(bytes: [0xFF])
            bad.append(other)
            for schedule in bad {
                try await expectError("BadRequest") { try await queue.handle.putSchedule(schedule) }
            }
            #expect(try await queue.handle.getSchedules().isEmpty)
        }
    }

    @Test(.timeLimit(.minutes(1))) func threeReplicasFireEachTimeOnce() async throws {
        try await TestQueue.run { queue in
            let events = try await queue.redis.client.subscribe(to: [queue.keys.events, queue.keys.results])
            try await queue.handle.putSchedule(schedule("s", "* * * * * *"))
            try await withReplicas(3, queue) {
                try await Task.sleep(for: .seconds(5.5))
            }
            let dues = try await tasks("s", queue).compactMap { Int($0.dropFirst(2)) }.sorted()
            #expect(dues.count >= 5, "\(dues)")
            let first = try #require(dues.first)
            #expect(dues == (0..<dues.count).map { first + $0 * 1000 })
            #expect(try await queue.stats().pending == dues.count)
            // A task that was made twice under one id would be published twice.
            try await queue.handle.cancelTask("s.\(first)")
            var told: [String] = []
            for await event in events {
                guard case .message(_, let payload) = event else { continue }
                told += String(buffer: payload).split(separator: "\n").map(String.init)
                if told.contains(where: { $0.contains("cancelled") }) { break }
            }
            let made = told.filter { $0.contains(" pending ") }
            #expect(Set(made).count == dues.count && made.count == dues.count, "\(told)")
            let task = try await queue.handle.getTask("s.\(first)")
            #expect(task.request.command == ["true"] && task.priority == .high)
            // Within half a second of its time: replicas sleep until the next schedule is due.
            #expect(try #require(task.submittedAt).timeIntervalSince1970 * 1000 - Double(first) < 500)
        }
    }

    @Test func missedTimesAreSkippedOrFiredOnce() async throws {
        try await TestQueue.run { queue in
            try await queue.handle.putSchedule(schedule("skip", "0 0 1 1 *"))
            try await queue.handle.putSchedule(schedule("once", "0 0 1 1 *", missed: .once))
            try await queue.handle.putSchedule(schedule("late", "0 0 1 1 *"))
            _ = try await setNext("skip", 3600, queue)
            let once = try await setNext("once", 3600, queue)
            let late = try await setNext("late", 30, queue)
            try await withReplicas(2, queue) {
                let areSet = try await eventually {
                    try await queue.handle.getSchedules().allSatisfy { $0.next ?? .distantPast > Date() }
                }
                #expect(areSet)
            }
            let found = try await queue.snapshot().taskIDs
            #expect(found.sorted() == ["late.\(late)", "once.\(once)"])
            #expect(try await queue.handle.getSchedule("once")?.last?.timeIntervalSince1970 == Double(once) / 1000)
        }
    }

    @Test func aTimeThatIsDueSurvivesPuttingTheSameScheduleAgain() async throws {
        try await TestQueue.run { queue in
            try await queue.handle.putSchedule(schedule("s", "0 0 1 1 *"))
            let due = try await setNext("s", 1, queue)
            try await queue.handle.putSchedule(schedule("s", "0 0 1 1 *", command: ["false"]))
            #expect(try await queue.handle.getSchedule("s")?.next == Date(timeIntervalSince1970: Double(due) / 1000))
            try await queue.handle.putSchedule(schedule("s", "0 0 2 1 *"))
            #expect(try #require(try await queue.handle.getSchedule("s")?.next) > Date())
        }
    }

    @Test func aScheduleThatCannotBeReadIsPutOffAndDoesNotStopTheOthers() async throws {
        try await TestQueue.run { queue in
            for id in ["cron", "zone", "template", "gone", "refused", "good"] {
                try await queue.handle.putSchedule(schedule(id, "0 0 1 1 *"))
            }
            try await queue.raw("HSET", "{}schedule:cron", "cron", "whenever")
            try await queue.raw("HSET", "{}schedule:zone", "zone", "Mars/Olympus")
            try await queue.raw("HSET", "{}schedule:template", "template", "no JSON")
            try await queue.raw("HSET", "{}schedule:refused", "template", #"["task","t","priority","best"]"#)
            try await queue.raw("DEL", "{}schedule:gone")
            for id in ["cron", "zone", "template", "gone", "refused"] { _ = try await setNext(id, 10, queue) }
            let due = try await setNext("good", 1, queue)
            try await withReplicas(2, queue) {
                let areSet = try await eventually {
                    let schedules = try await queue.handle.getSchedules()
                    return schedules.count == 6 && schedules.allSatisfy { $0.next ?? .distantPast > Date() }
                }
                #expect(areSet)
            }
            #expect(try await queue.snapshot().taskIDs == ["good.\(due)"])
            for schedule in try await queue.handle.getSchedules() where schedule.id != "good" {
                let next = try #require(schedule.next)
                #expect((3000..<3700).contains(next.timeIntervalSinceNow), "\(schedule.id) \(next)")
                #expect((schedule.problem == nil) == (schedule.id == "refused"), "\(schedule.id)")
            }
        }
    }

    @Test func aFullOrDrainingQueueKeepsTheTimeDueUntilThereIsRoom() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1]) { queue in
            try await queue.submit("first")
            try await queue.handle.putSchedule(schedule("s", "0 0 1 1 *"))
            let due = try await setNext("s", 1, queue)
            try await withReplicas(1, queue) {
                try await Task.sleep(for: .milliseconds(700))
                #expect(try await tasks("s", queue).isEmpty)
                try await queue.handle.configure([("max_queue_length", 10), ("draining", 1)])
                try await Task.sleep(for: .milliseconds(700))
                #expect(try await tasks("s", queue).isEmpty)
                try await queue.handle.configure([("draining", 0)])
                let hasFired = try await eventually { try await tasks("s", queue) == ["s.\(due)"] }
                #expect(hasFired)
            }
        }
    }

    @Test func aFiringWhoseUniqueKeyIsTakenMakesNoTask() async throws {
        let queue = try await TestQueue()
        try await queue.handle.putSchedule(schedule("s", "0 0 1 1 *"))
        try await queue.raw("HSET", "{}schedule:s", "template", #"["task","s","unique_key","k"]"#)
        let first = try await setNext("s", 2, queue)
        func fire(_ due: Int64, next: Int64) async throws -> RESPValue {
            try await queue.call("fire", "schedule", "s", "due", .integer(due), "next", .integer(next))
        }
        #expect(try await fire(first, next: first + 1000).string == "s.\(first)")
        #expect(try await fire(first + 1000, next: first + 99_000).isNull)
        let made = try await queue.handle.getTasks(["s.\(first)", "s.\(first + 1000)"])
        #expect(made.map(\.?.id) == ["s.\(first)", nil])
        let next = try await queue.handle.getSchedule("s")?.next
        #expect(next == Date(timeIntervalSince1970: Double(first + 99_000) / 1000))
    }

    @Test(.timeLimit(.minutes(1))) func aFullRedisKeepsTheTimeDueAndIsNoOutage() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            try await queue.handle.putSchedule(schedule("s", "0 0 1 1 *", missed: .once))
            let due = try await setNext("s", 1, queue)
            try await queue.raw("CONFIG", "SET", "maxmemory", "1000000")
            let replica = try TaskScheduler(client: redis.client, queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            try await Task.sleep(for: .milliseconds(1200))
            #expect(try await tasks("s", queue).isEmpty)
            let health = try #require(replica.health.current[queue.name])
            #expect(health.failure == nil && health.lastTick != nil)
            try await queue.raw("CONFIG", "SET", "maxmemory", "0")
            let hasFired = try await eventually { try await tasks("s", queue) == ["s.\(due)"] }
            #expect(hasFired)
            running.cancel()
            _ = await running.result
        }
    }
}

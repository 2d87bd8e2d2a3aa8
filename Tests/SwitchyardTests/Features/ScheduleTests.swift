import NIOCore
import RedisClient
import SwitchyardTesting
import Testing

@Suite("Recurring schedules")
struct ScheduleTests {
    private static let past: Int64 = 1_700_000_000_000

    private func schedule(_ queue: TestQueue, _ template: String) async throws {
        try await queue.call(
            "schedule", "schedule", "nightly", "cron", "0 3 * * *", "zone", "Europe/Berlin", "template",
            .string(template), "next", .integer(Self.past))
    }

    private func fire(_ queue: TestQueue, due: Int64, skip: Bool = false) async throws -> String? {
        try await queue.call(
            "fire", "schedule", "nightly", "due", .integer(due), "next", .integer(due + 1000), "skip", skip ? "1" : "0"
        ).string
    }

    @Test func fireOnceHoweverManyReplicasCall() async throws {
        try await TestQueue.run { queue in
            try await schedule(queue, #"["task","x","priority","high","requires","gpu"]"#)
            #expect(try await queue.call("tick").pairs["schedules"]?.array?.compactMap(\.string) == ["nightly"])
            let clients = try (0..<4).map { _ in try queue.redis.makeClient() }
            let fired = try await withThrowingTaskGroup(of: String?.self) { group in
                for client in clients {
                    group.addTask {
                        try await client.send(
                            RedisCommand(
                                "FCALL", "switchyard_fire", 2, .string(queue.keys.prefix), .string(queue.keys.config),
                                "schedule", "nightly", "due",
                                .integer(Self.past), "next", .integer(Self.past + 1000))
                        ).string
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            for client in clients { await client.shutdown() }
            #expect(fired.compactMap { $0 } == ["nightly.\(Self.past)"])
            #expect(try await queue.field("lane", of: "nightly.\(Self.past)") == "gpu")
            #expect(try await queue.snapshot().taskIDs.count == 1)
            #expect(try await fire(queue, due: Self.past + 1000) == "nightly.\(Self.past + 1000)")
        }
    }

    @Test func aMissedTimeIsPassedOverWhenAskedTo() async throws {
        try await TestQueue.run { queue in
            try await schedule(queue, #"["task","x"]"#)
            #expect(try await fire(queue, due: Self.past, skip: true) == nil)
            #expect(try await queue.snapshot().taskIDs.isEmpty)
            #expect(try await queue.raw("ZSCORE", "{}schedules", "nightly").string == "\(Self.past + 1000)")
        }
    }

    @Test func aFullQueueKeepsTheScheduleDue() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1]) { queue in
            try await queue.submit("a")
            try await schedule(queue, #"["task","x"]"#)
            try await expectRefusal("QUEUEFULL") { _ = try await fire(queue, due: Self.past) }
            try await queue.call("cancel", "task", "a")
            #expect(try await fire(queue, due: Self.past) != nil)
        }
    }

    @Test func aRunThatIsStillGoingIsNotOverlappedByTheNextWithAUniqueKey() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            try await schedule(queue, #"["task","x","unique_key","nightly"]"#)
            _ = try await fire(queue, due: Self.past)
            try await queue.take("w")
            _ = try await fire(queue, due: Self.past + 1000)
            #expect(try await queue.snapshot().taskIDs == ["nightly.\(Self.past)"])
            try await queue.end("nightly.\(Self.past)")
            _ = try await fire(queue, due: Self.past + 2000)
            #expect(try await queue.take("w") == ["nightly.\(Self.past + 2000)"])
        }
    }

    @Test func firesNoMoreOnceItIsEnded() async throws {
        try await TestQueue.run { queue in
            try await schedule(queue, #"["task","x"]"#)
            #expect(try await queue.call("schedules").array?.count == 1)
            #expect(try await queue.call("unschedule", "schedule", "nightly").int == 1)
            #expect(try await fire(queue, due: Self.past) == nil)
            #expect(try await queue.call("unschedule", "schedule", "nightly").int == 0)
        }
    }

    @Test(arguments: [#"{"task":1}"#, "[]", "no json", #"["payload","x"]"#, #"["task",1]"#])
    func whatIsNoTemplateIsRefused(template: String) async throws {
        try await TestQueue.run { queue in
            try await expectRefusal("BADREQUEST") { try await schedule(queue, template) }
        }
    }
}

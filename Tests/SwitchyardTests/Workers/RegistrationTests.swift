import Switchyard
import SwitchyardTesting
import Testing

@Suite("Registration")
struct RegistrationTests {
    @Test func itsTimeIsThatOfTheFirst() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            let first = try await queue.raw("HGET", "{}worker:w", "registered_at").string
            #expect(first != nil)
            try await queue.register("w", slots: 2)
            #expect(try await queue.raw("HGET", "{}worker:w", "registered_at").string == first)
        }
    }

    /// A worker whose state something has overwritten is told to register again, and has all its slots then.
    @Test(arguments: ["x", "", "slots=nan draining=0 unstarted=0 asleep=0 nonce= class=", "slots=-1"])
    func anUnreadableStateIsWrittenAnew(text: String) async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 3)
            try await queue.submit((0..<4).map { ("t\($0)", [:]) })
            #expect(try await worker.pull(max: 1, holding: 0).count == 1)
            try await queue.raw("HSET", "{}attempts:w", "@state", text)
            try await expectError("WorkerNotFound") { _ = try await worker.heartbeat([]) }
            try await expectError("WorkerNotFound") { _ = try await worker.pull(max: 3, holding: 1) }
            _ = try await worker.register(WorkerClient.Registration(slots: 3))
            #expect(try await worker.pull(max: 3, holding: 1).count == 2)
        }
    }

    @Test func aWorkerThatComesBackWhileItLeavesIsOneThatStays() async throws {
        try await TestQueue.run(settings: ["default_max_retries": 9]) { queue in
            try await queue.register("w", slots: 60)
            try await queue.submit((0..<60).map { ("t\($0)", [:]) })
            #expect(try await queue.take("w", max: 60).count == 60)
            // There are more tasks than one call ends.
            try await queue.call("deregister", "worker", "w")
            #expect(try await queue.raw("HGET", "{}worker:w", "leaves").string == "1")
            try await queue.register("w", slots: 60)
            try await queue.call("heartbeat", "worker", "w")
            #expect(try await queue.raw("HGET", "{}worker:w", "leaves").string == nil)
            #expect(try await queue.take("w").count == 1)
            // The worker is now lost, instead of having left.
            try await queue.age(by: .seconds(61))
            #expect(try await queue.call("tick", "limit", "100").pairs["lost_workers"]?.int == 1)
            try await queue.tickUntilDone()
        }
    }
}

import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The follow-up task of a batch sees what happened, and may run each time that the batch ends.
@Suite struct FollowUpTests {
    private func followUp(payload: String? = nil, environment: [String: String] = [:]) -> QueuedTask {
        var request = BuildRequest()
        request.payload = payload.map { ByteBuffer(string: $0) }
        request.environment = environment
        request.command = ["true"]
        return QueuedTask(request, priority: .normal, id: "then")
    }

    private func tasks(_ ids: [String]) -> [QueuedTask] {
        ids.map { id in
            var task = QueuedTask(BuildRequest(), priority: .normal, id: id)
            task.maxRetries = 0
            return task
        }
    }

    /// Runs all tasks of the queue; those in `failing` fail. Returns their ids.
    @discardableResult
    private func runAll(failing: Set<String> = [], _ queue: TestQueue) async throws -> [String] {
        var order: [String] = []
        while let task = try await queue.pull("w", start: true).first {
            order.append(task.id)
            try await queue.finish(
                "w", task.id, attempt: task.attempt, failing.contains(task.id) ? "failed" : "completed")
        }
        return order
    }

    private func payload(_ id: String, _ queue: TestQueue) async throws -> NSDictionary? {
        let payload = try await queue.handle.getTask(id).request.payload ?? ByteBuffer()
        return try JSONSerialization.jsonObject(with: Data(payload.readableBytesView)) as? NSDictionary
    }

    @Test(arguments: [
        (nil, 0), ("{}", 0), (#"{"x":[1,{"y":"}"}]}"#, 1), ("  { \"x\" : 1 }", 1), (#"{"x":1}"#, 2),
    ])
    func itSeesTheCountsAndWhoFailed(given: String?, failures: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            let ids = ["a", "b", "c"]
            _ = try await queue.handle.addTasks(
                tasks(ids), batch: "B", onComplete: followUp(payload: given, environment: ["MINE": "1"]))
            let failing = Set(ids.prefix(failures))
            #expect(try await runAll(failing: failing, queue) == ids + ["then"])
            let then = try await queue.handle.getTask("then")
            let environment = then.request.environment
            #expect(environment["MINE"] == "1")
            #expect(environment["SWITCHYARD_BATCH_ID"] == "B")
            #expect(environment["SWITCHYARD_BATCH_TOTAL"] == "3")
            #expect(environment["SWITCHYARD_BATCH_COMPLETED"] == "\(3 - failures)")
            #expect(environment["SWITCHYARD_BATCH_FAILED"] == "\(failures)")
            #expect(environment["SWITCHYARD_BATCH_TIMEOUT"] == "0")
            #expect(environment["SWITCHYARD_BATCH_CANCELLED"] == "0")
            #expect(environment["SWITCHYARD_BATCH_FAILED_IDS"] == ids.prefix(failures).joined(separator: " "))
            #expect(environment["SWITCHYARD_BATCH_MORE_FAILED"] == "0")
            let payload = try #require(try await payload("then", queue))
            let batch = try #require(payload["batch"] as? NSDictionary)
            #expect(batch["batch_id"] as? String == "B")
            #expect(batch["total"] as? Int == 3)
            #expect(batch["completed"] as? Int == 3 - failures)
            #expect(batch["failed_ids"] as? [String] == Array(ids.prefix(failures)))
            #expect(batch["more_failed"] as? Int == 0)
            #expect((payload["x"] != nil) == (given?.contains("x") == true))
            #expect(try await queue.handle.getBatch("B").failures == Array(ids.prefix(failures)))
        }
    }

    @Test(arguments: ["all done", "[1,2]", "\"text\"", "{ no JSON", "{} {}"])
    func aPayloadThatIsNoObjectStaysAsItIs(given: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            _ = try await queue.handle.addTasks(tasks(["a"]), batch: "B", onComplete: followUp(payload: given))
            try await runAll(queue)
            let then = try await queue.handle.getTask("then")
            #expect(then.request.payload == ByteBuffer(string: given))
            #expect(then.request.environment["SWITCHYARD_BATCH_ID"] == "B")
        }
    }

    @Test func aPayloadWithoutRoomStaysAsItIs() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            let long = "{\"x\":\"" + String(repeating: ".", count: (1 << 20) - 100) + "\"}"
            _ = try await queue.handle.addTasks(tasks(["a"]), batch: "B", onComplete: followUp(payload: long))
            #expect(try await runAll(queue) == ["a", "then"])
            #expect(try await queue.handle.getTask("then").request.payload?.readableBytes == long.utf8.count)
        }
    }

    @Test(arguments: [150, 1100])
    func ofManyFailuresItSeesTheFirst(count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let ids = (0..<count).map { "t\($0)" }
            _ = try await queue.handle.addTasks(tasks(ids), batch: "B", onComplete: followUp())
            for _ in 0..<50 where try await queue.tick(limit: 500).more {}
            try await queue.handle.cancelBatch("B")
            for _ in 0..<100 where try await queue.tick(limit: 500).more {}
            let environment = try await queue.handle.getTask("then").request.environment
            #expect(environment["SWITCHYARD_BATCH_CANCELLED"] == "\(count)")
            let told = environment["SWITCHYARD_BATCH_FAILED_IDS"]?.split(separator: " ").map(String.init) ?? []
            #expect(told.count == 100)
            #expect(Set(told).isSubset(of: ids))
            #expect(environment["SWITCHYARD_BATCH_MORE_FAILED"] == "\(count - 100)")
        }
    }

    @Test(arguments: [(false, 3), (true, 3), (true, 1050)])
    func aRetryEndsTheBatchAnew(isRepeated: Bool, count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("w", slots: 3)
            let ids = (0..<count).map { "t\($0)" }
            _ = try await queue.handle.addTasks(
                tasks(ids), batch: "B", onComplete: followUp(), onCompleteAgain: isRepeated)
            for _ in 0..<50 where try await queue.tick(limit: 500).more {}
            #expect(try await runAll(failing: ["t0", "t1"], queue).last == "then")
            #expect(try await queue.handle.getBatch("B").failures == ["t0", "t1"])

            var finished: [String] = []
            let events = try await queue.redis.client.subscribe(to: [queue.keys.events])
            let reading = Task {
                var told: [String] = []
                for await event in events {
                    guard case .message(_, let payload) = event else { continue }
                    told += String(buffer: payload).split(separator: "\n").map(String.init)
                    if told.contains("batch:B finished \(count)") { return true }
                }
                return false
            }
            // The first retry succeeds and leaves a failure; the second leaves none.
            for (number, id) in ["t0", "t1"].enumerated() {
                try await queue.handle.retryTask(id)
                #expect(try await queue.handle.getBatch("B").finishedAt == nil)
                finished += try await runAll(queue)
                let batch = try await queue.handle.getBatch("B")
                #expect(batch.finishedAt != nil)
                #expect(batch.failures == (number == 0 ? ["t1"] : []))
                #expect(batch.followUp == (isRepeated ? "then-\(number + 2)" : "then"))
            }
            #expect(finished == (isRepeated ? ["t0", "then-2", "t1", "then-3"] : ["t0", "t1"]))
            let limit = Task {
                try await Task.sleep(for: .seconds(30))
                reading.cancel()
            }
            #expect(await reading.value)
            limit.cancel()
            guard isRepeated else { return }
            let environment = try await queue.handle.getTask("then-3").request.environment
            #expect(environment["SWITCHYARD_BATCH_COMPLETED"] == "\(count)")
            #expect(environment["SWITCHYARD_BATCH_FAILED_IDS"] == "")
        }
    }

    @Test func aLongIdHasRoomForItsNumber() async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            var then = followUp()
            then.id = String(repeating: "i", count: 200)
            _ = try await queue.handle.addTasks(tasks(["a"]), batch: "B", onComplete: then, onCompleteAgain: true)
            try await runAll(failing: ["a"], queue)
            try await queue.handle.retryTask("a")
            let again = try await runAll(queue)
            #expect(again == ["a", String(repeating: "i", count: 198) + "-2"])
        }
    }

    @Test func itCannotBeRepeatedWithoutAFollowUp() async throws {
        try await TestQueue.run { queue in
            for call in [["on_complete_again": "1"], ["batch": "B", "on_complete_again": "1"]] {
                try await expectRefusal("BADREQUEST") { try await queue.submit([("a", [:])], call: call) }
            }
            let bad = ["batch": "B", "on_complete": #"["task","t"]"#, "on_complete_again": "2"]
            try await expectRefusal("BADREQUEST") { try await queue.submit([("a", [:])], call: bad) }
            #expect(try await queue.stats().pending == 0)
        }
    }
}

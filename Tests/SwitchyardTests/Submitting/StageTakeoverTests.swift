import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Stages that nobody opens")
struct StageTakeoverTests {
    /// A batch that is submitted in parts, as a replica does.
    private struct Upload {
        var batch = "B"
        /// The argument `stage`: "1" stands for the batch's id.
        var token = "1"
        var parts: [[(id: String, options: [String: String])]]

        var ids: [String] { parts.flatMap { $0.map(\.id) } }

        func stage(_ part: Int, _ queue: TestQueue) async throws -> [String] {
            try await queue.submit(parts[part], call: ["batch": batch, "stage": token])
        }

        func open(_ queue: TestQueue) async throws {
            for _ in 0..<50 {
                let left = try await queue.call("open_batch", "batch", .string(batch), "stage", .string(token)).int
                if left == 0 { return }
            }
            Issue.record("the opening does not come to an end")
        }

        func abandon(_ queue: TestQueue) async throws -> Int {
            var deleted: Int64 = 0
            for _ in 0..<50 {
                let step =
                    try await queue.call("abandon_batch", "batch", .string(batch), "stage", .string(token)).int ?? 0
                if step == 0 { break }
                deleted += step
            }
            return Int(deleted)
        }
    }

    private static let tokens = ["1", "t.9f86d081884c7d65"]

    /// Returns `count` tasks in parts of `size`, each with a unique key of its own.
    private func upload(
        _ token: String, _ count: Int, size: Int, batch: String = "B", ids: String = "t", keys: String = "k"
    ) -> Upload {
        let tasks = (0..<count).map { ("\(ids)\($0)", ["unique_key": "\(keys)\($0)", "payload": "of \(batch)"]) }
        let parts = stride(from: 0, to: count, by: size).map { Array(tasks[$0..<min($0 + size, count)]) }
        return Upload(batch: batch, token: token, parts: parts)
    }

    private func remains(_ queue: TestQueue) async throws -> [String] {
        try await queue.snapshot().contents.keys.filter { $0.hasPrefix("stage") || $0 == "claims" }.sorted()
    }

    @Test(arguments: tokens, [1, 2, 5])
    func theSameSubmissionTakesItOver(token: String, died: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            let upload = upload(token, 60, size: 10)
            // Several replicas die in the middle; the last one starts anew and does not.
            for parts in [died, 1, died] {
                for part in 0..<parts { #expect(try await upload.stage(part, queue) == upload.parts[part].map(\.id)) }
                try await queue.tick()
            }
            for part in upload.parts.indices {
                #expect(try await upload.stage(part, queue) == upload.parts[part].map(\.id))
            }
            #expect(try await queue.number("pending") == 0)
            try await upload.open(queue)
            try await queue.tickUntilDone()
            #expect(try await queue.call("batch", "batch", "B").pairs["total"]?.int == 60)
            #expect(try await queue.runAll("w", holding: 100) == upload.ids)
            #expect(try await queue.call("batch", "batch", "B").pairs["finished_at"] != nil)
            #expect(try await remains(queue) == [])
        }
    }

    @Test(arguments: tokens, ["plain", "batch", "staged", "unique"])
    func anotherSubmissionOfTheSameIdsSucceeds(token: String, how: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            let first = upload(token, 30, size: 10)
            for part in 0..<2 { _ = try await first.stage(part, queue) }
            var expected = first.ids
            switch how {
            case "plain":
                for id in first.ids { #expect(try await queue.submit([(id, [:])]) == [id]) }
            case "batch":
                #expect(try await queue.submit(first.ids.map { ($0, [:]) }, call: ["batch": "C"]) == first.ids)
            case "staged":
                let second = upload(token == "1" ? "1" : "other", 30, size: 15, batch: "C")
                for part in 0..<2 { #expect(try await second.stage(part, queue) == second.parts[part].map(\.id)) }
                try await second.open(queue)
            default:
                // The ids differ, and only the unique keys are the same.
                expected = (0..<30).map { "u\($0)" }
                #expect(try await queue.submit((0..<30).map { ("u\($0)", ["unique_key": "k\($0)"]) }) == expected)
            }
            // The stage is broken: it is never opened, and is deleted at its deadline.
            try await expectRefusal("TASKEXISTS") {
                try await queue.call("open_batch", "batch", "B", "stage", .string(token))
            }
            try await queue.tickUntilDone()
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("batch", "batch", "B") }
            #expect(try await queue.number("pending") == 30)
            #expect(try await queue.runAll("w", holding: 100) == expected)
            try await queue.pass(.seconds(31), heartbeats: ["w"])
            try await queue.tickUntilDone()
            #expect(try await remains(queue) == [])
        }
    }

    @Test(arguments: tokens, [1, 20])
    func oneTaskThatIsTakenBreaksTheStage(token: String, taken: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            let upload = upload(token, 60, size: 60)
            _ = try await upload.stage(0, queue)
            let ids = (0..<taken).map { "t\($0 * 3)" }
            for id in ids { try await queue.submit(id) }
            try await expectRefusal("TASKEXISTS") { try await upload.open(queue) }
            try await queue.tickUntilDone()
            #expect(try await queue.runAll("w", holding: 100) == ids)
            #expect(try await queue.states(of: ["t1", "t59"]) == [nil, nil])
            // Its other ids and keys are free.
            #expect(try await queue.submit([("t1", ["unique_key": "k2"])]) == ["t1"])
        }
    }

    @Test(arguments: tokens, [5, 250])
    func fillsNoQueue(token: String, count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": count]) { queue in
            try await queue.register("w", slots: 100)
            let upload = upload(token, count, size: 50)
            for part in upload.parts.indices { _ = try await upload.stage(part, queue) }
            #expect(try await queue.number("pending") == 0)
            #expect(try await queue.submit((0..<count).map { ("x\($0)", [:]) }).count == count)
            // It is opened as a whole once there is room for it, and not before.
            for left in [count, 1] {
                while try await queue.number("pending") > left {
                    let most = min(100, try await queue.number("pending") - left)
                    for id in try await queue.take("w", max: most) { try await queue.end(id) }
                }
                try await expectRefusal("QUEUEFULL") {
                    try await queue.call("open_batch", "batch", "B", "stage", .string(token))
                }
                try await expectRefusal("TASKNOTFOUND") { try await queue.call("batch", "batch", "B") }
                #expect(try await queue.states(of: ["t0"]) == [nil])
            }
            for id in try await queue.take("w") { try await queue.end(id) }
            try await upload.open(queue)
            try await queue.tickUntilDone()
            #expect(try await queue.number("pending") == count)
        }
    }

    @Test(arguments: tokens, [1, 200])
    func isDeletedHalfAMinuteAfterItsLastPart(token: String, count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            let upload = upload(token, count * 3, size: count)
            for part in 0..<3 {
                _ = try await upload.stage(part, queue)
                try await queue.age(by: .seconds(20))
                try await queue.tickUntilDone()
            }
            // The last part came 20 s ago, so the stage still exists.
            #expect(try await remains(queue) != [])
            try await queue.age(by: .seconds(11))
            try await queue.tickUntilDone()
            #expect(try await remains(queue) == [])
            try await expectRefusal("TASKNOTFOUND") {
                try await queue.call("open_batch", "batch", "B", "stage", .string(token))
            }
            // Everything that it claimed is free.
            #expect(try await queue.submit(upload.ids.map { ($0, ["unique_key": "k" + $0.dropFirst()]) }) == upload.ids)
            #expect(try await queue.number("pending") == count * 3)
        }
    }

    @Test(arguments: [1, 2, 3])
    func isNotOpenedWithoutAPartThatWasDeleted(late: Int) async throws {
        try await TestQueue.run { queue in
            let upload = upload("s", 40, size: 10)
            func stage(_ part: Int) async throws {
                try await queue.submit(upload.parts[part], call: ["batch": "B", "stage": "s", "part": "\(part)"])
            }
            func open() async throws {
                try await queue.call("open_batch", "batch", "B", "stage", "s", "parts", "4")
            }
            for part in 0..<late { try await stage(part) }
            try await queue.pass(.seconds(31), heartbeats: [])
            try await queue.tickUntilDone()
            for part in late..<4 { try await stage(part) }
            try await expectRefusal("TASKNOTFOUND") { try await open() }
            try await expectRefusal("TASKNOTFOUND") { try await queue.call("batch", "batch", "B") }
            #expect(try await queue.number("pending") == 0)
            // Its parts are submitted again, some of them twice, in any order.
            for part in [2, 0, 2, 3, 1, 0] { try await stage(part) }
            try await open()
            try await queue.tickUntilDone()
            #expect(try await queue.number("pending") == 40)
        }
    }

    @Test func aBatchOfTheHandleComesAgainWhenItsFirstPartsWereDeleted() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            let tasks = (0..<1200).map { QueuedTask(BuildRequest(), id: "t\($0)") }
            // The parts that exist at that moment are deleted once, at whatever point the submission is.
            let deleting = Task {
                while try await queue.number("pending") == 0 {
                    if try await queue.raw("EXISTS", "{}stages").int == 1 {
                        try await queue.pass(.seconds(31), heartbeats: [])
                        try await queue.tickUntilDone()
                        return
                    }
                }
            }
            let added = try await queue.handle.addTasks(tasks, batch: "B")
            try await deleting.value
            #expect(added.count == 1200)
            try await queue.tickUntilDone()
            #expect(try await queue.number("pending") == 1200)
        }
    }

    /// A task of a schedule takes an id or a unique key like any other submission.
    @Test(arguments: [["id": "s.1000"], ["key": "k"]], [false, true])
    func aScheduleThatFiresMeetsItsClaims(claimed: [String: String], isOpen: Bool) async throws {
        try await TestQueue.run { queue in
            try await queue.call(
                "schedule", "schedule", "s", "cron", "* * * * *", "template", #"["task","x","unique_key","k"]"#, "next",
                "1000")
            let task = (claimed["id"] ?? "t", claimed["key"].map { ["unique_key": $0] } ?? [:])
            try await queue.submit([("first", [:]), task], call: ["batch": "B", "stage": "1"])
            if isOpen { #expect(try await queue.call("open_batch", "batch", "B", "limit", "1").int == 1) }
            let fired = try await queue.call("fire", "schedule", "s", "due", "1000", "next", "2000")
            #expect(fired.string == (isOpen ? nil : "s.1000"))
            if isOpen {
                try await queue.tickUntilDone()
                #expect(try await queue.number("pending") == 2)
            } else {
                try await expectRefusal("TASKEXISTS") { try await queue.call("open_batch", "batch", "B") }
                try await queue.tickUntilDone()
                #expect(try await queue.number("pending") == 1)
            }
        }
    }

    @Test(arguments: tokens, [1, 99, 100, 250])
    func isGoneWhenItIsAbandoned(token: String, count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            let upload = upload(token, count, size: 80)
            for round in 0..<2 {
                for part in upload.parts.indices { _ = try await upload.stage(part, queue) }
                #expect(try await upload.abandon(queue) == count, "round \(round)")
                #expect(try await remains(queue) == [])
                #expect(try await upload.abandon(queue) == 0)
            }
            #expect(try await queue.submit(upload.ids.map { ($0, [:]) }) == upload.ids)
        }
    }

    @Test(arguments: ["", "a b", "ü", "a/b", String(repeating: "x", count: 201)])
    func itsTokenIsAName(token: String) async throws {
        try await TestQueue.run { queue in
            for function in ["submit", "open_batch", "abandon_batch"] {
                try await expectRefusal("BADREQUEST") {
                    let task: [RedisArgument] = function == "submit" ? ["task", "t"] : []
                    try await queue.call(function, ["batch", "B", "stage", .string(token)] + task)
                }
            }
            #expect(try await queue.states(of: ["t"]) == [nil])
        }
    }
}

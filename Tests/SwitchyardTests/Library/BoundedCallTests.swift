import Foundation
import RedisClient
import SwitchyardTesting
import Testing

@Suite("Calls of bounded size")
struct BoundedCallTests {
    private static let mebibyte = 1_048_576
    /// Near the largest task: the limit on each large field is a mebibyte.
    private static let large = String(repeating: "x", count: 1_000_000)

    // MARK: Submissions

    private func dependencies(_ count: Int) -> String { (0..<count).map { "d\($0)" }.joined(separator: ",") }

    @Test(arguments: [(1, 1000), (10, 100), (500, 2), (1000, 1)])
    func aSubmissionNamesAThousandDependencies(tasks: Int, each: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.submit((0..<1000).map { ("d\($0)", [:]) })
            func submit(_ more: [(id: String, options: [String: String])]) async throws {
                let list = dependencies(each)
                try await queue.submit((0..<tasks).map { ("t\($0)", ["depends_on": list]) } + more)
            }
            let before = try await queue.snapshot()
            // A call takes at most a thousand tasks.
            if tasks < 1000 {
                try await expectRefusal("BADREQUEST") { try await submit([("one-more", ["depends_on": "d0"])]) }
            }
            try await expectRefusal("BADREQUEST") {
                try await queue.submit((0..<100).map { ("t\($0)", ["depends_on": dependencies(11)]) })
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
            try await submit([])
            #expect(try await queue.call("stats").pairs["waiting"]?.int == Int64(tasks))
            try await queue.purgeAll()
            try await queue.tickUntilDone()
        }
    }

    @Test(arguments: [false, true])
    func aSubmissionHasFourMebibytesOfArguments(staged: Bool) async throws {
        try await TestQueue.run { queue in
            let head = staged ? ["batch": "B", "stage": "1"] : [:]
            func tasks(_ count: Int, _ more: Int = 0) -> [(id: String, options: [String: String])] {
                (0..<count).map { ("t\($0)", ["payload": Self.large]) }
                    + (0..<more).map { ("small\($0)", ["payload": String(repeating: "y", count: 1000)]) }
            }
            let before = try await queue.snapshot()
            for (large, small) in [(5, 0), (4, 200), (20, 0)] {
                try await expectRefusal("BADREQUEST") { try await queue.submit(tasks(large, small), call: head) }
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
            #expect(try await queue.submit(tasks(4, 100), call: head).count == 104)
            if staged { while try await queue.call("abandon_batch", "batch", "B").int ?? 0 > 0 {} }
        }
    }

    // MARK: Replies

    private func fill(_ queue: TestQueue, _ count: Int, of payload: String) async throws {
        for start in stride(from: 0, to: count, by: 4) {
            try await queue.submit((start..<min(start + 4, count)).map { ("t\($0)", ["payload": payload]) })
        }
    }

    @Test(arguments: [12, 25])
    func aPullOfLargeTasksHandsOutAPart(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            try await fill(queue, count, of: Self.large)
            var got: [String] = []
            for _ in 0..<count where got.count < count {
                let reply = try await queue.call(
                    "pull", "worker", "w", "max", "100", "start", "1", "holding", .integer(Int64(got.count)))
                #expect(reply.weight <= 8 * Self.mebibyte)
                #expect(reply.assignments.count >= 1)
                got += reply.assignments.map(\.id)
            }
            #expect(got == (0..<count).map { "t\($0)" })
        }
    }

    @Test(arguments: [12, 25])
    func whatAWorkerHasLostIsSentAgainInParts(count: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100)
            try await fill(queue, count, of: Self.large)
            for _ in 0..<count where try await queue.stats().running < count {
                try await queue.call("pull", "worker", "w", "max", "4", "start", "1")
            }
            // The worker knows of no task, and ends those that it is sent.
            var met: [String] = []
            for _ in 0..<count where met.count < count {
                let reply = try await queue.call("pull", "worker", "w", "max", "0", "holding", "0")
                #expect(reply.weight <= 8 * Self.mebibyte)
                #expect(reply.assignments.count >= 1)
                met += reply.assignments.map(\.id)
                for (id, _) in reply.assignments { try await queue.end(id) }
            }
            #expect(met.sorted() == (0..<count).map { "t\($0)" }.sorted())
        }
    }

    @Test(arguments: [("pending", 500_000), ("completed", 1_000_000), ("running", 300_000), ("pending", 10_000)])
    func aPageOfLargeTasksIsShort(state: String, size: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 1000]) { queue in
            let count = size < 100_000 ? 300 : 16
            try await queue.register("w", slots: 100)
            try await fill(queue, count, of: String(repeating: "x", count: size))
            if state != "pending" {
                var left = count
                while left > 0 {
                    let got = try await queue.pull("w", max: 4, start: true, holding: state == "running" ? nil : 0)
                    left -= got.count
                    if state == "completed" { for task in got { try await queue.end(task.id) } }
                    if got.isEmpty { break }
                }
            }
            var met: [String] = []
            var cursor = ""
            for _ in 0...count {
                let reply = try await queue.call(
                    "list", "state", .string(state), "limit", "500", "cursor", .string(cursor))
                // The last task of a page is whole.
                #expect(reply.weight <= 2 * Self.mebibyte + size / 2)
                met += (reply[1]?.array ?? []).compactMap { $0.pairs["id"]?.string }
                cursor = reply[0]?.string ?? ""
                if cursor.isEmpty { break }
            }
            #expect(cursor.isEmpty)
            #expect(met.sorted() == (0..<count).map { "t\($0)" }.sorted())
        }
    }

    @Test(arguments: [100, 1000])
    func theResultsThatATaskIsHandedAreBoundedTogether(dependencies count: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("w", slots: 100)
            try await queue.submit((0..<count).map { ("d\($0)", [:]) })
            let result = String(repeating: "r", count: count == 100 ? 500 : 4000)
            for _ in 0..<(count / 100) {
                let got = try await queue.pull("w", max: 100, start: true)
                let reports: [RedisArgument] = got.flatMap {
                    ["task", .string($0.id), "attempt", "1", "outcome", "completed", "result", .string(result)]
                        as [RedisArgument]
                }
                try await queue.call("finish", ["worker", "w"] + reports)
            }
            try await queue.submit("last", ["depends_on": dependencies(count)])
            let reply = try await queue.call("pull", "worker", "w", "start", "1")
            #expect(reply.assignments.map(\.id) == ["last"])
            let results = try #require(reply[0]?.pairs["dependency_results"]?.string)
            #expect(results.utf8.count <= 2 * Self.mebibyte)
            // The results name each dependency, with its result or null.
            #expect(results.contains("\"d0\":") && results.contains("\"d\(count - 1)\":"))
            if count == 100 { #expect(results.components(separatedBy: result).count == 101) }
            try await queue.purgeAll()
        }
    }
}

import RedisClient
import SwitchyardTesting
import Testing

@Suite("Lists of long queues")
struct ListBoundTests {
    private struct Page {
        var cursor: String
        var ids: [String]
        /// Milliseconds since 1970 of the last task that the call considered; nil if the reply has none.
        var scannedUntil: String?
    }

    private func page(
        _ queue: TestQueue, _ filter: [String: String] = [:], limit: Int, cursor: String = ""
    ) async throws -> Page {
        var arguments: [RedisArgument] = ["limit", .integer(Int64(limit)), "cursor", .string(cursor)]
        for (name, value) in filter { arguments += [.string(name), .string(value)] }
        let reply = try await queue.call("list", arguments)
        return Page(
            cursor: reply[0]?.string ?? "", ids: (reply[1]?.array ?? []).compactMap { $0.pairs["id"]?.string },
            scannedUntil: reply[2]?.string)
    }

    /// The tasks of all pages from `cursor` on. `between` runs between two pages.
    private func pages(
        _ queue: TestQueue, _ filter: [String: String] = [:], limit: Int, cursor: String = "",
        between: () async throws -> Void = {}
    ) async throws -> [String] {
        var ids: [String] = []
        var cursor = cursor
        for _ in 0..<2000 {
            let next = try await page(queue, filter, limit: limit, cursor: cursor)
            ids += next.ids
            cursor = next.cursor
            if cursor.isEmpty { return ids }
            try await between()
        }
        Issue.record("the pages do not come to an end")
        return ids
    }

    /// Completes tasks `<prefix>0` to `<prefix><count - 1>` in batches.
    private func complete(
        _ count: Int, _ prefix: String, _ queue: TestQueue, _ options: [String: String] = [:],
        outcome: String = "completed"
    ) async throws {
        for start in stride(from: 0, to: count, by: 100) {
            let some = (start..<min(start + 100, count)).map { ("\(prefix)\($0)", options) }
            try await queue.submit(some)
            let ids = try await queue.take("w", max: 100)
            let reports: [RedisArgument] = ids.flatMap {
                ["task", .string($0), "attempt", "1", "outcome", .string(outcome), "retryable", "0"] as [RedisArgument]
            }
            try await queue.call("finish", ["worker", "w"] + reports)
        }
    }

    @Test(arguments: ["failed", "timeout", "cancelled"], [0, 3])
    func thoseOfOneEndAreFoundAmongManyOthers(state: String, count: Int) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis) { queue in
                try await queue.register("w", slots: 100)
                let rare = (0..<count).map { "rare\($0)" }
                if state == "cancelled", count > 0 {
                    for id in rare { try await queue.submit(id) }
                    try await queue.call("cancel", rare.flatMap { ["task", .string($0)] as [RedisArgument] })
                } else {
                    try await complete(count, "rare", queue, outcome: state)
                }
                try await complete(3000, "t", queue)
                var first = Page(cursor: "", ids: [])
                let work = try await redis.commands { first = try await page(queue, ["state": state], limit: 50) }
                #expect(Set(first.ids) == Set(rare))
                #expect(first.cursor == "")
                #expect(first.scannedUntil == "")
                #expect(work <= 40 + 10 * count, "\(work) commands")
            }
        }
    }

    @Test(arguments: ["", "completed", "pending"], [0, 2000])
    func theMembersOfABatchAreFoundAmongManyOthers(state: String, later: Int) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis, settings: ["max_queue_length": 5000]) { queue in
                try await queue.register("w", slots: 100)
                try await queue.submit(
                    (0..<20).map { ("b\($0)", ["priority": $0 < 10 ? "critical" : "low"]) }, call: ["batch": "B"])
                for id in try await queue.take("w", max: 10) { try await queue.end(id) }
                try await complete(later, "after", queue)
                try await complete(1000, "t", queue)
                for part in 0..<2 { try await queue.submit((0..<500).map { ("p\(part)-\($0)", ["priority": "high"]) }) }
                let expected = (0..<20).filter { state == "" || ($0 < 10) == (state == "completed") }.map { "b\($0)" }
                let filter = state == "" ? ["batch": "B"] : ["batch": "B", "state": state]
                var first = Page(cursor: "", ids: [])
                let work = try await redis.commands { first = try await page(queue, filter, limit: 5) }
                #expect(first.ids.count == 5)
                #expect(work <= 200, "\(work) commands")
                #expect(try await pages(queue, filter, limit: 5).sorted() == expected.sorted())
            }
        }
    }

    @Test(arguments: [50, 500])
    func otherFiltersLookAtABoundedPieceAndSayHowFarTheyCame(limit: Int) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis) { queue in
                try await queue.register("w", slots: 100)
                try await complete(2, "rare", queue, ["repo": "rare"])
                try await queue.pass(.seconds(60), heartbeats: ["w"])
                try await complete(1200, "t", queue, ["repo": "common"])
                let now = Int(try await queue.call("stats").pairs["now"]?.int ?? 0)
                var cursor = ""
                var found: [String] = []
                var scanned: [Int] = []
                for _ in 0..<20 {
                    var next = Page(cursor: "", ids: [])
                    let work = try await redis.commands {
                        next = try await page(queue, ["repo": "rare"], limit: limit, cursor: cursor)
                    }
                    #expect(work <= 200 * 2 + 60, "\(work) commands")
                    found += next.ids
                    cursor = next.cursor
                    if cursor.isEmpty {
                        #expect(next.scannedUntil == "")
                        break
                    }
                    scanned.append(Int(next.scannedUntil ?? "") ?? -1)
                }
                #expect(cursor.isEmpty)
                #expect(found.sorted() == ["rare0", "rare1"])
                // There are 1,202 tasks, of which a call considers at most 200; the latest come first.
                #expect(scanned.count >= 5)
                #expect(scanned == scanned.sorted(by: >))
                #expect(scanned.allSatisfy { now - 120_000 <= $0 && $0 <= now + 1000 }, "\(scanned), now \(now)")
            }
        }
    }

    // MARK: While tasks move

    @Test(arguments: ["os=linux", "os=mac", "os=win"], [1, 2, 3])
    func aLaneThatEmptiesBetweenTwoPagesLosesNothing(lane: String, limit: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20, ["labels": lane])
            try await complete(4, "ended", queue, ["requires": lane])
            let lanes = ["os=linux", "os=mac", "os=win"]
            try await queue.submit(
                lanes.flatMap { lane in (0..<4).map { ("\(lane.dropFirst(3))\($0)", ["requires": lane]) } })
            try await queue.submit([("held", ["delay_ms": "600000"]), ("plain", ["requires": "elsewhere"])])
            let gone = (0..<4).map { "\(lane.dropFirst(3))\($0)" }
            let stay = lanes.flatMap { lane in (0..<4).map { "\(lane.dropFirst(3))\($0)" } }.filter {
                !gone.contains($0)
            }
            // The cursor is in the middle of that lane when its tasks leave.
            var met: [String] = []
            var cursor = ""
            repeat {
                let next = try await page(queue, limit: limit, cursor: cursor)
                met += next.ids
                cursor = next.cursor
            } while !cursor.isEmpty && Set(met).isDisjoint(with: gone)
            let left = try await queue.take("w", max: 20)
            #expect(left.sorted() == gone)
            if !cursor.isEmpty { met += try await pages(queue, limit: limit, cursor: cursor) }
            let ended = (0..<4).map { "ended\($0)" }
            #expect(Set(met).isSuperset(of: stay + ended + ["held", "plain"]), "\(met)")
            let stayed = met.filter { !gone.contains($0) }
            #expect(Set(stayed).count == stayed.count, "\(met)")
        }
    }

    @Test(arguments: [7, 20])
    func aTaskThatStaysIsMetOnceHoweverTheOthersMove(limit: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            try await queue.register("w", slots: 100, ["labels": "a,b"])
            let stay = (0..<60).map { "stay\($0)" }
            // They are in several indexes, and each has other tasks before and behind it.
            let places: [[String: String]] = [
                [:], ["requires": "c"], ["requires": "d"], ["delay_ms": "600000"],
                ["concurrency_key": "k", "requires": "c"],
            ]
            for (n, id) in stay.enumerated() {
                try await queue.submit([
                    ("before\(n)", ["requires": n % 2 == 0 ? "a" : "b", "priority": "high"]),
                    (id, places[n % 5].merging(["priority": "low"]) { $1 }),
                ])
            }
            var round = 0
            let met = try await pages(queue, limit: limit) {
                round += 1
                for id in try await queue.pull("w", max: 10, start: true).map(\.id) where id.hasPrefix("before") {
                    try await queue.end(id)
                }
                try await queue.submit("new\(round)", priority: .low, ["requires": "b"])
            }
            let times = Dictionary(grouping: met, by: \.self).mapValues(\.count)
            for id in stay where try await queue.states(of: [id]) == ["pending"] { #expect(times[id] == 1, "\(id)") }
        }
    }

    @Test(arguments: [999, 1001, 1500])
    func allLanesAreListed(lanes: Int) async throws {
        try await TestQueue.run(settings: ["max_queue_length": 5000]) { queue in
            let tasks = (0..<lanes).map { ("t\($0)", ["requires": "l\($0)"]) }
            for start in stride(from: 0, to: lanes, by: 500) {
                try await queue.submit(Array(tasks[start..<min(start + 500, lanes)]))
            }
            try await queue.submit("cancelled", ["requires": "l7"])
            try await queue.call("cancel", "task", "cancelled")
            let met = try await pages(queue, limit: 500)
            #expect(met.count == lanes + 1)
            #expect(Set(met) == Set(tasks.map(\.0) + ["cancelled"]))
            let pending = try await pages(queue, ["state": "pending"], limit: 500)
            #expect(Set(pending) == Set(tasks.map(\.0)))
        }
    }
}

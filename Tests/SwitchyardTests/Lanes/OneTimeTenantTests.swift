import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Tenants that come once")
struct OneTimeTenantTests {
    /// With `others` one-time tenants pending at any time, a tenant of weight 1 gets one of `others` + 1 starts.
    @Test(arguments: [(1, "1"), (1, "3"), (3, "1"), (8, "2")], [TaskPriority.normal, .low])
    func doNotKeepAnOldTenantWaiting(line: (others: Int, weight: String), priority: TaskPriority) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            let mine = 4
            var visitors = 0
            func visit() async throws {
                // Ids that sort before the old tenant's, and after them.
                let id = visitors % 2 == 0 ? "a\(visitors)" : "z\(visitors)"
                try await queue.submit(id, priority: priority, ["fairness_key": "change-\(visitors)"])
                visitors += 1
            }
            for n in 0..<mine {
                let tenant = ["fairness_key": "old", "fairness_weight": line.weight]
                try await queue.submit("old\(n)", priority: priority, tenant)
            }
            for _ in 0..<line.others { try await visit() }
            var started: [String] = []
            let bound = 2 * mine * (line.others + 2)
            for _ in 0..<bound {
                let got = try await queue.take("w")
                started += got
                for id in got { try await queue.end(id) }
                try await visit()
            }
            #expect(started.filter { $0.hasPrefix("old") } == (0..<mine).map { "old\($0)" })
            #expect(started.count == bound)
        }
    }

    /// Three tenants at any time: two with many pending tasks, and a one-time tenant, another one each time.
    @Test func takeTurnsWithTenantsThatStay() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 2000]) { queue in
            try await queue.register("w")
            try await queue.submit((0..<100).map { ("a\($0)", ["fairness_key": "a"]) })
            try await queue.submit((0..<100).map { ("b\($0)", ["fairness_key": "b"]) })
            var got: [Character: Int] = [:]
            var visitors = 0
            for _ in 0..<150 {
                if visitors == got["v"] ?? 0 {
                    try await queue.submit("v\(visitors)", ["fairness_key": "change-\(visitors)"])
                    visitors += 1
                }
                for id in try await queue.take("w") {
                    got[id.first ?? "?", default: 0] += 1
                    try await queue.end(id)
                }
            }
            // A third each, with a difference of a few starts at the ends.
            for tenant: Character in ["a", "b", "v"] { #expect((45...55).contains(got[tenant] ?? 0), "\(got)") }
            try await queue.purgeAll()
        }
    }

    @Test(arguments: [1, 7, 40])
    func comeFirstAndAreServedFirst(inOneCall: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w")
            // The ids sort in the opposite order of the submissions.
            let tasks = (0..<40).map { ("t\(99 - $0)", ["fairness_key": "change-\($0)"]) }
            for start in stride(from: 0, to: tasks.count, by: inOneCall) {
                try await queue.submit(Array(tasks[start..<min(start + inOneCall, tasks.count)]))
            }
            #expect(try await queue.runAll("w") == tasks.map(\.0))
        }
    }

    @Test(arguments: [100, 400])
    func areForgottenOnceTheirTasksHaveEnded(visitors: Int) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 50)
            for n in 0..<visitors {
                let priority = TaskPriority.allCases[n % 4]
                try await queue.submit("t\(n)", priority: priority, ["fairness_key": "visitor-\(n)"])
                if n % 50 == 49 { _ = try await queue.runAll("w", holding: 50) }
            }
            try await queue.purgeAll()
            for _ in 0..<50 { try await queue.tick(cleanup: true) }
            var known = 0
            for (_, content) in try await queue.snapshot().contents {
                switch content {
                case .hash(let fields): known += fields.keys.filter { $0.contains("visitor-") }.count
                case .sortedSet(let scores): known += scores.keys.filter { $0.contains("visitor-") }.count
                case .set(let members): known += members.filter { $0.contains("visitor-") }.count
                case .list, .string, .stream, .other: break
                }
            }
            // Tenants whose finish tag is still ahead of virtual time may remain.
            #expect(known <= 60, "\(known) tenants of \(visitors) are still known")
        }
    }
}

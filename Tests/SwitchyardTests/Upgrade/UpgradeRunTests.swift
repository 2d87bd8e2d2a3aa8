import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Workers of every class run all tasks of a queue of version 4 to their ends.
@Suite("Upgrade of a queue of version 4, to its end")
struct UpgradeRunTests {
    @Test(arguments: UpgradeTests.dumps) func everyTaskRunsOnceAndInTurn(dump: QueueDump) async throws {
        try await TestQueue.run { queue in
            try await dump.load(into: queue)
            try await queue.tickUntilDone()
            var run = UpgradeRun(queue: queue, dump: dump)
            try await run.begin()
            // The task that is held for longest is due after two hours.
            for step in 1...60 {
                try await run.step(age: step == 40 ? .seconds(7300) : .seconds(30))
                if try await queue.stats().pending == 0, step > 45 { break }
            }
            let snapshot = try await queue.snapshot()
            for id in dump.taskIDs + ["b-mixed-after", "b-done-after"] + (run.hasStaged ? ["b-staged-after"] : []) {
                let expected = run.expectedState(of: id)
                #expect(snapshot.task(id)["state"] == expected, "\(id): \(snapshot.task(id))")
            }
            for batch in ["b-open", "b-mixed", "b-cancel", "b-done"] {
                #expect(snapshot.hash("batch:" + batch)["finished_at"] != nil, "\(batch)")
            }
            for index in ["leases", "pending", "lanes", "held", "waiting"] {
                #expect(snapshot.contents[index] == nil, "\(index)")
            }
            try await queue.purgeAll()
        }
    }
}

/// Runs the tasks with workers of every class, and records violations.
struct UpgradeRun {
    let queue: TestQueue
    let dump: QueueDump
    /// Whether the batch that was staged could be opened.
    private(set) var hasStaged = false
    private var started: Set<String> = []
    private var ended: Set<String> = []

    /// A worker for each class of tasks; those of the dump are registered already.
    private static let newcomers: [(id: String, offers: [String: String])] = [
        ("plain", [:]), ("mac", ["labels": "os=mac", "cpu": "4"]), ("licences", ["resources": "license=1,seats=2"]),
        ("cpu", ["cpu": "2", "memory_mb": "1000"]), ("gpu", ["labels": "gpu,zone=eu", "cpu": "2"]),
    ]

    init(queue: TestQueue, dump: QueueDump) {
        self.queue = queue
        self.dump = dump
        ended = Set(dump.taskIDs.filter { TaskState(rawValue: dump.task($0)["state"] ?? "")?.isTerminal == true })
    }

    /// Opens the staged batch, fires the schedule, resumes the queue, and ends the live attempts.
    mutating func begin() async throws {
        let refused = try await refusal { try await queue.call("open_batch", "batch", "b-staged") }
        hasStaged = refused == nil
        // A paused queue gets no tasks from its schedules.
        try await queue.call("configure", "paused", "0", "retry_delay_ms", "0")
        let due = try await queue.raw("ZSCORE", "{}schedules", "due").string ?? ""
        let next = "\((Int64(due) ?? 0) + 86_400_000)"
        let id = try await queue.call("fire", "schedule", "due", "due", .string(due), "next", .string(next)).string
        #expect(id == "due." + due)
        for (id, offers) in Self.newcomers { try await queue.register(id, slots: 3, offers) }
        for worker in ["w1", "gpu-1", "arm-1", "drains"] {
            for (id, attempt) in dump.attempts(of: worker) where !dump.isDoomed(id) {
                if dump.task(id)["state"] == "assigned" {
                    try await queue.call(
                        "start", "worker", .string(worker), "task", .string(id), "attempt", .integer(Int64(attempt)))
                }
                let reply = try await queue.finish(worker, id, attempt: attempt, "completed")
                #expect(reply.string == "completed", "\(id): \(reply)")
                ended.insert(id)
            }
        }
    }

    /// Ticks, lets each worker pull, ends what they pulled, and lets time pass.
    mutating func step(age: Duration) async throws {
        try await queue.tickUntilDone()
        var pulled: [(worker: String, id: String, attempt: Int)] = []
        for worker in try await queue.raw("ZRANGE", "{}workers", "0", "-1").array?.compactMap(\.string) ?? [] {
            for (id, attempt) in try await queue.pull(worker, max: 50, start: true) {
                pulled.append((worker, id, attempt))
            }
        }
        for (worker, id, attempt) in pulled { check(id, attempt, of: worker) }
        for (key, limit) in [("deploy", 1), ("pair", 2)] {
            let live = pulled.filter { dump.task($0.id)["concurrency_key"] == key }
            #expect(live.count <= limit, "\(live)")
        }
        for (worker, id, attempt) in pulled {
            let reply = try await queue.finish(worker, id, attempt: attempt, "completed")
            #expect(reply.string == "completed", "\(id): \(reply)")
            ended.insert(id)
        }
        try await queue.age(by: age)
        for worker in try await queue.raw("ZRANGE", "{}workers", "0", "-1").array?.compactMap(\.string) ?? [] {
            try await queue.call("heartbeat", "worker", .string(worker))
        }
    }

    private mutating func check(_ id: String, _ attempt: Int, of worker: String) {
        let fields = dump.task(id)
        #expect(started.insert(id).inserted, "\(id) started twice")
        #expect(attempt == (Int(fields["attempt"] ?? "0") ?? 0) + 1, "\(id)")
        #expect(worker != "drains", "\(id)")
        if fields["run_anyway"] == nil {
            for dependency in (fields["depends_on"] ?? "").split(separator: ",") {
                #expect(ended.contains(String(dependency)), "\(id) started before \(dependency) had ended")
            }
        }
    }

    /// The state of a task in the end, if each attempt completes.
    func expectedState(of id: String) -> String? {
        let state = dump.task(id)["state"] ?? "completed"
        if dump.isHidden(id), !hasStaged { return nil }
        if dump.isDoomed(id) || id == "staged-4" { return "cancelled" }
        return TaskState(rawValue: state)?.isTerminal == true ? state : "completed"
    }
}

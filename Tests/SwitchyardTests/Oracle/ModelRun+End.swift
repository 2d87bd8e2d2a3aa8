import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// A whole run, and its end.
extension ModelRun {
    mutating func run(steps: Int) async throws {
        for step in 1...steps {
            try await self.step()
            if step % 40 == 0 { try await compareAll() }
            // Makes room in the queue.
            if step % 60 == 0, !isSimple { try await purgeSome(85) }
            if trace.count > 400 { trace.removeFirst(200) }
        }
        try await compareAll()
    }

    /// Keys that an empty queue may have: its settings and counters, and keys that expire.
    private static let lasting = ["config", "stats", "rate:", "affinity:", "task:"]

    /// Cancels and deletes all tasks, and deregisters the workers. Nothing remains then, and the queue costs what one
    /// costs that never used a feature.
    mutating func empty() async throws {
        try await call("configure", ["paused", "0"])
        for id in model.cordoned.sorted() { try await call("cordon", ["worker", .string(id), "off", "1"]) }
        for id in model.workers.keys.sorted() { try await call("deregister", ["worker", .string(id)]) }
        var left = -1
        for _ in 0..<1000 where left != 0 {
            left = Int(try await call("purge_queue", ["confirm", .string(queue.name), "limit", "100"]).int ?? -1)
        }
        try expect(left == 0, "purge_queue still returns \(left)")
        for _ in 0..<20 { try await call("tick", ["limit", "1000", "cleanup", "1"]) }
        let snapshot = try await queue.snapshot()
        let tasks = snapshot.ids("task:").filter { snapshot.task($0)["state"] != "purged" }
        try expect(tasks.isEmpty, "an emptied queue still has the tasks \(tasks)")
        var kept = snapshot.contents.keys.filter { key in !Self.lasting.contains { key.hasPrefix($0) } }
        // A batch without tasks of its own has no last task whose deletion removes it.
        for key in kept where key.hasPrefix("batch:") {
            if try await queue.raw("PTTL", "{}" + key).int ?? -1 > 0 { kept.removeAll { $0 == key } }
        }
        try expect(kept.isEmpty, "an emptied queue still has the keys \(kept.sorted())")
        let flags = snapshot.hash("config").keys.filter { $0.hasPrefix("has_") || $0 == "is_fair" }
        try expect(flags.isEmpty, "an emptied queue still has the flags \(flags.sorted())")
    }
}

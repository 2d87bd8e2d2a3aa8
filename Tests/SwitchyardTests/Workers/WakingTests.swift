import RedisClient
import SwitchyardTesting
import Testing

@Suite("Waking the worker that can run a task")
struct WakingTests {
    /// Registers a worker that pulls, gets nothing and sleeps.
    private func sleeper(_ id: String, _ queue: TestQueue, slots: Int = 1, _ offers: [String: String]) async throws {
        try await queue.register(id, slots: slots, offers)
        #expect(try await queue.take(id) == [])
    }

    /// Registers workers with two slots that each have a leased task of `cpu` cores, have pulled without success, and
    /// sleep.
    private func holders(
        _ ids: [String], _ queue: TestQueue, _ offers: [String: String], of cpu: String
    ) async throws {
        for id in ids { try await queue.register(id, slots: 2, offers) }
        try await queue.submit(ids.map { ("held-by-" + $0, ["cpu": cpu]) })
        for id in ids { #expect(try await queue.take(id) == ["held-by-" + id]) }
        for id in ids { #expect(try await queue.take(id) == []) }
    }

    private func wakeUps(_ queue: TestQueue, _ workers: [String]) async throws -> [Int64?] {
        var found: [Int64?] = []
        for worker in workers {
            found.append(try await queue.redis.client.send(RedisCommand("LLEN", .string(queue.keys.wake(worker)))).int)
        }
        return found
    }

    @Test(arguments: [64, 70, 200], [1, 3])
    func findsItBehindAnyNumberOfOthers(others: Int, able: Int) async throws {
        try await TestQueue.run { queue in
            let linux = (0..<others).map { "linux\($0)" }
            for worker in linux { try await sleeper(worker, queue, ["labels": "os=linux"]) }
            let macs = (0..<able).map { "mac\($0)" }
            for worker in macs { try await sleeper(worker, queue, ["labels": "os=mac"]) }
            for n in 0..<able {
                let reply = try await queue.call("submit", "task", .string("t\(n)"), "requires", "os=mac")
                #expect(reply[0]?[2]?.string == "woken")
            }
            #expect(try await wakeUps(queue, macs) == macs.map { _ in 1 })
            #expect(try await wakeUps(queue, linux) == linux.map { _ in 0 })
            for worker in macs { #expect(try await queue.take(worker).count == 1) }
        }
    }

    @Test(arguments: [64, 100])
    func aTickFindsItForATaskThatBecomesDue(others: Int) async throws {
        try await TestQueue.run { queue in
            for n in 0..<others { try await sleeper("linux\(n)", queue, ["labels": "os=linux,x86"]) }
            try await sleeper("mac", queue, ["labels": "os=mac,arm"])
            try await queue.submit("t", ["requires": "arm", "delay_ms": "1000"])
            try await queue.age(by: .seconds(2))
            #expect(try await queue.tick().woken == 1)
            #expect(try await wakeUps(queue, ["mac"]) == [1])
            #expect(try await queue.take("mac") == ["t"])
        }
    }

    /// Any of the workers could run the task if it were idle; one is.
    @Test(arguments: [64, 70, 150], ["4", "3.5"])
    func findsTheOneThatHasRoom(others: Int, held: String) async throws {
        try await TestQueue.run { queue in
            let full = (0..<others).map { "full\($0)" }
            try await holders(full, queue, ["cpu": "4"], of: held)
            // This worker got work last, so all others come before it in the order of waking.
            try await queue.register("free", slots: 2, ["cpu": "4"])
            try await queue.submit("earlier", ["cpu": held])
            #expect(try await queue.take("free") == ["earlier"])
            try await queue.end("earlier")
            #expect(try await queue.take("free") == [])
            for n in 0..<2 {
                let reply = try await queue.call("submit", "task", .string("t\(n)"), "cpu", "2")
                #expect(reply[0]?[2]?.string == "woken")
                #expect(try await wakeUps(queue, ["free"]) == [1])
                #expect(try await queue.take("free", max: 2) == ["t\(n)"])
            }
            #expect(try await wakeUps(queue, full) == full.map { _ in 0 })
        }
    }

    @Test(arguments: [70, 90])
    func theEndOfATaskLetsTheTickWakeTheWorkerWithRoom(others: Int) async throws {
        try await TestQueue.run { queue in
            try await holders((0..<others).map { "small\($0)" }, queue, ["cpu": "2", "labels": "any"], of: "1")
            try await queue.register("big", slots: 2, ["cpu": "4", "labels": "any"])
            try await queue.submit([("running", ["cpu": "3"]), ("next", ["cpu": "2", "requires": "any"])])
            #expect(try await queue.take("big", max: 2) == ["running"])
            // The report pulls nothing; the worker is asleep.
            try await queue.end("running")
            try await queue.tick()
            #expect(try await wakeUps(queue, ["big"]) == [1])
            #expect(try await queue.take("big") == ["next"])
        }
    }
}

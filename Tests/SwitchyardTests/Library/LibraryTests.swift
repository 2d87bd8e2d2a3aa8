import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("The function library")
struct LibraryTests {
    @Test func aLibraryThatIsGoneIsRestoredWhileCallersRun() async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis, settings: ["max_queue_length": 10_000])
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<4 {
                    group.addTask {
                        for n in 0..<50 {
                            let task = QueuedTask(BuildRequest(), priority: .normal, id: "t\(caller)-\(n)")
                            _ = try await queue.handle.addTask(task)
                        }
                    }
                }
                group.addTask {
                    for _ in 0..<20 {
                        _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
                        try await Task.sleep(for: .milliseconds(5))
                    }
                }
                try await group.waitForAll()
            }
            try await redis.library.ensureLoaded()
            #expect(try await queue.snapshot().taskIDs.count == 200)
        }
    }

    private func load(_ source: String, _ redis: TestRedis) async throws {
        _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(source)))
    }

    private static func library(version: Int64) -> String {
        """
        #!lua name=switchyard
        redis.register_function{ function_name = 'switchyard_version', flags = { 'no-writes' },
            callback = function() return \(version) end }
        """
    }

    @Test func aNewerLibraryIsLeftAlone() async throws {
        try await TestRedis.run { redis in
            try await load(Self.library(version: FunctionLibrary.version + 1), redis)
            try await redis.library.ensureLoaded()
            #expect(try await redis.library.loadedVersion() == FunctionLibrary.version + 1)
        }
    }

    @Test func aFunctionThatANewerLibraryDoesNotHaveIsAnErrorAndNoEndlessLoop() async throws {
        try await TestRedis.run { redis in
            try await load(Self.library(version: FunctionLibrary.version + 1), redis)
            let handle = try SchedulerHandle(queue: "q", client: redis.client, logger: .silent)
            try await expectError("Internal") { _ = try await handle.getStats() }
            #expect(try await redis.library.loadedVersion() == FunctionLibrary.version + 1)
        }
    }

    @Test func anOlderLibraryIsReplacedAndSoIsAnotherTextOfTheSameVersion() async throws {
        try await TestRedis.run { redis in
            for version in [FunctionLibrary.version - 1, FunctionLibrary.version] {
                try await load(Self.library(version: version), redis)
                try await redis.library.ensureLoaded()
                #expect(try await redis.library.loadedVersion() == FunctionLibrary.version)
                let queue = try await TestQueue(on: redis)
                try await queue.submit("t")
            }
        }
    }

    /// Libraries of somebody else that have the name of ours or of one of our functions.
    struct Stranger: Sendable, CustomTestStringConvertible {
        var library: String
        var functions: [String]
        /// What the functions return, in Lua.
        var value = "1"
        var testDescription: String { "\(library): \(functions.joined(separator: ", "))" }

        var source: String {
            "#!lua name=\(library)\n"
                + functions.map { "redis.register_function('\($0)', function() return \(value) end)\n" }.joined()
        }
    }

    static let strangers = [
        Stranger(library: "switchyard", functions: ["relay_set"]),
        Stranger(library: "switchyard", functions: (0..<30).map { "f\($0)" }),
        Stranger(library: "railway", functions: ["switchyard_pull"]),
        Stranger(library: "switchyard", functions: ["switchyard_version"], value: "'one'"),
    ]

    /// It is said once, and the foreign functions are kept.
    @Test(arguments: strangers)
    func aForeignLibraryIsKeptAndToldAbout(stranger: Stranger) async throws {
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
            try await load(stranger.source, redis)
            let list = RedisCommand("FUNCTION", "LIST", "WITHCODE")
            let before = try await redis.client.send(list)
            func calls() async throws -> Int {
                let stats = try await redis.client.send(RedisCommand("INFO", "commandstats")).string ?? ""
                return stats.firstMatch(of: #/cmdstat_function\|load:calls=(\d+)/#).flatMap { Int($0.1) } ?? 0
            }
            let callsBefore = try await calls()
            for _ in 0..<2 {
                do {
                    try await redis.library.ensureLoaded()
                    Issue.record("the library was loaded")
                } catch let error as SchedulerError {
                    for text in [stranger.library, stranger.functions[0], "FUNCTION DELETE"] {
                        #expect(error.message.contains(text), "\(error.message)")
                    }
                }
            }
            // A replica says so in its health and does not hurry.
            let replica = try TaskScheduler(client: redis.client, logger: TestRedis.quiet)
            let running = Task { try await replica.run() }
            let isKnown = try await eventually(within: .seconds(30)) {
                replica.health.current["default"]?.failure?.contains("FUNCTION DELETE") == true
            }
            #expect(isKnown)
            #expect(replica.health.current["default"]?.isRedisAway == false)
            try await Task.sleep(for: .seconds(1))
            // Two direct calls, the replica's, and a few more on a slow machine: before, thousands.
            #expect(try await calls() - callsBefore < 30)
            #expect(try await redis.client.send(list) == before)
            // Once it is gone, the replica goes on by itself.
            _ = try await redis.client.send(RedisCommand("FUNCTION", "DELETE", .string(stranger.library)))
            #expect(try await eventually(within: .seconds(30)) { replica.health.current["default"]?.lastTick != nil })
            running.cancel()
            _ = await running.result
        }
    }

    @Test func functionsThatOnlyReadSaySoAndThoseThatDrainWorkInAFullRedis() async throws {
        let redis = try await TestRedis.shared
        let reply = try await redis.client.send(RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", "switchyard"))
        let functions = try #require(reply[0]?.pairs["functions"]?.array)
        var flags: [String: Set<String>] = [:]
        for function in functions {
            let name = function.pairs["name"]?.string ?? ""
            flags[String(name.dropFirst("switchyard_".count))] = Set(
                (function.pairs["flags"]?.array ?? []).compactMap(\.string))
        }
        let readers: Set = ["list", "stats", "batch", "workers", "version", "demand", "schedules", "rights"]
        let shed: Set = ["submit", "retry", "log", "open_batch", "fire", "schedule"]
        for (name, found) in flags {
            let expected: Set<String> =
                readers.contains(name) ? ["no-writes"] : shed.contains(name) ? [] : ["allow-oom"]
            #expect(found == expected, "\(name)")
        }
        #expect(flags.count == 35)
    }

    @Test func aFullRedisRefusesNewTasksAndDrainsTheOldOnes() async throws {
        try await TestRedis.run(arguments: ["--maxmemory", "16mb"]) { redis in
            let queue = try await TestQueue(on: redis, settings: ["max_queue_length": 100_000])
            for id in ["ends", "cancelled", "expires"] { try await queue.submit(id, maxRetries: 0) }
            let worker = try await queue.worker("w", slots: 3)
            _ = try await worker.pull(max: 3, holding: 0)
            // Uses a plain Redis command, which a full Redis would refuse.
            try await queue.expireLease(of: "expires")
            let payload = String(repeating: "x", count: 200_000)
            var last = 0
            let filled = try await eventually {
                last += 1
                return try await refusal { try await queue.submit("t\(last)", ["payload": payload]) } == "OOM"
            }
            #expect(filled)
            let before = try await queue.snapshot()
            try await expectError("Internal") {
                var request = BuildRequest()
                request.cwd = payload
                _ = try await queue.handle.addTask(QueuedTask(request, priority: .normal))
            }
            #expect(try await queue.snapshot().changes(since: before) == [])

            _ = try await worker.heartbeat([("ends", 1, nil)])
            #expect(try await queue.finish("w", "ends", attempt: 1, "completed").string == "completed")
            try await queue.handle.cancelTask("cancelled")
            #expect(try await queue.tick().expired == 1)
            // Pending tasks are still pulled, also by workers that register now.
            let second = try await queue.worker("second", slots: 4)
            let pulled = try await second.pull(max: 4, holding: 0).map(\.task.id)
            #expect(pulled == ["t1", "t2", "t3", "t4"])
            let reports = pulled.map { WorkerClient.Report(taskID: $0, attempt: 1, outcome: .completed) }
            let states = try await second.finish(reports, pull: 0, holding: 0).states
            #expect(states == pulled.map { _ in .success(.completed) })
            // Room for one more task, and for the buffers of the connections that carry it.
            for id in ["ends", "cancelled", "expires"] + pulled { try await queue.handle.purgeTask(id) }
            // The buffers of connections that carried the payloads count too, until Redis shrinks them.
            let hasRoom = try await eventually {
                try await refusal { try await queue.submit("room-again", ["payload": payload]) } == nil
            }
            #expect(hasRoom)
            try await queue.snapshot()
        }
    }
}

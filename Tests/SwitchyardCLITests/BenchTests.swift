import Foundation
import RedisClient
import SwitchyardTesting
import Testing

@testable import SwitchyardBench
@testable import SwitchyardCLI

/// A very small benchmark: everything is measured, and nothing is left behind. Its figures mean nothing.
@Suite(.serialized) struct BenchTests {
    private static let small = [
        "bench", "--quick", "--tasks", "200", "--runs", "1", "--concurrency", "8", "--drain-tasks", "300", "--workers",
        "1", "--starts", "10", "--depth", "100", "--depth", "400", "--idle", "1", "-o", "json",
    ]
    private static let deadline: Duration = .seconds(240)

    private static let promised = [
        "redis_us_per_task": ["single", "batch", "batch_100"],
        "floor": ["ping_us", "set_us", "fcall_us", "life_us", "ping_rtt_ms_p50"],
        "submit_per_second": ["one_at_a_time", "single", "batch", "http", "http_batch"],
        "start_latency_ms": ["p50", "p99", "p999"],
        "bytes_per_task": ["pending", "finished"],
        "bytes_per_task_default_redis": ["pending", "finished"],
    ]

    @Test func everythingIsMeasured() async throws {
        let output = try await Tool.start(Self.small).end(within: Self.deadline)
        #expect(output.exitCode == 0, "\(output.stderr)")
        let report = try output.json()
        func expectPositive(_ path: String...) {
            let value = path.reduce(Optional(report)) { $0?[$1] }
            #expect(value?.double ?? 0 > 0, "\(path): \(value?.plainText ?? "missing")")
        }
        for (name, members) in Self.promised {
            for member in members { expectPositive(name, member) }
        }
        for name in ["drain_per_second", "redis_busy", "idle_commands_per_second", "runs", "payload_bytes"] {
            expectPositive(name)
        }
        for depth in ["100", "400"] {
            for call in ["submit", "pull", "cancel", "prioritize", "stats", "list"] {
                expectPositive("depth", depth, "\(call)_us")
            }
        }
        for function in ["submit", "pull", "start", "finish", "pull_start", "finish_pull"] {
            for size in ["single", "batch", "batch_100"] {
                expectPositive("functions", function, size, "redis_us")
                expectPositive("functions", function, size, "commands")
            }
        }
        for option in BenchOption.allCases {
            expectPositive("options", option.rawValue, "single")
            expectPositive("options", option.rawValue, "batch")
        }
        #expect(report["bytes_per_task"]?["pending"]?.double ?? 0 > 200)
        #expect(report["ratios"]?["redis_us_per_task"]?["single"]?["floor"]?.plainText == "fcall_us")
        expectPositive("ratios", "redis_us_per_task", "single", "ratio")
        #expect(report["spread"]?["redis_us_per_task"]?["single"]?.array?.count == 2)
    }

    @Test func eachSituationOfTheBoundsIsMadeAndWatched() async throws {
        let output = try await Tool.start(Self.small + ["--only", "bounds", "--bound-tasks", "2000"])
            .end(within: Self.deadline)
        #expect(output.exitCode == 0, "\(output.stderr)")
        let bounds = try output.json()["bounds"]
        let graphs = ["tree", "fan", "chain"].flatMap { shape in
            ["submitted", "run", "cancelled"].map { "\(shape)_\($0)" }
        }
        for situation in [
            "leases", "lost_workers", "departures", "retention", "batch_submitted", "batch_cancelled",
        ] + graphs {
            #expect(bounds?[situation]?["calls"]?.double ?? 0 > 0, "\(situation)")
            #expect(bounds?[situation]?["seconds"]?.double ?? 0 > 0, "\(situation)")
            for name in ["slowest_ms", "above_5_ms", "other_ms"] {
                #expect(bounds?[situation]?[name]?.double != nil, "\(situation): \(name)")
            }
        }
    }

    @Test func aServerThatWasGivenIsLeftAsItWasFound() async throws {
        let redis = try await TestRedis.start()
        _ = try await redis.client.send(RedisCommand("SET", "mine", "1"))
        _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
        let output = try await Tool.start(
            Self.small + ["--redis", redis.url, "--only", "submit", "depth", "idle"]
        ).end(within: Self.deadline)
        #expect(output.exitCode == 0, "\(output.stderr)")
        #expect(try await redis.client.send(RedisCommand("KEYS", "*")).array?.compactMap(\.string) == ["mine"])
        #expect(try await redis.client.send(RedisCommand("FUNCTION", "LIST")).array?.count == 0)
        await redis.stop()
    }

    @Test func anInterruptedBenchmarkCleansUpToo() async throws {
        let redis = try await TestRedis.start()
        let running = try await Tool.start(
            Self.small + ["--redis", redis.url, "--only", "idle", "--idle", "2"])
        _ = try await Tool.eventually("it watches: \(running.stderr)", within: Self.deadline) { () -> Bool? in
            running.stderr.contains("a replica and a worker") ? true : nil
        }
        running.process.signalGroup(SIGINT)
        let output = try await running.end(within: Self.deadline)
        #expect(output.exitCode == ExitStatus.interrupted.rawValue, "\(output.stderr)")
        #expect(try await redis.client.send(RedisCommand("DBSIZE")).int == 0)
        await redis.stop()
    }

    @Test func anInterruptionOfTheFloorLeavesNoLibrary() async throws {
        let redis = try await TestRedis.start()
        let mine = "#!lua name=mine\nredis.register_function('mine', function() return 1 end)"
        _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
        _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", .string(mine)))
        func libraries() async throws -> [String] {
            let reply = try await redis.client.send(RedisCommand("FUNCTION", "LIST")).array ?? []
            return reply.compactMap { $0.array?[1].string }.sorted()
        }
        // Enough commands for many seconds.
        let running = try await Tool.start([
            "bench", "--quick", "--tasks", "1000000", "--redis", redis.url, "--only", "idle",
        ])
        _ = try await Tool.eventually("it measures the floor: \(running.stderr)", within: Self.deadline) {
            try await libraries().contains("switchyard_bench") ? true : nil
        }
        running.process.signalGroup(SIGINT)
        let output = try await running.end(within: Self.deadline)
        #expect(output.exitCode == ExitStatus.interrupted.rawValue, "\(output.stderr)")
        #expect(try await libraries() == ["mine"])
        #expect(try await redis.client.send(RedisCommand("DBSIZE")).int == 0)
        await redis.stop()
    }
}

@Suite struct BenchTablesTests {
    @Test func theTableShowsWhatPeopleNeed() {
        let report = BenchReport(
            circumstances: [:],
            chapters: [
                .init(
                    title: "floor", figures: [Figure(["floor", "fcall_us"], "FCALL", .microseconds, [1, 2, 9])]),
                .init(
                    title: "life",
                    figures: [
                        Figure(["redis_us", "single"], "life", .microseconds, [30, 50], floor: .call),
                        Figure(["rate"], "rate", .perSecond, [50_000], floor: .call),
                        Figure(["other"], nil, .count, [7], floor: .life),
                    ]),
            ])
        let text = report.tables(colour: false)
        #expect(text.contains("life   40.0 µs  30.0 – 50.0  20.0 × FCALL"))
        #expect(text.contains("rate  50,000/s"))
        #expect(!text.contains("other"))
    }
}

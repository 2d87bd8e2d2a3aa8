import Foundation
import Switchyard
import Testing

@testable import SwitchyardCLI

@Suite(.serialized) struct DoctorTests {
    private func levels(_ findings: [Finding]) -> [String: Finding.Level] {
        Dictionary(findings.map { ($0.subject, $0.level) }, uniquingKeysWith: { first, _ in first })
    }

    private var numbers: QueueChecks.Numbers {
        .init(workers: 1, waiting: 0, unroutable: 0, queueFullErrors: 0, isPaused: false, repaired: 0)
    }

    @Test func aQueueWithoutTroubleIsOk() {
        #expect(QueueChecks.findings(numbers, queue: "q") == [.ok("workers", "1 registered")])
    }

    @Test func whatIsWrongWithAQueueIsTold() {
        var numbers = numbers
        numbers.unroutable = 2
        numbers.queueFullErrors = 3
        numbers.repaired = 1
        #expect(
            levels(QueueChecks.findings(numbers, queue: "q"))
                == ["workers": .ok, "routing": .fail, "queue": .warn, "indexes": .warn])
        numbers.workers = 0
        #expect(levels(QueueChecks.findings(numbers, queue: "q"))["workers"] == .warn)
        numbers.waiting = 1
        #expect(levels(QueueChecks.findings(numbers, queue: "q"))["workers"] == .fail)
    }

    @Test func aRedisThatCouldLoseTasksIsTold() {
        let good = ["maxmemory-policy": "noeviction", "appendonly": "yes", "hash-max-listpack-value": "4096"]
        #expect(ServerReview.configuration(good).allSatisfy { $0.level == .ok && $0.advice == nil })
        let bad = ["maxmemory-policy": "allkeys-lru", "appendonly": "no", "hash-max-listpack-value": "64"]
        let findings = ServerReview.configuration(bad)
        #expect(levels(findings) == ["eviction": .fail, "persistence": .warn, "hashes": .warn])
        #expect(findings.allSatisfy { $0.advice?.contains("CONFIG SET") == true })
    }

    @Test func anOldRedisAReplicaAndAFullDiskFail() {
        #expect(levels(ServerReview.server(["redis_version": "7.0.15"])) == ["redis": .ok])
        #expect(levels(ServerReview.server(["redis_version": "7.2.4", "valkey_version": "8.0.1"])) == ["redis": .ok])
        let bad = [
            "redis_version": "6.2.1", "role": "slave", "aof_last_write_status": "err", "used_memory": "95",
            "maxmemory": "100",
        ]
        #expect(
            levels(ServerReview.server(bad)) == ["redis": .fail, "role": .fail, "disk": .fail, "memory": .warn])
    }

    @Test func aClockThatIsOffIsTold() {
        #expect(RedisChecks.clock(skew: -0.2).level == .ok)
        #expect(RedisChecks.clock(skew: 90).message == "this machine is 1m 30s ahead of Redis")
        #expect(RedisChecks.clock(skew: -2).message == "this machine is 2s behind Redis")
    }

    @Test func itLooksAtAServerAndItsRedis() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"])
        _ = try await Tool.eventually("the worker is registered") { try await dev.workers()["dev-1"] }
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        let both = try await Tool.run(["doctor", "--server", dev.url, "--redis", "unix://\(socket)", "-o", "json"])
        #expect(both.exitCode == 0, "\(both.stdout)\(both.stderr)")
        let findings = try #require(try both.json()["findings"]?.array)
        let subjects = findings.compactMap { $0["subject"]?.plainText }
        #expect(
            Set(subjects).isSuperset(of: ["server", "redis", "eviction", "persistence", "clock", "library", "workers"]))
        #expect(subjects.count == Set(subjects).count)

        let table = try await dev.run(["doctor"])
        #expect(table.exitCode == 0)
        #expect(table.stdout.contains("ok    server"))
    }

    @Test func whatIsAwayFailsAndTheAdviceSaysWhatToDo() async throws {
        let server = try await Tool.run(["doctor"], server: "http://127.0.0.1:1")
        #expect(server.exitCode == 1)
        #expect(server.stdout.contains("fail  server") && server.stdout.contains("→ start one"))
        let redis = try await Tool.run(["doctor", "--redis", "redis://127.0.0.1:1"])
        #expect(redis.exitCode == 1)
        #expect(redis.stdout.contains("fail  redis"), "\(redis.stdout)\(redis.stderr)")
    }
}

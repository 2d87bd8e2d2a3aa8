import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The files of `Functions/fast` change only the cost of a call: the same calls, at the same times, on a library with
/// them and on one without them return the same replies and leave the same keys. `SWITCHYARD_TEST_SEED` repeats a run.
@Suite("Fast paths")
struct FastPathTests {
    private static let marker = "local FAST = true\n"
    private static let queue = "fast"

    /// Prepares a server whose library has the fast paths or not, and reads the time from a key.
    private func load(_ redis: TestRedis, isFast: Bool) async throws -> RedisClient {
        _ = try await redis.client.send(VirtualTime.set(to: 0))
        let text = try VirtualTime.library()
        #expect(text.components(separatedBy: Self.marker).count == 2)
        let source = isFast ? text : text.replacing(Self.marker, with: "local FAST = false\n")
        _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(source)))
        return redis.client
    }

    @Test func changeNothingButTheCost() async throws {
        let given = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_SEED"].flatMap(UInt64.init)
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        try await TestRedis.run { first in
            try await TestRedis.run { second in
                let clients = [try await load(first, isFast: true), try await load(second, isFast: false)]
                var calls = RandomPlainCalls(generator: SeededGenerator(seed: seed))
                let keys = Keys(queue: Self.queue)
                for step in 1...TestLength.of(1500, long: 3000) {
                    let call = calls.next()
                    var replies: [String] = []
                    for client in clients {
                        _ = try await client.send(VirtualTime.set(to: step * 1357))
                        let reply = try await client.sendForReply(call, keys)
                        // An error among the replies contains the address of its server.
                        replies.append("\(reply)".replacing(/Redis at \S+/, with: "Redis"))
                    }
                    #expect(replies[0] == replies[1], "seed \(seed), step \(step): \(call)")
                    if replies[0] != replies[1] { return }
                    guard step % 50 == 0 else { continue }
                    let snapshots = try await [
                        Snapshot(reading: keys, client: clients[0]), Snapshot(reading: keys, client: clients[1]),
                    ]
                    let differences = snapshots[0].changes(
                        since: snapshots[1], ignoring: ["config run", "config effective"])
                    #expect(differences == [], "seed \(seed), step \(step)")
                    if !differences.isEmpty { return }
                }
            }
        }
    }
}

/// Random calls of which most take a fast path, and some must not.
private struct RandomPlainCalls {
    var generator: SeededGenerator
    private var nextID = 0
    private var isSetUp = 0

    init(generator: SeededGenerator) { self.generator = generator }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }
    private mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: 0..<values.count, using: &generator)]
    }
    private mutating func someID() -> String { "t\(Int.random(in: 0...max(nextID, 1), using: &generator))" }
    private mutating func worker() -> String { pick(["w0", "w1", "w2"]) }

    /// The name of a function or command, with its arguments.
    mutating func next() -> [String] {
        if isSetUp < 3 {
            isSetUp += 1
            let labels = isSetUp == 3 ? ["labels", "os=linux", "only", pick(["", "os"])] : []
            return ["register", "worker", "w\(isSetUp - 1)", "slots", "\(isSetUp)"] + labels
        }
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<42: return submission()
        case 42..<80: return report()
        case 80..<88: return ["pull", "worker", worker(), "max", pick(["1", "2"]), "start", pick(["0", "1", "1"])]
        case 88..<90: return ["cancel", "task", someID()]
        case 90..<92: return ["configure", "paused", pick(["0", "0", "1"])]
        case 92..<94: return ["DEL", "{}task:" + someID()]
        case 94..<95: return ["drain", "worker", worker()]
        case 95..<96: return ["register", "worker", worker(), "slots", pick(["1", "2", "3"])]
        default: return ["tick", "cleanup", pick(["0", "1"])]
        }
    }

    private mutating func submission() -> [String] {
        var call = ["submit"]
        for _ in 0..<pick([1, 1, 1, 1, 2]) {
            if chance(92) { nextID += 1 }
            call += ["task", "t\(nextID)"]
            if chance(50) { call += ["priority", pick(["critical", "high", "normal", "low", "none"])] }
            if chance(50) { call += ["payload", String(repeating: "x", count: pick([1, 64, 65, 300, 600]))] }
            if chance(30) { call += ["request", pick(["t\(nextID)", "token"])] }
            if chance(20) { call += ["timeout_ms", pick(["60000", "1", "0", "x"])] }
            if chance(10) { call += ["max_retries", pick(["0", "101"])] }
            if chance(4) {
                call += [pick(["requires", "unique_key", "delay_ms", "depends_on", "unknown"]), pick(["1", "t1"])]
            }
        }
        return call
    }

    private mutating func report() -> [String] {
        var call = ["finish", "worker", worker()]
        call += ["pull", pick(["1", "1", "1", "0", "2"]), "start", pick(["1", "1", "0"])]
        if chance(30) { call += ["holding", pick(["0", "1", "2"])] }
        let attempt = pick(["1", "1", "1", "2"])
        let outcome = pick(["completed", "completed", "completed", "failed"])
        call += ["task", someID(), "attempt", attempt, "outcome", outcome]
        if chance(50) { call += ["exit_code", pick(["0", "1", "-9", "255", "99999", "x"])] }
        if chance(50) { call += ["result", String(repeating: "r", count: pick([0, 100, 2000]))] }
        return call
    }
}

extension RedisClient {
    /// Sends one of ``RandomPlainCalls``. An error counts as a reply.
    fileprivate func sendForReply(_ call: [String], _ keys: Keys) async throws -> String {
        let arguments = call.dropFirst().map { RedisArgument.string($0.replacing("{}", with: keys.prefix)) }
        do {
            if call[0] == "DEL" { return "\(try await send(RedisCommand("DEL", arguments)))" }
            let head: [RedisArgument] = [
                .string("switchyard_" + call[0]), 2, .string(keys.prefix), .string(keys.config),
            ]
            return "\(try await send(RedisCommand("FCALL", head + arguments)))"
        } catch let error as RedisError {
            return error.message
        }
    }
}

import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// Something else writes any value into any field, or any member or score into any index. No call fails for that: what
/// is unreadable counts as absent, the other tasks go on, and ticks, reads and the reconciler never stop.
///
/// A run tries some of the damages, chosen by `SWITCHYARD_TEST_SEED`; with `SWITCHYARD_TEST_INPUTS=1000000` all of
/// them.
@Suite("Damaged values")
struct DamagedValueTests {
    private static let scenes: [WrongTypeScene] = [.idle, .ready, .working, .expired, .ended, .underWay]

    @Test(arguments: scenes)
    func neverStopTheQueue(scene: WrongTypeScene) async throws {
        try await TestRedis.run { redis in
            let queue = try await TestQueue(on: redis)
            let calls = try await scene.prepare(queue)
            let bench = DamageBench(queue: queue)
            try await bench.save()
            var input = FuzzInput(seed: Fuzz.firstSeed)
            var damages = try await bench.damages()
            input.shuffle(&damages)
            var found: [String] = []
            for damage in damages.prefix(max(10, Fuzz.inputs / 300)) {
                try await bench.restore()
                try await bench.apply(damage)
                let some = (0..<3).map { _ in input.pick(calls) }
                found += try await bench.failures(after: damage, some)
            }
            let shown = found.prefix(20).joined(separator: "\n")
            #expect(found.isEmpty, "SWITCHYARD_TEST_SEED=\(Fuzz.firstSeed): \(found.count) failures:\n\(shown)")
        }
    }

    /// A task whose state is damaged gets the state whose index contains it.
    @Test(arguments: ["", "x", "9223372036854775807", "nan", "none", "Pending", "a\nb"])
    func aDamagedStateIsTakenFromTheIndexes(value: String) async throws {
        // The pending task is the last one, because the others are pulled.
        let states: [Situation] = [.completed, .failed, .cancelled, .timeout, .running, .assigned, .pending]
        try await TestQueue.run { queue in
            for state in states { try await queue.put(state.rawValue, in: state) }
            for state in states { try await queue.raw("HSET", "{}task:" + state.rawValue, "state", value) }
            _ = try await queue.reconcileAll()
            for state in states {
                #expect(try await queue.raw("HGET", "{}task:" + state.rawValue, "state").string == state.rawValue)
            }
            #expect(try await queue.stats().repaired >= states.count)
        }
    }

    @Test func aTaskInNoStateAndNoIndexIsCancelledWithTheReason() async throws {
        try await TestQueue.run { queue in
            try await queue.submit("t")
            try await queue.submit("after", ["depends_on": "t"])
            try await queue.raw("HSET", "{}task:t", "state", "odd")
            try await queue.raw("ZREM", "{}pending", "t")
            let task = try await queue.handle.getTask("t")
            #expect(task.state == .cancelled)
            #expect(task.failure?.code == "Damaged")
            #expect(task.failure?.message.contains("found \"odd\"") == true)
            _ = try await eventually { try await queue.tick().more == false }
            #expect(try await queue.handle.getTask("after").state == .cancelled)
        }
    }

    /// The numbers of attempts only grow, so the report of an earlier attempt is refused.
    @Test(arguments: ["x", "", "-1", "nan", "99999999999999999999", "1.5"])
    func aDamagedAttemptIsFollowedByAHigherOne(value: String) async throws {
        let queue = try await TestQueue(settings: ["retry_delay_ms": 0])
        try await queue.register("w")
        try await queue.submit("t")
        _ = try await queue.pull("w", start: true)
        #expect(try await queue.finish("w", "t", attempt: 1, "failed").string == "pending")
        try await queue.raw("HSET", "{}task:t", "attempt", value)
        let again = try await queue.pull("w", start: true)
        #expect((again.first?.attempt ?? 0) > 1)
        #expect(try await queue.finish("w", "t", attempt: 1, "completed").error?.code == "LEASELOST")
        let attempt = try #require(again.first?.attempt)
        #expect(try await queue.finish("w", "t", attempt: attempt, "completed").string == "completed")
        // The attempts between have no records, so the queue's snapshot would not be consistent.
    }

    /// A worker asks again for what it holds, and gets the rest.
    @Test(arguments: ["x", "", ":", "999999999999999999999999:0", "nan:inf", "1", "-1:-1"])
    func aDamagedLeaseIsNotSentAgain(value: String) async throws {
        let queue = try await TestQueue()
        let worker = try await queue.worker("w", slots: 5)
        for id in ["a", "b", "c"] { try await queue.submit(id) }
        #expect(try await worker.pull(max: 3, holding: 0).map(\.id) == ["a", "b", "c"])
        try await queue.raw("HSET", "{}attempts:w", "b", value)
        #expect(try await Set(worker.pull(max: 1, holding: 0).map(\.id)) == ["a", "c"])
        _ = try await queue.reconcileAll()
        #expect(try await queue.raw("HGET", "{}attempts:w", "b").string != value)
    }

    /// A batch whose counts are damaged still ends.
    @Test(arguments: TaskState.allCases, ["x", "9223372036854775807", "1e3"])
    func aDamagedCountOfABatchIsComputedFromTheOthers(state: TaskState, value: String) async throws {
        guard state != .failed, state != .timeout else { return }
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 3)
            try await queue.call("submit", "batch", "b", "task", "1", "task", "2", "task", "3")
            _ = try await queue.runOne("w")
            try await queue.raw("HSET", "{}batch:b", state.rawValue, value)
            for _ in 0..<2 { _ = try await queue.runOne("w") }
            let batch = try await queue.handle.getBatch("b")
            // A count that no task enters or leaves any more stays as it is.
            if [.pending, .running, .completed].contains(state) {
                #expect(batch.finishedAt != nil && batch.count(.completed) == 3)
            }
            try await queue.raw("HDEL", "{}batch:b", "assigned", "cancelled")
        }
    }
}

extension TestQueue {
    fileprivate func runOne(_ worker: String) async throws {
        for task in try await pull(worker, start: true) {
            try await finish(worker, task.id, attempt: task.attempt, "completed")
        }
    }
}

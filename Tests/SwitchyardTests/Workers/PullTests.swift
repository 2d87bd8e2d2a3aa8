import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Pulling")
struct PullTests {
    @Test func aRepeatedPullSendsTheUnstartedAssignmentsAgain() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 2)
            for n in 0..<4 { try await queue.submit("t\(n)") }
            #expect(try await queue.pull("w", max: 2).map(\.id) == ["t0", "t1"])
            for _ in 0..<3 {
                #expect(try await Set(queue.pull("w", max: 2).map(\.id)) == ["t0", "t1"])
            }
            try await queue.call("start", "worker", "w", "task", "t0", "attempt", "1")
            #expect(try await queue.pull("w", max: 2).map(\.id) == ["t1"])
            try await queue.call("start", "worker", "w", "task", "t1", "attempt", "1")
            #expect(try await queue.pull("w", max: 2).map(\.id) == [])
            #expect(try await queue.snapshot().sortedSet("pending").count == 2)
        }
    }

    @Test func aPullWithFreeSlotsSendsTheUnstartedAgainAndFillsTheRest() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 3)
            for n in 0..<4 { try await queue.submit("t\(n)") }
            #expect(try await queue.pull("w").map(\.id) == ["t0"])
            #expect(try await queue.pull("w", max: 5).map(\.id) == ["t0", "t1", "t2"])
        }
    }

    @Test func startedTasksOfALostReplyAreSentAgainToTheWorkerThatDoesNotKnowThem() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 3)
            for n in 0..<4 { try await queue.submit("t\(n)") }
            let first = try await worker.pull(max: 2, holding: 0)
            // The reply is lost: the worker believes that it has no attempts.
            let second = try await worker.pull(max: 2, holding: 0)
            #expect(Set(second.map(\.task.id)) == ["t0", "t1", "t2"])
            #expect(Set(first.map(\.attempt) + second.map(\.attempt)) == [1])
            // Once the worker knows of all of them, none is sent again.
            #expect(try await worker.pull(max: 2, holding: 3) == [])
            try await queue.snapshot()
        }
    }

    @Test func aReportWhoseReplyWasLostGivesItsPullAgain() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w", slots: 1)
            for n in 0..<3 { try await queue.submit("t\(n)") }
            _ = try await worker.pull(max: 1, holding: 0)
            let report = WorkerClient.Report(taskID: "t0", attempt: 1, outcome: .completed)
            let first = try await worker.finish([report], pull: 1, holding: 0)
            let again = try await worker.finish([report], pull: 1, holding: 0)
            #expect(first.states == again.states)
            #expect(first.assignments.map(\.task.id) == ["t1"])
            #expect(again.assignments.map(\.task.id) == ["t1"])
            #expect(again.assignments.map(\.attempt) == [1])
        }
    }

    @Test func repeatingAStartChangesNothing() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .assigned)
            let arguments: [RedisArgument] = ["worker", .string(TestQueue.holder), "task", "t", "attempt", "1"]
            let first = try await queue.call("start", arguments)
            let before = try await queue.snapshot()
            #expect(try await queue.call("start", arguments) == first)
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }

    @Test func twoWorkersShareAHundredTasksEvenly() async throws {
        try await TestQueue.run { queue in
            let workers = ["w1", "w2"]
            for id in workers {
                _ = try await queue.worker(id)
                try await queue.pull(id)
            }
            var shares: [String: Int] = [:]
            for n in 0..<100 {
                try await queue.submit("t\(n)")
                for id in workers {
                    guard try await queue.raw("LPOP", "{}wake:" + id).string != nil else { continue }
                    for task in try await queue.pull(id, start: true) {
                        shares[id, default: 0] += 1
                        try await queue.finish(id, task.id, attempt: task.attempt, "completed")
                    }
                    #expect(try await queue.pull(id).isEmpty)
                }
            }
            #expect(shares.values.reduce(0, +) == 100)
            for id in workers { #expect((49...51).contains(shares[id] ?? 0), "\(shares)") }
        }
    }

    @Test func aSubmissionWakesTheWorkerThatHasWaitedLongest() async throws {
        try await TestQueue.run { queue in
            for id in ["w1", "w2", "w3"] {
                _ = try await queue.worker(id)
                try await queue.submit("first-" + id)
                try await queue.pull(id, start: true)
            }
            for id in ["w3", "w1", "w2"] {
                try await queue.finish(id, "first-" + id, attempt: 1, "completed")
                try await queue.pull(id)
            }
            for (n, expected) in ["w1", "w2", "w3"].enumerated() {
                let added = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .normal, id: "t\(n)"))
                #expect(added.wokeWorker)
                let snapshot = try await queue.snapshot()
                #expect(snapshot.listCount("wake:" + expected) == 1)
                #expect(snapshot.ids("wake:").count == n + 1)
            }
            let more = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .normal, id: "more"))
            #expect(more.wokeWorker == false)
        }
    }

    @Test func theWakeUpReachesAWorkerThatSleeps() async throws {
        try await TestQueue.run { queue in
            let worker = try await queue.worker("w")
            #expect(try await worker.pull(max: 1, holding: 0) == [])
            async let woken: Bool = worker.waitForWakeUp(timeout: .seconds(20))
            let asleep = ContinuousClock.now
            try await queue.submit("t")
            #expect(try await woken)
            #expect(ContinuousClock.now - asleep < .seconds(10))
            #expect(try await worker.pull(max: 1, holding: 0).map(\.task.id) == ["t"])
        }
    }

    @Test func aTickWakesAnotherWorkerWhileWorkStillWaits() async throws {
        try await TestQueue.run { queue in
            for id in ["w1", "w2"] {
                _ = try await queue.worker(id)
                try await queue.pull(id)
            }
            try await queue.submit("t")
            #expect(try await queue.snapshot().sortedSet("idle").count == 1)
            // The worker that was woken never pulls.
            #expect(try await queue.tick().woken == 1)
            let snapshot = try await queue.snapshot()
            #expect(snapshot.listCount("wake:w1") == 1)
            #expect(snapshot.listCount("wake:w2") == 1)
            #expect(try await queue.tick().woken == 0)
        }
    }

    @Test func aWorkerNeverHoldsMoreThanItsSlots() async throws {
        try await TestQueue.run { queue in
            _ = try await queue.worker("w", slots: 3)
            for n in 0..<10 { try await queue.submit("t\(n)") }
            #expect(try await queue.pull("w", max: 100).count == 3)
            #expect(try await queue.pull("w", max: 100, start: true).count == 3)
            #expect(try await queue.pull("w", max: 100, start: true, holding: 3).count == 3)
            #expect(try await queue.snapshot().hash("attempts:w").filter { !$0.key.hasPrefix("@") }.count == 3)
        }
    }
}

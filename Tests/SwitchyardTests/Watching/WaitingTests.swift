import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Waiting for tasks")
struct WaitingTests {
    /// How often Redis has carried out a command.
    private func calls(_ command: String, _ queue: TestQueue) async throws -> Int {
        let text = try await queue.redis.client.send(RedisCommand("INFO", "commandstats")).string ?? ""
        return try text.firstMatch(of: Regex<(Substring, Substring)>("cmdstat_\(command):calls=([0-9]+)"))
            .flatMap { Int($0.1) } ?? 0
    }

    @Test(arguments: [1, 20]) func allWhoWaitForATaskShareOneLook(tasks: Int) async throws {
        try await TestQueue.run { queue in
            let ids = (0..<tasks).map { "t\($0)" }
            for id in ids { try await queue.submit(id) }
            let handle = queue.handle
            try await withThrowingTaskGroup(of: TaskState.self) { group in
                for index in 0..<200 {
                    group.addTask {
                        try await handle.waitForTask(
                            ids[index % tasks], timeout: .seconds(30), until: \.state.isTerminal
                        )
                        .state
                    }
                }
                // Each waiter has read its task once, and the feed perhaps all of them when it subscribed.
                try await Task.sleep(for: .seconds(1))
                let before = try await calls("hgetall", queue)
                for id in ids { try await queue.call("cancel", "task", .string(id)) }
                for try await state in group { #expect(state == .cancelled) }
                #expect(try await calls("hgetall", queue) - before <= 10 + 4 * tasks)
            }
        }
    }

    @Test func progressAndDeletionAreSeen() async throws {
        try await TestQueue.run { queue in
            try await queue.put("t", in: .running)
            async let changed = queue.handle.waitForChange(of: "t", timeout: .seconds(30)) {
                $0.progress != $1.progress
            }
            try await Task.sleep(for: .milliseconds(300))
            try await queue.call(
                "heartbeat", "worker", .string(TestQueue.holder), "task", "t", "attempt", "1", "progress", "half")
            #expect(try await changed.progress == ByteBuffer(string: "half"))

            let deleted = Task { try await queue.handle.waitForTask("t", timeout: .seconds(30)) { _ in false } }
            try await Task.sleep(for: .milliseconds(300))
            try await queue.finish(TestQueue.holder, "t", attempt: 1, "completed")
            try await queue.handle.purgeTask("t")
            await #expect(throws: SchedulerError.self) { try await deleted.value }
        }
    }

    /// The waits come, end and come again: each time the feed begins anew.
    @Test func waitsOneAfterTheOtherAreServed() async throws {
        try await TestQueue.run { queue in
            for round in 0..<5 {
                let id = "t\(round)"
                try await queue.submit(id)
                async let first = queue.handle.waitForTask(id, timeout: .seconds(30)) { $0.state == .cancelled }
                async let second = queue.handle.waitForTask(id, timeout: .milliseconds(50)) { _ in false }
                #expect(try await second.state == .pending)
                try await queue.call("cancel", "task", .string(id))
                #expect(try await first.state == .cancelled)
            }
        }
    }
}

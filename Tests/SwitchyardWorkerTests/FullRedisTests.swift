import Foundation
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// Workers on a Redis that has no memory left.
@Suite(.serialized) struct FullRedisTests {
    /// Runs `body` on a server of its own, which is full from the moment at which `body` says so.
    private func run(_ body: (TestQueue, _ setFull: (Bool) async throws -> Void) async throws -> Void) async throws {
        try await TestRedis.run { redis in
            try await TestQueue.run(on: redis) { queue in
                try await body(queue) { isFull in
                    try await queue.raw("CONFIG", "SET", "maxmemory", isFull ? "1" : "0")
                }
            }
        }
    }

    /// Their output is lost, but they do not wait for room.
    @Test(arguments: [1, 3]) func tasksThatPrintEndWhileThereIsNoRoom(slots: Int) async throws {
        try await run { queue, setFull in
            var ids: [String] = []
            for script in ["echo x", "seq 1 20000", "echo x; exit 3", "exec >&-; sleep 0.1", "echo x >&2", "true"] {
                ids.append(try await queue.submit(command: ["sh", "-c", script]))
            }
            try await setFull(true)
            try await queue.withWorker(slots: slots) { _ in
                for (index, id) in ids.enumerated() {
                    #expect(try await queue.ended(id).state == (index == 2 ? .failed : .completed))
                }
                try await setFull(false)
                let after = try await queue.submit(command: ["echo", "after"])
                #expect(try await queue.ended(after).state == .completed)
                #expect(try await queue.logText(after) == "after\n")
            }
            #expect(try await queue.handle.getStats().lost == 0)
        }
    }

    /// What a task prints while there is no room is written when there is room again.
    @Test func theOutputOfATaskThatRunsWaitsForRoom() async throws {
        try await run { queue, setFull in
            let file = FileManager.default.temporaryDirectory.appending(path: "room-\(queue.name)").path
            // In the directory of temporary files nothing depends on it.
            defer { try? FileManager.default.removeItem(atPath: file) }
            let script = "echo early; while [ ! -e \(file) ]; do sleep 0.02; done; echo late"
            let id = try await queue.submit(command: ["sh", "-c", script])
            try await setFull(true)
            try await queue.withWorker { _ in
                #expect(try await queue.running(id).state == .running)
                try await setFull(false)
                #expect(try await eventually(within: .seconds(30)) { try await queue.logText(id) == "early\n" })
                #expect(FileManager.default.createFile(atPath: file, contents: nil))
                #expect(try await queue.ended(id).state == .completed)
                #expect(try await queue.logText(id) == "early\nlate\n")
            }
        }
    }
}

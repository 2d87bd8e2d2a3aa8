import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// The log keeps the beginning and the end of a long output, and says how much is missing between them.
@Suite struct LogCapTests {
    private static let head = 256 * 1024
    private static let tail = 3840 * 1024

    private func running(_ queue: TestQueue, settings: [String: Int] = [:]) async throws -> WorkerClient {
        let worker = try await queue.worker("w")
        try await queue.submit("t")
        _ = try await worker.pull(max: 1, holding: 0)
        return worker
    }

    /// Appends `count` bytes in pieces of `size`, `together` of them in a call. Each piece begins with its offset.
    private func write(
        _ count: Int, size: Int, together: Int, from start: Int = 0, _ worker: WorkerClient
    ) async throws {
        var pieces: [(stream: String, data: ByteBuffer)] = []
        for offset in stride(from: start, to: start + count, by: size) {
            let text = "\(offset) "
            pieces.append(("stdout", ByteBuffer(string: text + String(repeating: ".", count: size - text.count))))
            if pieces.count == together {
                try await worker.log(taskID: "t", attempt: 1, pieces)
                pieces = []
            }
        }
        if !pieces.isEmpty { try await worker.log(taskID: "t", attempt: 1, pieces) }
    }

    private func all(_ queue: TestQueue, page: Int) async throws -> [LogEntry] {
        var entries: [LogEntry] = []
        while true {
            let next = try await queue.handle.readLog("t", after: entries.last?.id ?? "0", limit: page)
            entries += next
            if next.count < page { return entries }
        }
    }

    /// Checks that the entries are the beginning and the end of `total` bytes, and that the gap is told once.
    private func expectBothEnds(_ entries: [LogEntry], total: Int, head: Range<Int>, tail: Range<Int>) {
        let gaps = entries.indices.filter { entries[$0].missingBytes > 0 }
        #expect(gaps.count == 1)
        guard let gap = gaps.first else { return }
        let kept = entries.reduce(0) { $0 + $1.data.readableBytes }
        #expect(kept + entries[gap].missingBytes == total)
        let before = entries[..<gap].reduce(0) { $0 + $1.data.readableBytes }
        #expect(head.contains(before), "\(before)")
        #expect(tail.contains(kept - before), "\(kept - before)")
        #expect(entries.first.map { String(buffer: $0.data).hasPrefix("0 ") } == true)
        #expect(String(buffer: entries[gap].data).hasPrefix("\(before + entries[gap].missingBytes) "))
        #expect(entries[gap].mark?.contains("\(entries[gap].missingBytes) bytes") == true)
    }

    @Test(arguments: [(8192, 16, 1000), (65536, 4, 1000), (1000, 100, 10_000), (700, 1, 3)])
    func bytesDecideWhichOutputIsKept(size: Int, together: Int, page: Int) async throws {
        try await TestQueue.run { queue in
            let worker = try await running(queue)
            // A piece for each call takes long, and shows the same with a head only.
            let total = together == 1 ? 400 * size : (6 << 20) / size * size
            try await write(total, size: size, together: together, worker)
            let entries = try await all(queue, page: page)
            if together == 1 { return #expect(entries.allSatisfy { $0.missingBytes == 0 }) }
            expectBothEnds(
                entries, total: total, head: Self.head - size..<Self.head + 1,
                tail: Self.tail..<Self.tail + size + 1)
        }
    }

    @Test func fiveThousandLinesAreAllKept() async throws {
        try await TestQueue.run { queue in
            let worker = try await running(queue)
            try await write(5000 * 8, size: 8, together: 250, worker)
            let entries = try await all(queue, page: 999)
            #expect(entries.count == 5000)
            #expect(entries.allSatisfy { $0.missingBytes == 0 })
        }
    }

    @Test(arguments: [1, 2, 16, 40, 1000])
    func theSettingBoundsTheEntries(most: Int) async throws {
        try await TestQueue.run(settings: ["log_max_entries": most]) { queue in
            let worker = try await running(queue)
            for start in stride(from: 0, to: 1600 * 10, by: 4000) {
                try await write(4000, size: 10, together: 7, from: start, worker)
                let entries = try await all(queue, page: 1000)
                #expect(entries.count == min(most, (start + 4000) / 10))
                #expect(String(buffer: try #require(entries.last).data).hasPrefix("\(start + 3990) "))
                if most >= 16, entries.count == most { #expect(entries[0].data == ByteBuffer(string: "0 ........")) }
                let told = entries.reduce(0) { $0 + $1.missingBytes + $1.data.readableBytes }
                #expect(told == start + 4000)
            }
        }
    }

    @Test func aSmallEndAfterLargePiecesAndTheReverseStayBounded() async throws {
        try await TestQueue.run { queue in
            let worker = try await running(queue)
            try await write(3 << 20, size: 1024, together: 100, worker)
            try await write(3 << 20, size: 65536, together: 3, from: 3 << 20, worker)
            try await write(20_000, size: 20, together: 100, from: 6 << 20, worker)
            let entries = try await all(queue, page: 1000)
            let kept = entries.reduce(0) { $0 + $1.data.readableBytes }
            #expect(kept <= Self.head + Self.tail + 65536)
            #expect(kept + entries.reduce(0) { $0 + $1.missingBytes } == 6 << 20 + 20_000)
        }
    }

    @Test func outputThatTheWorkerLostIsTold() async throws {
        try await TestQueue.run { queue in
            let worker = try await running(queue)
            let piece = [(stream: "stderr", data: ByteBuffer(string: "x"))]
            try await worker.log(taskID: "t", attempt: 1, missingBytes: 7, piece)
            try await worker.log(taskID: "t", attempt: 1, piece + piece)
            try await worker.log(taskID: "t", attempt: 1, missingBytes: 1_000_000, piece)
            let entries = try await queue.handle.readLog("t")
            #expect(entries.map(\.missingBytes) == [7, 0, 0, 1_000_000])
            let followed = try await queue.handle.followLog("t", after: entries[2].id, timeout: .seconds(5))
            #expect(followed.map(\.missingBytes) == [1_000_000])
            #expect(try await queue.handle.followLog("t", after: "0", timeout: .seconds(5)) == entries)
        }
    }

    @Test func emptyAndBadArgumentsChangeNothing() async throws {
        try await TestQueue.run { queue in
            _ = try await running(queue)
            let before = try await queue.snapshot()
            let mine: [RedisArgument] = ["worker", "w", "task", "t", "attempt", "1"]
            #expect(try await queue.call("log", mine + ["stdout", ""]).int == 0)
            for bad in ["-1", "x", "3600001"] {
                try await expectRefusal("BADREQUEST") {
                    try await queue.call("log", ["grace_ms", .string(bad)] + mine + ["stdout", "x"])
                }
            }
            try await expectRefusal("BADREQUEST") {
                try await queue.call("log", ["missing_bytes", "1e3"] + mine + ["stdout", "x"])
            }
            #expect(try await queue.snapshot().changes(since: before) == [])
        }
    }
}

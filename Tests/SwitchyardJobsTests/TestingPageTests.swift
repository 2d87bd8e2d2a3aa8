import Foundation
import SwitchyardJobs
import SwitchyardTesting
import Testing

/// The example of `Switchyard.docc/Testing.md`.
@Suite("A user's test")
struct TestingPageTests {
    @Test func aSceneIsRendered() async throws {
        try await TestQueue.run { test in
            let queue = try await JobQueue(test.name, redis: test.redis.url)
            let id = try await queue.submit(Render(scene: "a"))

            var worker = JobWorker(queue, slots: 1)
            worker.on(Render.self) { job, _ in Image(width: 640, pixels: Data(job.scene.utf8)) }
            let running = Task { [worker] in try await worker.run() }
            let image = try await queue.result(of: id)
            #expect(image == Image(width: 640, pixels: Data("a".utf8)))
            running.cancel()
            try await running.value
        }
    }

    /// The page shows this very test, up to the indentation.
    @Test func isTheTestOfThePage() throws {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
        let page = try String(
            contentsOf: folder.appending(path: "../../Sources/Switchyard/Switchyard.docc/Testing.md").standardized,
            encoding: .utf8)
        let test = try String(contentsOf: URL(filePath: #filePath), encoding: .utf8)
        let start = try #require(test.range(of: "    @Test func aSceneIsRendered"))
        let end = try #require(test.range(of: "\n    }\n", range: start.upperBound..<test.endIndex))
        let lines = test[start.lowerBound..<end.upperBound].split(separator: "\n", omittingEmptySubsequences: false)
        let shown = lines.map { $0.hasPrefix("    ") ? $0.dropFirst(4) : $0 }.joined(separator: "\n")
        #expect(page.contains(shown.trimmingCharacters(in: .newlines)))
    }
}

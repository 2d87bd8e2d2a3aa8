import Foundation
import NIOCore
import Switchyard
import SwitchyardJobs
import SwitchyardTesting
import Synchronization
import Testing

@Suite("A job that fails")
struct JobFailureTests {
    @Test(arguments: [0, 1, 2])
    func isRetriedAsItsRetriesAllow(retries: Int) async throws {
        try await withJobs { queue, _ in
            try await queue.handle.configure([("retry_delay_ms", 0)])
            let attempts = Mutex<[Int]>([])
            let id = try await queue.submit(Render(scene: "a"), .retries(retries))
            var worker = JobWorker(queue)
            worker.on(Render.self) { _, context in
                attempts.withLock { $0.append(context.attemptNumber) }
                throw DiskFull()
            }
            try await running(worker) {
                let failure = TaskFailure(code: "DiskFull", message: "DiskFull()")
                await #expect(throws: JobFailure.failed(failure, attempts: retries + 1)) {
                    try await queue.result(of: id)
                }
            }
            #expect(attempts.withLock { $0 } == Array(1...(retries + 1)))
        }
    }

    @Test func forGoodIsNotRetried() async throws {
        try await withJobs { queue, _ in
            let id = try await queue.submit(Render(scene: "a"), .retries(5))
            var worker = JobWorker(queue)
            worker.on(Render.self) { job, _ in throw PermanentFailure("no scene \(job.scene)", code: "NoScene") }
            try await running(worker) {
                let failure = TaskFailure(code: "NoScene", message: "no scene a")
                await #expect(throws: JobFailure.failed(failure, attempts: 1)) { try await queue.result(of: id) }
            }
        }
    }

    @Test(arguments: [Duration.seconds(-5), .zero, .seconds(30), .hours(24 * 30), .hours(24 * 31), .seconds(Int64.max)])
    func saysWhenItsRetryIsDue(after: Duration) async throws {
        try await withJobs { queue, _ in
            let runs = Mutex(0)
            let id = try await queue.submit(Render(scene: "a"), .retries(1))
            var worker = JobWorker(queue)
            worker.on(Render.self) { _, _ in
                if runs.withLock({
                    $0 += 1
                    return $0
                }) == 1 {
                    throw RetryLater(after: after, "not now")
                }
                return Image(width: 1, pixels: Data())
            }
            try await running(worker) {
                if after <= .zero {
                    #expect(try await queue.result(of: id).width == 1)
                } else {
                    #expect(try await eventually { try await queue.status(of: id).retryCount == 1 })
                    let task = try await queue.status(of: id)
                    #expect(task.heldBy == .retry)
                    let finished = try #require(task.attempts.first?.finishedAt)
                    let due = try #require(task.dueAt)
                    #expect(
                        abs(due.timeIntervalSince(finished) - Double(min(after, .hours(24 * 30)).components.seconds))
                            < 0.01)
                }
            }
        }
    }

    @Test func byItsPayloadIsNotRetried() async throws {
        try await withJobs { queue, _ in
            var request = BuildRequest()
            request.kind = "render"
            request.payload = ByteBuffer(string: "{}")
            var task = QueuedTask(request, priority: .normal, id: "t")
            task.scheduling.requires = ["kind:render"]
            _ = try await queue.handle.addTask(task)
            var worker = JobWorker(queue)
            worker.on(Render.self) { _, _ in Image(width: 1, pixels: Data()) }
            try await running(worker) {
                let error = await #expect(throws: JobFailure.self) { try await queue.result(of: JobID<Render>("t")) }
                guard case .failed(let failure, attempts: 1) = error else {
                    Issue.record("\(String(describing: error))")
                    return
                }
                #expect(failure.code == "UnreadableJob")
            }
        }
    }

    @Test(arguments: [1 << 20, (1 << 20) + 1])
    func byAResultThatIsTooLongSaysSo(bytes: Int) async throws {
        try await withJobs { queue, _ in
            let id = try await queue.submit(Encode(title: "x"))
            var worker = JobWorker(queue)
            // Two bytes are its quotes.
            worker.on(Encode.self) { _, _ in String(repeating: "a", count: bytes - 2) }
            try await running(worker) {
                let result = try? await queue.result(of: id)
                #expect(result?.utf8.count == (bytes > 1 << 20 ? nil : bytes - 2))
                let code = try await queue.status(of: id).failure?.code
                #expect(code == (bytes > 1 << 20 ? "ResultTooLong" : nil))
            }
        }
    }

    @Test func byALongErrorKeepsItsBeginning() async throws {
        struct Long: Error, CustomStringConvertible {
            var description: String { String(repeating: "é", count: 2_000_000) }
        }
        try await withJobs { queue, _ in
            let id = try await queue.submit(Render(scene: "a"), .retries(0))
            var worker = JobWorker(queue)
            worker.on(Render.self) { _, _ in throw Long() }
            try await running(worker) {
                await #expect(throws: JobFailure.self) { try await queue.result(of: id) }
                let task = try await queue.status(of: id)
                #expect(task.failure?.message.count == 10_000)
            }
        }
    }

    /// Cancelled, or over its time.
    @Test(arguments: [true, false])
    func becauseItIsStoppedHasItsHandlerCancelled(isCancelled: Bool) async throws {
        try await withJobs { queue, _ in
            let ended = Mutex(false)
            let limit: Duration = isCancelled ? .seconds(600) : .seconds(1)
            let id = try await queue.submit(Render(scene: "a"), .timeout(limit), .retries(0))
            var worker = JobWorker(queue)
            worker.on(Render.self) { _, _ in
                defer { ended.withLock { $0 = true } }
                try await Task.sleep(for: .seconds(600))
                return Image(width: 1, pixels: Data())
            }
            try await running(worker) {
                #expect(try await eventually { try await queue.status(of: id).state == .running })
                if isCancelled { try await queue.cancel(id, reason: "enough") }
                let error = await #expect(throws: JobFailure.self) { try await queue.result(of: id) }
                switch error {
                case .cancelled(reason: "enough"): #expect(isCancelled)
                case .timedOut(_, attempts: 1): #expect(!isCancelled)
                default: Issue.record("\(String(describing: error))")
                }
                #expect(try await eventually { ended.withLock { $0 } })
            }
        }
    }
}

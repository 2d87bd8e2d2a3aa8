import Foundation
import NIOCore
import RedisClient
import Switchyard
import SwitchyardJobs
import SwitchyardTesting
import Synchronization
import Testing

@Suite("Typed jobs")
struct JobTests {
    @Test func areSubmittedRunAndReturnTheirResult() async throws {
        try await TestRedis.run { redis in
            let queue = try await JobQueue("movies", redis: redis.url)
            let id = try await queue.submit(
                Render(scene: "a"), .priority(.high), .timeout(.minutes(5)), .unique(by: "a"))
            var worker = JobWorker(queue, slots: 4)
            worker.on(Render.self) { job, context in
                context.report(progress: "half of \(job.scene)")
                return Image(width: 640, pixels: Data(job.scene.utf8))
            }
            try await running(worker) {
                let image = try await queue.result(of: id)
                #expect(image == Image(width: 640, pixels: Data("a".utf8)))
            }
            let task = try await queue.status(of: id)
            #expect(task.request.kind == "render")
            #expect(task.priority == .high)
            #expect(task.timeout == .seconds(300))
            #expect(String(buffer: task.request.payload ?? ByteBuffer()) == #"{"scene":"a"}"#)
            #expect(try await redis.client.send(RedisCommand("SMEMBERS", "switchyard:queues")).array?.count == 1)
        }
    }

    /// A worker gets the kinds that it has handlers for, and nothing else.
    @Test(arguments: [1, 3])
    func goOnlyToWorkersWithAHandler(count: Int) async throws {
        try await withJobs { queue, _ in
            let renders = try await queue.submit((0..<count).map { Render(scene: "\($0)") })
            let encodes = try await queue.submit((0..<count).map { Encode(title: "\($0)") })
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "no-job"))
            var first = JobWorker(queue, slots: 10, id: "first")
            first.on(Encode.self) { job, _ in job.title + "!" }
            try await running(first) {
                for (n, id) in encodes.enumerated() {
                    let title = try await queue.result(of: id)
                    #expect(title == "\(n)!")
                }
                for id in renders {
                    #expect(try await queue.resultIfEnded(of: id) == nil)
                    let reasons = try await queue.handle.explain(id.taskID).reasons
                    #expect(reasons.contains { $0.code == "no_worker_matches" && $0.message.contains("kind:render") })
                }
            }
            var both = JobWorker(queue, slots: 10, id: "both")
            both.on(Encode.self) { job, _ in job.title }
            both.on(Render.self) { _, _ in Image(width: 1, pixels: Data()) }
            try await running(both) {
                for id in renders {
                    let image = try await queue.result(of: id)
                    #expect(image.width == 1)
                }
            }
            #expect(try await queue.handle.getTask("no-job").state == .pending)
        }
    }

    @Test func withoutAResultReturnNone() async throws {
        try await withJobs { queue, _ in
            let id = try await queue.submit(Clean())
            var worker = JobWorker(queue)
            worker.on(Clean.self) { _, _ in NoResult() }
            try await running(worker) { _ = try await queue.result(of: id) }
            #expect(try await queue.status(of: id).result == nil)
        }
    }

    @Test func seeTheResultsOfThoseThatTheyRunAfter() async throws {
        try await withJobs { queue, _ in
            let frames = try await queue.submit([Render(scene: "1"), Render(scene: "2")])
            let id = try await queue.submit(Encode(title: "film", frames: frames), .after(frames[0]), .after(frames[1]))
            var worker = JobWorker(queue, slots: 2)
            worker.on(Render.self) { job, _ in Image(width: Int(job.scene) ?? 0, pixels: Data()) }
            worker.on(Encode.self) { job, context in
                let widths = try job.frames.map { try context.result(of: $0)?.width ?? -1 }
                return "\(job.title) \(widths)"
            }
            try await running(worker) {
                let title = try await queue.result(of: id)
                #expect(title == "film [1, 2]")
            }
        }
    }

    @Test func withAUniqueKeyThatIsTakenReturnTheIdOfTheOther() async throws {
        try await withJobs { queue, _ in
            let id = try await queue.submit(Render(scene: "a"), .unique(by: "scene a"))
            #expect(try await queue.submit(Render(scene: "a"), .unique(by: "scene a")) == id)
            #expect(try await queue.submit(Render(scene: "a"), .unique(by: "scene b")) != id)
            try await queue.cancel(id, reason: "not wanted")
            #expect(try await queue.submit(Render(scene: "a"), .unique(by: "scene a")) != id)
            await #expect(throws: JobFailure.cancelled(reason: "not wanted")) { try await queue.result(of: id) }
        }
    }

    @Test func takeAnIdThatTheirSubmitterChose() async throws {
        try await withJobs { queue, _ in
            let id = try await queue.submit(Render(scene: "a"), .id("r-17"), .delay(.hours(1)))
            #expect(id == JobID("r-17"))
            #expect(try await queue.status(of: JobID<Render>("r-17")).heldBy == .schedule)
            await #expect(throws: SchedulerError.self) { try await queue.submit(Render(scene: "b"), .id("r-17")) }
            let text = String(decoding: try JSONEncoder().encode([id]), as: UTF8.self)
            #expect(text == #"["r-17"]"#)
            #expect(try JSONDecoder().decode([JobID<Render>].self, from: Data(text.utf8)) == [id])
        }
    }

    struct Odd: Job {
        static let kind = "bad kind!"
    }

    @Test func ofAKindThatIsNoNameAreRefused() async throws {
        try await withJobs { queue, _ in
            await #expect(throws: SchedulerError.self) { try await queue.submit(Odd()) }
            var worker = JobWorker(queue)
            worker.on(Odd.self) { _, _ in NoResult() }
            await #expect(throws: SchedulerError.self) { try await worker.run() }
            await #expect(throws: SchedulerError.self) { try await JobWorker(queue).run() }
        }
    }

    /// The queue is known to replicas from the first submission on, also of a handle.
    @Test func makeTheirQueueKnown() async throws {
        try await TestRedis.run { redis in
            let handle = try SchedulerHandle(queue: "q", client: redis.client)
            for n in 0..<2 { _ = try await handle.addTask(QueuedTask(BuildRequest(), id: "t\(n)")) }
            let names = try await redis.client.send(RedisCommand("SMEMBERS", "switchyard:queues")).array ?? []
            #expect(names.compactMap(\.string) == ["q"])
        }
    }
}

import Foundation
import InMemoryTracing
import Instrumentation
import Metrics
import MetricsTestKit
import ServiceLifecycle
import Switchyard
import SwitchyardJobs
import SwitchyardTesting
import Synchronization
import Testing
import Tracing

/// The two systems are set up once for the process.
private let observers: (metrics: TestMetrics, tracer: InMemoryTracer) = {
    let metrics = TestMetrics()
    MetricsSystem.bootstrap(metrics)
    let tracer = InMemoryTracer()
    InstrumentationSystem.bootstrap(tracer)
    return (metrics, tracer)
}()

@Suite("What is seen of jobs", .serialized)
struct JobObservationTests {
    final class Recorder: JobMiddleware {
        let name: String
        let events: Events
        init(_ name: String, _ events: Events) {
            self.name = name
            self.events = events
        }
        func before(_ context: JobContext) async throws { events.add("\(name) before \(context.attemptNumber)") }
        func after(_ context: JobContext) async { events.add("\(name) after") }
        func failed(_ context: JobContext, _ error: any Error) async { events.add("\(name) failed \(error)") }
    }

    final class Events: Sendable {
        private let list = Mutex<[String]>([])
        func add(_ event: String) { list.withLock { $0.append(event) } }
        var all: [String] { list.withLock { $0 } }
    }

    @Test(arguments: [true, false])
    func middlewareIsCalledAroundTheHandler(succeeds: Bool) async throws {
        try await withJobs { queue, _ in
            let events = Events()
            var worker = JobWorker(queue)
            worker.use(Recorder("outer", events))
            worker.use(Recorder("inner", events))
            worker.on(Clean.self) { _, _ in
                events.add("handler")
                if !succeeds { throw PermanentFailure("no") }
                return NoResult()
            }
            let id = try await queue.submit(Clean())
            try await running(worker) { _ = try? await queue.result(of: id) }
            let end = succeeds ? ["inner after", "outer after"] : ["inner failed no", "outer failed no"]
            #expect(events.all == ["outer before 1", "inner before 1", "handler"] + end)
        }
    }

    @Test func attemptsAreCountedByKindAndOutcome() async throws {
        try await withJobs { queue, _ in
            let metrics = observers.metrics
            var worker = JobWorker(queue, slots: 5)
            worker.on(Clean.self) { job, _ in
                if job.path == "bad" { throw PermanentFailure("no") }
                return NoResult()
            }
            let name = "counted-\(QueuedTask.randomID())"
            let counted = try await JobQueue(name, client: queue.client)
            var other = JobWorker(counted, slots: 5)
            other.on(Clean.self) { job, _ in
                if job.path == "bad" { throw PermanentFailure("no") }
                return NoResult()
            }
            let ids = try await counted.submit(["a", "b", "bad", "c"].map { Clean(path: $0) })
            try await running(other) { for id in ids { _ = try? await counted.result(of: id) } }
            for (outcome, count) in [("completed", 3), ("failed", 1)] {
                let dimensions = [("queue", name), ("kind", "clean"), ("outcome", outcome)]
                #expect(try metrics.expectCounter("switchyard_job_attempts_total", dimensions).totalValue == count)
                #expect(try metrics.expectTimer("switchyard_job_seconds", dimensions).values.count == count)
            }
        }
    }

    /// The attempt's span is a child of the one in which the job was submitted.
    @Test func attemptsAreSpansOfTheTraceOfTheirSubmission() async throws {
        try await withJobs { queue, _ in
            let tracer = observers.tracer
            var worker = JobWorker(queue)
            let seen = Mutex<String?>(nil)
            worker.on(Clean.self) { _, _ in
                seen.withLock { $0 = ServiceContext.current?.inMemorySpanContext?.traceID }
                return NoResult()
            }
            var trace: String?
            let id = try await withSpan("request") { span in
                trace = span.context.inMemorySpanContext?.traceID
                return try await queue.submit(Clean())
            }
            try await running(worker) { _ = try await queue.result(of: id) }
            let span = try #require(tracer.finishedSpans.last { $0.operationName == "clean" })
            #expect(span.attributes.get("switchyard.task_id") == .string(id.taskID))
            #expect(seen.withLock { $0 } == span.spanContext.traceID)
            // The tracer of this test does not speak the header `traceparent`; a task without one begins a trace.
            #expect(trace != nil)
        }
    }

    @Test(arguments: [1, 5])
    func aGracefulShutdownLetsJobsEnd(count: Int) async throws {
        try await withJobs { queue, _ in
            let begun = Mutex(0)
            let gate = AsyncStream<Void>.makeStream()
            var worker = JobWorker(queue, slots: 10)
            worker.on(Clean.self) { _, _ in
                begun.withLock { $0 += 1 }
                for await _ in gate.stream {}
                return NoResult()
            }
            let ids = try await queue.submit((0..<count).map { _ in Clean() })
            let group = ServiceGroup(services: [worker], logger: .init(label: "test"))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                #expect(try await eventually { begun.withLock { $0 } == count })
                await group.triggerGracefulShutdown()
                gate.continuation.finish()
                try await tasks.waitForAll()
                for id in ids { #expect(try await queue.resultIfEnded(of: id) == NoResult()) }
            }
        }
    }
}

import NIOCore
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

@Suite struct DependencyTests {
    @Test func aCommandReadsTheResultsOfItsDependencies() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let first = try await queue.submit(command: ["true"], id: "first")
                let second = try await queue.submit(command: [
                    "sh", "-c", "printf %s \"$SWITCHYARD_DEPENDENCY_RESULTS\"",
                ]) {
                    $0.scheduling.dependsOn = [first]
                }
                #expect(try await queue.ended(second).state == .completed)
                let results = try await queue.logText(second)
                #expect(results.hasPrefix(#"{"first":"{\"#), "\(results)")
                #expect(results.contains(#"\"exit_code\":0"#))
            }
        }
    }

    @Test func aCommandWithoutDependenciesHasNoDependencyResults() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let id = try await queue.submit(command: [
                    "sh", "-c", "printf %s \"${SWITCHYARD_DEPENDENCY_RESULTS-unset}\"",
                ])
                #expect(try await queue.ended(id).state == .completed)
                #expect(try await queue.logText(id) == "unset")
            }
        }
    }

    @Test func aWorkerRunsTasksThatNeedTheSameResourceOneAfterAnother() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            var options = WorkerOptions(slots: 4)
            options.labels = ["os=linux"]
            options.resources = Resources(cpu: 2, custom: ["license": 1])
            let worker = try Worker(
                id: "w", queue: queue.name, client: queue.redis.client, options: options, handler: CommandHandler(),
                logger: TestRedis.quiet)
            let serving = Task { try await worker.run() }
            // Each task needs the only license, so no two overlap: `mkdir` would fail, because the directory exists.
            let directory = "/tmp/switchyard-\(queue.name)"
            let script = "mkdir \(directory) && sleep 0.05 && rmdir \(directory)"
            for index in 0..<4 {
                try await queue.submit(command: ["sh", "-c", script], id: "t\(index)") {
                    $0.scheduling.requires = ["os in (linux,mac)"]
                    $0.scheduling.resources = Resources(cpu: 0.5, custom: ["license": 1])
                }
            }
            for index in 0..<4 { #expect(try await queue.ended("t\(index)").state == .completed) }
            worker.drain()
            try await serving.value
        }
    }

    @Test func aNegativeResourceIsRefused() async throws {
        try await TestQueue.run { queue in
            var options = WorkerOptions()
            options.resources.cpu = -1
            #expect(throws: SchedulerError.self) {
                try Worker(
                    id: "w", queue: queue.name, client: queue.redis.client, options: options, handler: NoOpHandler())
            }
        }
    }
}

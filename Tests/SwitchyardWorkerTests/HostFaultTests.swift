import Foundation
import Switchyard
import SwitchyardTesting
import SwitchyardWorker
import Testing

/// A host that cannot run tasks hands them back, and takes none for a while.
@Suite struct HostFaultTests {
    enum Fault: String, CaseIterable { case emptyPath, pathOfNothing, noWorkspace, workspaceIsAFile }

    private func broken(_ fault: Fault) -> CommandHandler {
        var handler = CommandHandler()
        switch fault {
        case .emptyPath: handler.variables = ["PATH": ""]
        case .pathOfNothing: handler.variables = ["PATH": "/nowhere/bin:/nothing"]
        case .noWorkspace: handler.workspace = "/nowhere/at/all"
        case .workspaceIsAFile: handler.workspace = "/proc/self/status"
        }
        return handler
    }

    /// Runs a second worker, which is healthy, while `body` runs.
    private func withHealthyWorker(_ queue: TestQueue, _ body: () async throws -> Void) async throws {
        let worker = try Worker(
            id: "healthy", queue: queue.name, client: queue.redis.client, options: WorkerOptions(slots: 2),
            handler: CommandHandler(), logger: TestRedis.quiet)
        let serving = Task { try await worker.run() }
        try await body()
        worker.drain()
        try await serving.value
    }

    @Test(arguments: Fault.allCases)
    func noTaskFailsOnAFarmWithABrokenHost(fault: Fault) async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker("broken", slots: 3, handler: broken(fault)) { _ in
                try await withHealthyWorker(queue) {
                    var ids: [String] = []
                    for _ in 0..<30 { ids.append(try await queue.submit(command: ["true"])) }
                    var returns = 0
                    for id in ids {
                        let task = try await queue.ended(id)
                        #expect(task.state == .completed, "\(task.failure?.message ?? "")")
                        #expect(task.worker == "healthy")
                        returns += task.attempts.filter { $0.outcome == "returned" }.count
                    }
                    // Five in a row, and what was under way.
                    #expect(returns <= 5 + 3)
                }
            }
        }
    }

    @Test func aBrokenHostTriesAgainLessAndLessOften() async throws {
        try await TestQueue.run(settings: quickSettings.merging(["max_deliveries": 100]) { $1 }) { queue in
            var options = WorkerOptions(slots: 1)
            options.setAsidePause = .milliseconds(500)
            let worker = try Worker(
                id: "broken", queue: queue.name, client: queue.redis.client, options: options,
                handler: broken(.emptyPath), logger: TestRedis.quiet)
            let scheduler = try TaskScheduler(client: queue.redis.client, queues: [queue.name], logger: TestRedis.quiet)
            let replica = Task { try await scheduler.run() }
            let serving = Task { try await worker.run() }
            var ids: [String] = []
            for _ in 0..<50 { ids.append(try await queue.submit(command: ["true"])) }
            func attempts() async throws -> Int {
                var count = 0
                for id in ids { count += try await queue.handle.getTask(id).attempt }
                return count
            }
            #expect(try await eventually { try await attempts() >= 5 })
            func note() async throws -> String {
                try await queue.handle.getWorkers().first?.details["note"] ?? ""
            }
            #expect(try await eventually { try await note().contains("No such file or directory") })
            let start = ContinuousClock.now
            // After the pauses of 0.5, 1 and 2 s one more attempt each.
            #expect(try await eventually(within: .seconds(20)) { try await attempts() >= 8 })
            #expect(ContinuousClock.now - start > .seconds(3))
            #expect(try await attempts() == 8)
            worker.drain()
            try await serving.value
            replica.cancel()
            _ = await replica.result
        }
    }

    @Test func whatTheTaskNamesIsTheTasksFault() async throws {
        try await TestQueue.run(settings: quickSettings) { queue in
            try await queue.withWorker { _ in
                let cases: [([String], (inout QueuedTask) -> Void)] = [
                    (["no-such-program"], { _ in }),
                    (["/no/such/program"], { _ in }),
                    (["true"], { $0.request.environment = ["PATH": ""] }),
                    (["true"], { $0.request.cwd = "/nowhere" }),
                    (["/etc/passwd"], { _ in }),
                    (["true", String(repeating: "x", count: 200_000)], { _ in }),
                ]
                for (command, adjust) in cases {
                    let id = try await queue.submit(command: command, adjust)
                    let task = try await queue.ended(id)
                    #expect(task.state == .failed)
                    #expect(task.failure?.code == "CannotStart")
                    #expect(task.attempt == 1)
                }
            }
        }
    }
}

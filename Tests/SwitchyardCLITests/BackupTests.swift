import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// What the page on backups says of a farm whose Redis servers are restored from a copy: what runs again, and as which
/// attempt, what is lost, and that everything else goes on.
@Suite(.serialized) struct BackupTests {
    private func withScene(
        servers: Int, lease: Int, _ body: (inout BackupScene) async throws -> Void
    ) async throws {
        var scene = try await BackupScene(servers: servers, lease: lease)
        do {
            try await body(&scene)
        } catch {
            Issue.record("\(error)\n\(scene.logs)")
        }
        try await scene.end()
    }

    private func notFound(_ id: String, _ scene: BackupScene) async throws -> Bool {
        do {
            _ = try await scene.handle.getTask(id)
            return false
        } catch let error as SchedulerError where error.code == "TaskNotFound" {
            return true
        }
    }

    private func waitForBatch(_ id: String, _ scene: BackupScene) async throws {
        _ = try await Tool.eventually("the end of batch \(id)") {
            try await scene.handle.getBatch(id).finishedAt.map { _ in true }
        }
    }

    // MARK: Everything is lost but the copy

    @Test(arguments: [
        (source: BackupScene.Source.snapshot, servers: 1, ids: ["w1", "w2"]),
        (source: .stoppedFile, servers: 2, ids: ["w3", "w4"]),
    ])
    func aLostFarmGoesOnElsewhere(source: BackupScene.Source, servers: Int, ids: [String]) async throws {
        try await withScene(servers: servers, lease: 5) { scene in
            _ = try await scene.startReplica()
            try await scene.startWorker("w1", slots: 8)
            _ = try await scene.handle.addTask(scene.task("ended"))
            try await scene.waitForEnd("ended")
            for id in ["runs", "ends", "once"] {
                var task = scene.task(id, needsGate: true)
                if id == "once" { task.maxRetries = 0 }
                _ = try await scene.handle.addTask(task)
            }
            for id in ["runs", "ends", "once"] { try await scene.waitForBegin(id) }
            // Nobody serves these yet.
            func later(_ id: String) -> QueuedTask {
                var task = scene.task(id)
                task.scheduling.requires = ["late"]
                return task
            }
            _ = try await scene.handle.addTask(later("waits"))
            _ = try await scene.handle.addTasks(
                [later("m1"), later("m2"), later("m3")], batch: "batch", onComplete: scene.task("follow"))
            var dependent = scene.task("depends")
            dependent.scheduling.dependsOn = ["ends"]
            _ = try await scene.handle.addTask(dependent)
            var cancelled = scene.task("cancelled")
            cancelled.delay = .seconds(3600)
            _ = try await scene.handle.addTask(cancelled)
            var due = scene.task("due")
            due.delay = .seconds(3)
            _ = try await scene.handle.addTask(due)
            // Another queue.
            let other = try await BackupScene.handle(scene.queue + "-2", scene.servers)
            _ = try await other.addTask(scene.task("other"))
            try await scene.handle.putSchedule(
                RecurringSchedule(id: "hourly", cron: "0 * * * *", missed: .once, task: scene.task("")))

            for index in 0..<servers { try await scene.copy(index, source) }

            // The future that will be lost.
            try await scene.startWorker("w2", label: "late")
            try scene.open("ends")
            try scene.open("once")
            // Its end adds the task that follows.
            try await waitForBatch("batch", scene)
            for id in ["ends", "once", "waits", "depends", "follow", "due"] {
                #expect(try await scene.waitForEnd(id).state == .completed, "\(id)")
            }
            _ = try await scene.handle.cancelTask("cancelled")
            _ = try await scene.handle.addTask(scene.task("new"))
            try await scene.waitForEnd("new")
            try await scene.killAll()

            for index in 0..<servers { try await scene.restoreElsewhere(index) }
            #expect(try await notFound("new", scene))
            let replica = try await scene.startReplica()
            try await scene.startWorker(ids[0], slots: 8)
            try await scene.startWorker(ids[1], label: "late")
            try await scene.startWorker("w1", queue: other.queue)
            try scene.open("runs")
            let expected: [(id: String, begins: [Int])] = [
                ("ended", [1]), ("runs", [1, 2]), ("ends", [1, 2]), ("waits", [1, 1]), ("depends", [1, 1]),
                ("due", [1, 1]), ("m1", [1, 1]), ("follow", [1, 1]),
            ]
            _ = try await Tool.eventually("the end of the other queue's task") {
                scene.noted("end", "other") == [1] ? true : nil
            }
            try await waitForBatch("batch", scene)
            for (id, begins) in expected {
                let task = try await scene.waitForEnd(id)
                #expect(task.state == .completed && task.attempt == begins.last, "\(id): \(task)")
                #expect(scene.noted("begin", id) == begins, "\(id)")
            }
            for id in ["runs", "ends"] {
                let attempts = try await scene.handle.getTask(id).attempts
                #expect(attempts.map(\.outcome) == ["lost", "completed"], "\(id): \(attempts)")
            }
            // It succeeded, after the copy.
            let once = try await scene.waitForEnd("once")
            #expect(once.state == .failed && once.failure?.code == "WorkerNotFound")
            #expect(scene.noted("end", "once") == [1])
            #expect(try await scene.handle.getTask("cancelled").state == .pending)
            _ = try await scene.handle.cancelTask("cancelled")
            #expect(try await scene.handle.getSchedules().map(\.id) == ["hourly"])
            // What was submitted after the copy may be submitted again.
            _ = try await scene.handle.addTask(scene.task("new"))
            #expect(try await scene.waitForEnd("new").attempt == 1)
            #expect(scene.noted("begin", "new") == [1, 1])
            // A replica that has seen nothing before does not know that anything is missing.
            #expect(try Peer.get("/v2/health", port: replica.port)?.contains("data_lost") == false)
            try await scene.checkKeys()
        }
    }

    // MARK: Replicas and workers have seen what is lost

    @Test(arguments: [
        (source: BackupScene.Source.runningFile, servers: 1), (source: .snapshot, servers: 2),
    ])
    func aFarmWhoseRedisIsSetBackGoesOnAndSaysSo(source: BackupScene.Source, servers: Int) async throws {
        try await withScene(servers: servers, lease: 20) { scene in
            let replica = try await scene.startReplica()
            let first = try await scene.startWorker("w1", slots: 8)
            // Of several servers, only the first is set back. Of each kind, a task at home on each.
            func ids(_ name: String) -> [String] {
                (0..<servers).map { index in
                    (0...).lazy.map { "\(name)-\($0)" }.first { scene.handle.partitions.home(of: $0) == index } ?? name
                }
            }
            func add(_ name: String, label: String? = nil, needsGate: Bool = true) async throws {
                for id in ids(name) {
                    var task = scene.task(id, needsGate: needsGate)
                    if let label { task.scheduling.requires = [label] }
                    _ = try await scene.handle.addTask(task)
                }
            }
            func wait(_ name: String) async throws { for id in ids(name) { try await scene.waitForBegin(id) } }
            func open(_ name: String) throws { for id in ids(name) { try scene.open(id) } }

            for name in ["runs", "ends"] { try await add(name) }
            for name in ["runs", "ends"] { try await wait(name) }
            try await add("again", label: "late")
            try await add("waits", label: "late", needsGate: false)
            try await scene.copy(0, source)

            // The future that will be lost. This worker is not in the copy.
            let second = try await scene.startWorker("w2", label: "late")
            try await add("new")
            for name in ["again", "new"] { try await wait(name) }
            try open("ends")
            for id in ids("ends") + ids("waits") { try await scene.waitForEnd(id) }
            try await scene.waitForTicks(3)
            try await scene.restoreInPlace(0)

            // Both know attempts of the lost future, which Redis does not have.
            let lost = ids("new")[0]
            _ = try await Tool.eventually("the end of \(lost)") { try scene.processes(of: lost).isEmpty ? true : nil }
            #expect(try await notFound(lost, scene))
            _ = try await scene.handle.addTask(scene.task(lost, needsGate: true))
            for id in ids("again") {
                _ = try await scene.handle.waitForTask(id, timeout: .seconds(40)) { $0.state == .running }
            }
            _ = try await Tool.eventually("one process of each task") {
                try (ids("again") + ids("runs")).allSatisfy { try scene.processes(of: $0).count == 1 } ? true : nil
            }
            for name in ["runs", "again", "new"] { try open(name) }
            // A worker that gets the attempt again that it still runs goes on with it.
            let expected: [(name: String, begins: Set<[Int]>)] = [
                ("runs", [[1]]), ("ends", [[1, 1], [1, 2]]), ("again", [[1], [1, 1], [1, 2]]), ("waits", [[1, 1]]),
                ("new", [[1, 1]]),
            ]
            for (name, begins) in expected {
                for (index, id) in ids(name).enumerated() {
                    let task = try await scene.waitForEnd(id)
                    #expect(task.state == .completed, "\(id): \(task)")
                    let noted = scene.noted("begin", id)
                    #expect(index == 0 ? begins.contains(noted) : noted == [1], "\(id): \(noted)")
                }
            }
            // The replica sees it in its next tick, which may come after the tasks' ends.
            let health = try await Tool.eventually("data_lost") {
                let health = try Peer.get("/v2/health", port: replica.port) ?? ""
                return health.contains("data_lost") ? health : nil
            }
            #expect(health.contains("older state of queue \(scene.queue) "), "\(health)")
            _ = try await Tool.eventually("the replica's log says so") {
                replica.process.stderr.contains("data of the queue was lost: Redis has an older state") ? true : nil
            }
            #expect(first.process.exitStatus == nil && second.process.exitStatus == nil)
            try await scene.checkKeys()
        }
    }
}

import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Where tasks of a spread queue go")
struct RoutingTests {
    @Test func anIdsPartitionIsItsRedisClusterSlotModuloTheirNumber() async throws {
        let client = try await TestRedis.shared.client
        // The slots are those of the Redis Cluster specification.
        for (name, slot) in [("foo", 12182), ("bar", 5061), ("hello", 866), ("123456789", 12739)] {
            for count in [1, 2, 3, 7, 64] {
                #expect(try Partitions(on: [client], count: count).home(of: name) == slot % count)
            }
        }
    }

    @Test func submissionsSpreadEvenly() async throws {
        try await PartitionedQueue.run { queue in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for submitter in 0..<8 {
                    group.addTask {
                        for n in 0..<500 {
                            // Half of the ids are the caller's, half are generated.
                            let id = n % 2 == 0 ? "build-\(submitter)-\(n)" : nil
                            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: id))
                        }
                    }
                }
                try await group.waitForAll()
            }
            for part in queue.parts {
                let pending = try await part.raw("ZCARD", "{}pending").int ?? 0
                #expect((1800...2200).contains(pending))
            }
            #expect(try await queue.handle.getStats().pending == 4000)
        }
    }

    @Test(arguments: [0, 1])
    func whatIsDoneWithATaskReachesItsPartition(_ index: Int) async throws {
        try await PartitionedQueue.run { queue in
            let id = queue.id(in: index)
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .low, id: id))
            #expect(try await queue.parts[index].raw("EXISTS", "{}task:\(id)").int == 1)
            try await expectError("TaskExists") {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: id))
            }
            #expect(try await queue.handle.changePriority(id, to: .high).priority == .high)
            #expect(try await queue.handle.explain(id).reasons.map(\.code).contains("position"))

            let worker = try await queue.parts[index].worker("w")
            #expect(try await worker.pull(max: 1, holding: 0).map(\.task.id) == [id])
            try await worker.log(taskID: id, attempt: 1, [("stdout", ByteBuffer(string: "hello"))])
            #expect(try await queue.handle.readLog(id).map { String(buffer: $0.data) } == ["hello"])
            #expect(try await queue.handle.cancelTask(id).state == .cancelled)
            try await expectError("InvalidStateTransition") { try await queue.handle.cancelTask(id) }
            #expect(try await queue.handle.retryTask(id).state == .pending)
            let waiting = Task {
                try await queue.handle.waitForTask(id, timeout: .seconds(10)) { $0.state.isTerminal }
            }
            try await queue.handle.cancelTask(id)
            #expect(try await waiting.value.state == .cancelled)
            try await queue.handle.purgeTask(id)
            try await expectError("TaskNotFound") { _ = try await queue.handle.getTask(id) }
        }
    }

    @Test func aBatchLivesInOnePartitionAndItsTasksAreFound() async throws {
        try await PartitionedQueue.run(partitions: 5) { queue in
            var tasks = (0..<20).map { QueuedTask(BuildRequest(), id: "b-\($0)") }
            tasks[7].scheduling.dependsOn = ["b-3"]
            let follow = QueuedTask(BuildRequest(), id: "follow")
            _ = try await queue.handle.addTasks(tasks, batch: "nightly", onComplete: follow)
            let home = queue.partitions.home(of: "nightly")
            #expect(try await queue.parts[home].raw("LLEN", "{}members:nightly").int == 20)
            #expect(try await queue.handle.getTasks(tasks.map(\.id)).compactMap { $0?.id } == tasks.map(\.id))
            #expect(try await queue.handle.getBatch("nightly").total == 20)
            // A repetition is recognised; other submissions with its names are refused, in whichever partition they
            // belong.
            for index in 0..<5 {
                let batch = queue.id(in: index)
                try await expectError("TaskExists") {
                    _ = try await queue.handle.addTasks([QueuedTask(BuildRequest(), id: "b-5")], batch: batch)
                }
            }
            try await expectError("TaskExists") {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "b-5"))
            }
            #expect(try await queue.handle.cancelTask("b-5").state == .cancelled)
            try await queue.handle.cancelBatch("nightly")
            #expect(try await queue.handle.getBatch("nightly").count(.cancelled) == 20)
            #expect(try await queue.handle.getTask("follow").state == .pending)
        }
    }

    @Test func theTasksOfAKeyAreInOnePartition() async throws {
        try await PartitionedQueue.run { queue in
            func task(_ id: String? = nil, _ adjust: (inout SchedulingOptions) -> Void) -> QueuedTask {
                var task = QueuedTask(BuildRequest(), id: id)
                adjust(&task.scheduling)
                return task
            }
            let first = try await queue.handle.addTask(task("u1") { $0.uniqueKey = "deploy" })
            #expect(first.isNew)
            for _ in 0..<10 {
                let again = try await queue.handle.addTask(task { $0.uniqueKey = "deploy" })
                #expect(again.isDuplicate && again.task.id == "u1")
            }
            for _ in 0..<10 { _ = try await queue.handle.addTask(task { $0.concurrencyKey = "db" }) }
            let home = queue.partitions.home(of: "db")
            let worker = try await queue.parts[home].worker("w", slots: 100)
            #expect(
                try await worker.pull(max: 100, holding: 0).filter { $0.task.scheduling.concurrencyKey == "db" }.count
                    == 1)

            // An id that is used in the partition of a key is refused in its own partition, and the other way round.
            let elsewhere = queue.id(in: 1 - queue.partitions.home(of: "db"))
            _ = try await queue.handle.addTask(task(elsewhere) { $0.rateKey = "db" })
            try await expectError("TaskExists") {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: elsewhere))
            }
            #expect(try await queue.handle.getTask(elsewhere).scheduling.rateKey == "db")

            // A task may have one such key; two are refused, even if both belong to the same partition.
            _ = try await queue.handle.addTask(
                task {
                    $0.concurrencyKey = "db"
                    $0.rateKey = "db"
                })
            for other in [queue.id(in: home), queue.id(in: 1 - home)] {
                try await expectError("BadRequest") {
                    _ = try await queue.handle.addTask(
                        task {
                            $0.concurrencyKey = "db"
                            $0.uniqueKey = other
                        })
                }
            }
        }
    }

    @Test func resourcesAreCountedInTheFirstPartition() async throws {
        try await PartitionedQueue.run { queue in
            var task = QueuedTask(BuildRequest(), id: queue.id(in: 1))
            task.scheduling.resources.cpu = 2
            _ = try await queue.handle.addTask(task)
            #expect(try await queue.parts[0].raw("EXISTS", "{}task:\(task.id)").int == 1)
            #expect(try await queue.handle.getTask(task.id).scheduling.resources.cpu == 2)
            task = QueuedTask(BuildRequest())
            task.scheduling.resources.cpu = 2
            task.scheduling.uniqueKey = "k"
            try await expectError("BadRequest") { _ = try await queue.handle.addTask(task) }
        }
    }

    @Test func aTaskGoesWhereItsDependenciesAre() async throws {
        try await PartitionedQueue.run { queue in
            let here = [queue.id(in: 1), queue.id(in: 1)]
            let there = queue.id(in: 0)
            for id in here + [there] { _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: id)) }
            var task = QueuedTask(BuildRequest(), id: queue.id(in: 0))
            task.scheduling.dependsOn = here
            _ = try await queue.handle.addTask(task)
            #expect(try await queue.parts[1].raw("EXISTS", "{}task:\(task.id)").int == 1)
            #expect(try await queue.handle.getTask(task.id).heldBy == .dependencies)
            task = QueuedTask(BuildRequest())
            task.scheduling.dependsOn = [here[0], there]
            try await expectError("BadRequest") { _ = try await queue.handle.addTask(task) }
            task.scheduling.dependsOn = ["nowhere"]
            try await expectError("BadRequest") { _ = try await queue.handle.addTask(task) }
            task.scheduling.dependsOn = here
            task.scheduling.concurrencyKey = queue.id(in: 0)
            try await expectError("BadRequest") { _ = try await queue.handle.addTask(task) }
        }
    }
}

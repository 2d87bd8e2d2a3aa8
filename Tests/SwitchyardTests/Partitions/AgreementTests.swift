import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Agreeing about the partitions of a queue")
struct AgreementTests {
    /// The reason for which a replica with these partitions refuses the queue; nil if it serves it.
    private func refusal(_ partitions: Partitions, _ queue: String) async throws -> String? {
        let replica = try TaskScheduler(partitions: partitions, queues: [queue], logger: .silent)
        let running = Task { try await replica.run() }
        let names = (0..<partitions.count).map { Keys(queue: queue, partition: $0).name }
        let end = Task {
            let serves = try await eventually { names.allSatisfy { replica.health.current[$0]?.lastTick != nil } }
            if serves { running.cancel() }
        }
        defer { end.cancel() }
        do {
            try await running.value
            return nil
        } catch let error as SchedulerError {
            #expect(error.field == "partitions")
            return error.message
        }
    }

    @Test func aReplicaWithAnotherNumberRefusesToStartWhileThereAreTasks() async throws {
        try await PartitionedQueue.run { queue in
            let clients = queue.servers.map(\.client)
            let four = try Partitions(on: clients, count: 4)
            // An empty queue may be spread differently, and back.
            #expect(try await refusal(four, queue.name) == nil)
            #expect(try await queue.parts[0].raw("HGET", "{}config", "partitions").string == "4")
            #expect(try await refusal(queue.partitions, queue.name) == nil)
            for n in 0..<10 { _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "t-\(n)")) }
            let more = try #require(try await refusal(four, queue.name))
            #expect(more.contains("has 2") && more.contains("started for 4"))
            let fewer = try #require(try await refusal(Partitions(clients[0]), queue.name))
            #expect(fewer.contains("has 2") && fewer.contains("started for 1"))
            let swapped = try #require(try await refusal(Partitions(on: clients.reversed()), queue.name))
            #expect(swapped.contains("the same order"))
            #expect(try await refusal(queue.partitions, queue.name) == nil)
            // Ended tasks can still be looked up.
            for n in 0..<10 { try await queue.handle.cancelTask("t-\(n)") }
            #expect(try await refusal(four, queue.name) != nil)
            try await queue.handle.purgeQueue(confirm: queue.name)
            #expect(try await refusal(four, queue.name) == nil)
        }
    }

    @Test func aQueueThatWasNeverSpreadHasOnePartition() async throws {
        try await PartitionedQueue.run(partitions: 2) { queue in
            let plain = try SchedulerHandle(queue: "plain", client: queue.servers[0].client)
            _ = try await plain.addTask(QueuedTask(BuildRequest()))
            #expect(try await refusal(queue.partitions, "plain")?.contains("has 1") == true)
            #expect(try await refusal(Partitions(queue.servers[0].client), "plain") == nil)
        }
    }

    @Test func aReplicaEndsWhenTheNumberChanges() async throws {
        try await PartitionedQueue.run { queue in
            let replica = try TaskScheduler(partitions: queue.partitions, queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            let ticks = try await eventually { replica.health.current[queue.name]?.lastTick != nil }
            #expect(ticks)
            try await queue.parts[0].call("configure", "partitions", "3")
            await #expect(throws: SchedulerError.self) { try await running.value }
        }
    }

    @Test func aReplicaServesOneInstanceWhileTheOtherIsAway() async throws {
        try await PartitionedQueue.run(.always) { queue in
            await queue.servers[1].kill()
            let replica = try TaskScheduler(partitions: queue.partitions, queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            let ticks = try await eventually { replica.health.current[queue.name]?.lastTick != nil }
            #expect(ticks)
            let id = queue.id(in: 0)
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: id))
            try await queue.servers[1].restart()
            let both = try await eventually(within: .seconds(20)) {
                replica.health.current[queue.parts[1].keys.name]?.lastTick != nil
            }
            #expect(both)
            running.cancel()
            _ = await running.result
        }
    }
}

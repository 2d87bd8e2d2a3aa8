import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

/// A submission needs only the partition that it goes to.
@Suite("Submissions while another partition is away", .serialized)
struct AwayTests {
    enum Fault: String, CaseIterable, CustomTestStringConvertible {
        case killed, stopped
        var testDescription: String { rawValue }
    }

    /// Far less than the 8 s for which calls are repeated, and far more than a submission takes.
    private static let limit: Duration = .seconds(5)

    /// A task whose automatic priority depends on the load of the queue.
    private func complex(_ id: String) -> QueuedTask {
        var request = BuildRequest()
        request.args = (0..<10).map { "--flag=\($0)" }
        return QueuedTask(request, id: id)
    }

    private func withFault(
        _ fault: Fault, at index: Int, _ body: (PartitionedQueue) async throws -> Void
    ) async throws {
        try await PartitionedQueue.run(.always) { queue in
            let server = queue.servers[index]
            let info = try await server.client.send(RedisCommand("INFO", "server")).string ?? ""
            let process = try #require(info.firstMatch(of: #/process_id:(\d+)/#).flatMap { pid_t($0.1) })
            switch fault {
            case .killed: await server.kill()
            case .stopped: kill(process, SIGSTOP)
            }
            let result: Result<Void, any Error>
            do {
                result = .success(try await body(queue))
            } catch {
                result = .failure(error)
            }
            switch fault {
            case .killed: try await server.restart()
            case .stopped: kill(process, SIGCONT)
            }
            try result.get()
        }
    }

    @Test(arguments: Fault.allCases, [0, 1])
    func areNotHeldUpByIt(fault: Fault, away: Int) async throws {
        try await withFault(fault, at: away) { queue in
            let home = 1 - away
            for round in 0..<3 {
                // With an id of its own, and with a generated one. The handle is used for the first time.
                let handle =
                    round < 2
                    ? try SchedulerHandle(queue: queue.name, partitions: queue.partitions, logger: .silent)
                    : queue.handle
                let start = ContinuousClock.now
                let added = try await handle.addTask(complex(queue.id(in: home)))
                #expect(added.task.priority != nil)
                #expect(ContinuousClock.now - start < Self.limit, "\(fault) in round \(round)")
            }
            #expect(try await queue.parts[home].raw("ZCARD", "{}pending").int == 3)
        }
    }

    /// Many at once read the load once, and none waits for another's reading.
    @Test func manyAtOnceAreNotHeldUpEither() async throws {
        try await withFault(.stopped, at: 1) { queue in
            let start = ContinuousClock.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<50 {
                    let task = complex(queue.id(in: 0))
                    group.addTask { _ = try await queue.handle.addTask(task) }
                }
                try await group.waitForAll()
            }
            #expect(ContinuousClock.now - start < Self.limit)
        }
    }

    /// The load of the partitions that reply counts.
    @Test func theLoadOfTheOthersIsStillSeen() async throws {
        try await PartitionedQueue.run(settings: ["max_queue_length": 20]) { queue in
            for _ in 0..<9 { _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: queue.id(in: 0))) }
            await queue.servers[1].kill()
            let handle = try SchedulerHandle(queue: queue.name, partitions: queue.partitions, logger: .silent)
            let added = try await handle.addTask(complex(queue.id(in: 0)))
            #expect(added.task.priorityReason?.contains("lowered") == true, "\(added.task.priorityReason ?? "")")
            try await queue.servers[1].restart()
        }
    }

    /// A short stall does not close connections on which other calls wait.
    @Test func aShortStallCostsNobodyTheConnection() async throws {
        try await PartitionedQueue.run { queue in
            let id = RedisCommand("CLIENT", "ID")
            let client = queue.servers[1].client
            let before = try await client.send(id)
            let info = try await client.send(RedisCommand("INFO", "server")).string ?? ""
            let process = try #require(info.firstMatch(of: #/process_id:(\d+)/#).flatMap { pid_t($0.1) })
            kill(process, SIGSTOP)
            let bystander = Task { try await client.send(RedisCommand("ECHO", "x")).string }
            // It asks the stalled server for the name, for a second at most.
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: queue.id(in: 0)))
            kill(process, SIGCONT)
            #expect(try await bystander.value == "x")
            #expect(try await client.send(id) == before)
        }
    }
}

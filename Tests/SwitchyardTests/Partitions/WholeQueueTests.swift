import Foundation
import Switchyard
import SwitchyardTesting
import Testing

@Suite("A spread queue, seen as one")
struct WholeQueueTests {
    @Test func theListIsOneOrderedListHoweverItIsPaged() async throws {
        try await PartitionedQueue.run(partitions: 3) { queue in
            var ids: Set<String> = []
            for n in 0..<90 {
                var task = QueuedTask(BuildRequest(), priority: TaskPriority.allCases[n % 4], id: "t-\(n)")
                if n % 5 == 4 { task.delay = .seconds(1000 + n) }
                _ = try await queue.handle.addTask(task)
                ids.insert(task.id)
            }
            for part in queue.parts {
                let worker = try await part.worker("w", slots: 5)
                for assignment in try await worker.pull(max: 5, holding: 0).prefix(3) {
                    _ = try await worker.finish(
                        [.init(taskID: assignment.task.id, attempt: 1, outcome: .completed)], pull: 0, holding: 0)
                }
            }
            let all = try await queue.handle.listTasks(limit: 500)
            #expect(all.cursor == nil)
            #expect(Set(all.tasks.map(\.id)) == ids && all.tasks.count == 90)
            let states = all.tasks.map { $0.state.isTerminal ? 3 : $0.state == .running ? 0 : $0.heldBy == nil ? 1 : 2 }
            #expect(states == states.sorted())
            let line = all.tasks.filter { $0.state == .pending && $0.heldBy == nil }
            #expect(line.map { $0.priority?.level ?? 9 } == line.map { $0.priority?.level ?? 9 }.sorted())
            let ended = all.tasks.filter(\.state.isTerminal).compactMap(\.finishedAt)
            #expect(ended == ended.sorted(by: >) && ended.count == 9)

            for limit in [1, 7, 40] {
                var paged: [String] = []
                var cursor: String?
                repeat {
                    let page = try await queue.handle.listTasks(limit: limit, cursor: cursor)
                    #expect(page.tasks.count <= limit)
                    paged += page.tasks.map(\.id)
                    cursor = page.cursor
                } while cursor != nil
                #expect(paged == all.tasks.map(\.id))
            }
            var filter = SchedulerHandle.Filter()
            filter.state = .running
            #expect(try await queue.handle.listTasks(filter).tasks.count == 6)
            try await expectError("BadRequest") { _ = try await queue.handle.listTasks(cursor: "nonsense") }
        }
    }

    /// A partition lists its tasks without a lane, then lane after lane, and so does the whole queue.
    @Test func theLanesOfAllPartitionsAreListedInTheOrderOfTheirNames() async throws {
        try await PartitionedQueue.run(partitions: 3) { queue in
            let requirements = [[], ["b"], ["a"], [], ["c=1"], ["a"]]
            for n in 0..<60 {
                var task = QueuedTask(BuildRequest(), priority: TaskPriority.allCases[n % 4], id: "t-\(n)")
                task.scheduling.requires = requirements[n % 6]
                if n % 7 == 0 { (task.scheduling.rateKey, task.scheduling.ratePerSecond) = ("r", 0.001) }
                _ = try await queue.handle.addTask(task)
            }
            let listed = try await queue.handle.listTasks(limit: 500).tasks
            #expect(listed.count == 60)
            // Limits come first in the name of a lane.
            func place(_ task: QueuedTask) -> String {
                (task.scheduling.rateKey == nil ? task.scheduling.requires.first ?? "" : "~")
            }
            let lanes = listed.filter { $0.scheduling.rateKey == nil }.map(place)
            #expect(lanes == lanes.sorted())
            var runs: [String] = []
            for lane in listed.map(place) where lane != runs.last { runs.append(lane) }
            #expect(runs.filter { $0 != "~" }.count == Set(lanes).count, "\(runs)")
            for lane in Set(lanes) {
                let levels = listed.filter { place($0) == lane }.map { $0.priority?.level ?? 9 }
                #expect(levels == levels.sorted())
            }
            var paged: [String] = []
            var cursor: String?
            repeat {
                let page = try await queue.handle.listTasks(limit: 7, cursor: cursor)
                paged += page.tasks.map(\.id)
                cursor = page.cursor
            } while cursor != nil
            #expect(paged == listed.map(\.id))
        }
    }

    @Test func itsNumbersAreSumsAndItsWorkersCountOnce() async throws {
        try await PartitionedQueue.run { queue in
            for n in 0..<40 {
                _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), priority: .high, id: "t-\(n)"))
            }
            for part in queue.parts {
                for id in ["a", "b"] { _ = try await part.worker(id, slots: 3) }
                try await part.pull("a", max: 1, start: true)
            }
            let stats = try await queue.handle.getStats()
            #expect(stats.ready == 38 && stats.running == 2 && stats.readyByPriority[.high] == 38)
            #expect(stats.totalWorkers == 2 && stats.slots == 6)
            let workers = try await queue.handle.getWorkers().sorted { $0.id < $1.id }
            #expect(workers.map(\.id) == ["a", "b"] && workers.map(\.busy) == [2, 0])
            let demand = try await queue.handle.demand()
            #expect(demand.classes.count == 1 && demand.classes.first?.ready == 38)
            #expect(demand.classes.first?.busy == 2 && demand.classes.first?.slots == 6)
            #expect(demand.desiredWorkers == 14)
            try await queue.handle.drainWorker("b")
            #expect(try await queue.handle.getWorkers().first { $0.id == "b" }?.isDraining == true)
            try await expectError("WorkerNotFound") { try await queue.handle.drainWorker("c") }
        }
    }

    @Test func explainCountsTheTasksOfOtherPartitions() async throws {
        try await PartitionedQueue.run { queue in
            for part in queue.parts { _ = try await part.worker("w") }
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: queue.id(in: 0)))
            try await queue.parts[0].pull("w", start: true)
            let waiting = queue.id(in: 1)
            _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: waiting))
            #expect(try await queue.handle.explain(waiting).reasons.map(\.code) == ["workers_busy", "position"])
        }
    }

    @Test func itsSettingsHoldInEveryPartition() async throws {
        try await PartitionedQueue.run(partitions: 3, settings: [:]) { queue in
            // The default is shared too.
            #expect(try await queue.handle.configure([])["max_queue_length"] == 500)
            let settings = try await queue.handle.configure([("max_queue_length", 10), ("retention_ms", 1000)])
            #expect(settings["max_queue_length"] == 10 && settings["retention_ms"] == 1000)
            #expect(settings["partitions"] == 3)
            var taken = 0
            var refused = 0
            for n in 0..<60 {
                do {
                    _ = try await queue.handle.addTask(QueuedTask(BuildRequest(), id: "t-\(n)"))
                    taken += 1
                } catch SchedulerError.queueFull(let message) {
                    #expect(message.contains("of 3"))
                    refused += 1
                }
            }
            #expect(taken == 10 && refused == 50)
            #expect(try await queue.handle.getStats().queueFullErrors == 50)
            try await expectError("BadRequest") { try await queue.handle.configure([("max_queue_length", 2)]) }
            try await expectError("BadRequest") { try await queue.handle.configure([("aging_ms", 1000)]) }
            try await queue.handle.pause()
            #expect(try await queue.handle.getStats().isPaused)
            for part in queue.parts {
                _ = try await part.worker("w")
                #expect(try await part.pull("w").isEmpty)
            }
            try await queue.handle.resume()
            for part in queue.parts { #expect(try await part.pull("w").count == 1) }
            try await queue.handle.drain()
            try await expectError("QueueDraining") { _ = try await queue.handle.addTask(QueuedTask(BuildRequest())) }
            try await queue.handle.purgeQueue(confirm: queue.name)
            #expect(try await queue.handle.listTasks().tasks.isEmpty)
            try await queue.handle.configure([("aging_ms", 1000)])
        }
    }

    @Test func itsSchedulesFireWhereTheyAre() async throws {
        try await PartitionedQueue.run(partitions: 3) { queue in
            let replica = try TaskScheduler(partitions: queue.partitions, queues: [queue.name], logger: .silent)
            let running = Task { try await replica.run() }
            for n in 0..<6 {
                let schedule = RecurringSchedule(id: "s\(n)", cron: "* * * * * *", task: QueuedTask(BuildRequest()))
                #expect(try await queue.handle.putSchedule(schedule).isNew)
                #expect(try await !queue.handle.putSchedule(schedule).isNew)
            }
            #expect(try await queue.handle.getSchedules().count == 6)
            let fired = try await eventually {
                let tasks = try await queue.handle.listTasks(limit: 500).tasks
                return Set(tasks.compactMap { $0.id.split(separator: ".").first }).count == 6
            }
            #expect(fired)
            for task in try await queue.handle.listTasks(limit: 500).tasks {
                #expect(try await queue.handle.getTask(task.id).id == task.id)
            }
            // With a key, the schedule belongs to another partition: it is refused while the earlier one exists.
            var keyed = RecurringSchedule(id: "s0", cron: "* * * * * *", task: QueuedTask(BuildRequest()))
            while queue.partitions.home(of: keyed.task.scheduling.uniqueKey ?? "s0") == queue.partitions.home(of: "s0")
            {
                keyed.task.scheduling.uniqueKey = QueuedTask.randomID()
            }
            try await expectError("BadRequest") { try await queue.handle.putSchedule(keyed) }
            for n in 0..<6 { #expect(try await queue.handle.removeSchedule("s\(n)")) }
            #expect(try await queue.handle.putSchedule(keyed).isNew)
            #expect(try await queue.handle.removeSchedule("s0"))
            #expect(try await !queue.handle.removeSchedule("s0"))
            running.cancel()
            _ = await running.result
        }
    }
}

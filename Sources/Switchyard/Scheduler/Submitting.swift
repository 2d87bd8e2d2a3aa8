import Foundation
import NIOCore
import RedisClient

// Submitting: one task, or many, all or none.

extension SchedulerHandle {
    /// What became of a submitted task.
    public struct Submission: Sendable, Equatable {
        /// With its unique key taken: its id and state are those of the task that has the key.
        public var task: QueuedTask
        /// A worker was woken for it; otherwise it waits in line.
        public var wokeWorker: Bool
        /// The same submission had been made before; nothing was added.
        public var isRepetition: Bool
        /// Another task with its unique key was there before; nothing was added.
        public var isDuplicate: Bool
        public var isNew: Bool { !isRepetition && !isDuplicate }
    }

    /// How many plain tasks one call takes; more go in parts. Such a call holds Redis for about 4 ms.
    public static let tasksPerCall = 500
    /// How many tasks one call takes of which some have requirements, dependencies, limits and the like, and how many go in a
    /// part: each of these costs Redis up to three times as much.
    static let specialTasksPerCall = 50

    /// How many dependencies, all tasks together, and how many bytes of what may be long, go in one call.
    static let dependenciesPerCall = 500
    static let bytesPerCall = 1 << 20

    /// Whether one call takes all the tasks.
    private static func fitsOneCall(_ tasks: [QueuedTask]) -> Bool {
        let plain = SchedulingOptions()
        let most = tasks.contains { $0.scheduling != plain } ? specialTasksPerCall : tasksPerCall
        guard tasks.count <= most else { return false }
        if tasks.count <= 1 { return true }
        return tasks.reduce(0) { $0 + $1.scheduling.dependsOn.count } <= dependenciesPerCall
            && tasks.reduce(0) { $0 + $1.longBytes } <= bytesPerCall
    }

    /// Adds a task. Repeating it after a lost reply adds it once.
    /// - Throws: `queueFull`, `queueDraining`, `taskExists`, `noWorkers`, `invalidInput`.
    public func addTask(_ task: QueuedTask, rejectIfNoWorkers: Bool = false) async throws -> Submission {
        let added = try await addTasks([task], rejectIfNoWorkers: rejectIfNoWorkers, wantsPosition: true)
        guard let submission = added.first else {
            throw SchedulerError.internal(message: "Redis answered nothing for task \(task.id)", redisAway: false)
        }
        return submission
    }

    /// Adds all the tasks, or none, and therefore in one partition of the queue. More than ``tasksPerCall`` are brought in
    /// parts that nobody sees before the last has arrived; they enter the queue in steps.
    /// - Parameters:
    ///   - batch: an id under which they are followed as one; nil for none, or a random one where one is needed: it is
    ///     in the tasks that are answered.
    ///   - onComplete: a task that runs once when all the others have ended, however.
    ///   - wantsPosition: one task by itself is answered with its place in line.
    /// - Throws: as ``addTask(_:rejectIfNoWorkers:)``; the message names the task, or the cycle that dependencies form.
    public func addTasks(
        _ tasks: [QueuedTask], batch: String? = nil, onComplete: QueuedTask? = nil, rejectIfNoWorkers: Bool = false,
        wantsPosition: Bool = false
    ) async throws -> [Submission] {
        var prepared: [QueuedTask] = []
        prepared.reserveCapacity(tasks.count)
        for task in tasks { prepared.append(try await self.prepared(task)) }
        let isInParts = !Self.fitsOneCall(tasks)
        let needsBatch = onComplete != nil || isInParts
        let batch =
            try batch.map { try Name.validate($0, field: "batch_id") }
            ?? (needsBatch ? QueuedTask.randomID() : nil)

        var head: [RedisArgument] = batch.map { ["batch", .string($0)] } ?? []
        if rejectIfNoWorkers { head += ["if_no_workers", "reject"] }
        var everything = prepared
        var followUp: [RedisArgument] = []
        if let onComplete {
            let task = try await self.prepared(onComplete)
            followUp = ["on_complete", .string(try task.template(field: "on_complete"))]
            everything.append(task)
        }

        let partition = try await partition(for: everything, name: batch ?? tasks.first?.id ?? "")
        try await checkNames(everything, batch: batch, goingTo: partition)
        do {
            guard let batch, isInParts else {
                if wantsPosition, tasks.count == 1 { head += ["position", "1"] }
                return try await functions[partition].submit(prepared, head: head + followUp, batch: batch)
            }
            return try await functions[partition].submitInParts(prepared, head: head, followUp: followUp, batch: batch)
        } catch SchedulerError.queueFull(let message) where partitions.count > 1 {
            throw SchedulerError.queueFull(
                message: "\(message) (partition \(partition) of \(partitions.count): each takes its share of "
                    + "max_queue_length)")
        }
    }

    /// The task with its priority decided, its names and options checked, and a token by which its repetition is known.
    private func prepared(_ task: QueuedTask) async throws -> QueuedTask {
        var task = task
        task.id = try Name.validate(task.id, field: "id")
        task.scheduling = try task.scheduling.checked()
        if task.requestToken == nil { task.requestToken = QueuedTask.randomID() }
        if task.priority == nil {
            let isComplex = task.request.args.count >= policy.manyArguments
            let load = isComplex ? try await load.current(of: self) : 0
            let decision = policy.decide(task.request, load: load)
            task.priority = decision.priority
            task.priorityReason = decision.reason
        } else if task.priorityReason == nil {
            task.priorityReason = QueuedTask.givenReason
        }
        return task
    }
}

extension QueueFunctions {
    /// One call of the function.
    fileprivate func submit(
        _ tasks: [QueuedTask], head: [RedisArgument], batch: String?
    ) async throws -> [SchedulerHandle.Submission] {
        var arguments = head
        // A plain task has ten pairs.
        arguments.reserveCapacity(head.count + 20 * tasks.count)
        for task in tasks { task.write(to: &arguments) }
        let reply = try await call("submit", arguments)
        guard let entries = reply.array, entries.count == tasks.count else {
            throw SchedulerError.internal(message: "switchyard_submit answered \(reply)", redisAway: false)
        }
        return zip(tasks, entries).map { task, entry in
            var task = task
            let fields = entry.array ?? []
            let how = fields.count > 4 ? fields[4].string : nil
            task.state = fields.count > 1 ? fields[1].string.flatMap(TaskState.init) ?? .pending : .pending
            let position = fields.count > 3 ? fields[3].int ?? -1 : -1
            task.position = position < 0 ? nil : Int(position)
            task.batch = batch
            if how == "unique", let id = fields[0].string {
                task.id = id
                task.batch = nil
            }
            return SchedulerHandle.Submission(
                task: task, wokeWorker: fields.count > 2 && fields[2].string == "woken",
                isRepetition: how == "repeated", isDuplicate: how == "unique")
        }
    }

    /// Stages the tasks in parts, each after those that it depends on, and opens the batch. What was staged is deleted
    /// when a part is refused; when that fails too, a tick deletes it half a minute later.
    fileprivate func submitInParts(
        _ tasks: [QueuedTask], head: [RedisArgument], followUp: [RedisArgument], batch: String
    ) async throws -> [SchedulerHandle.Submission] {
        let parts = Self.parts(of: try DependencyOrder.order(of: tasks), tasks)
        do {
            return try await stageAndOpen(tasks, parts, head: head, followUp: followUp, batch: batch)
        } catch SchedulerError.taskNotFound {
            // Half a minute went by between two parts, and a tick has deleted what came before.
            return try await stageAndOpen(tasks, parts, head: head, followUp: followUp, batch: batch)
        }
    }

    private func stageAndOpen(
        _ tasks: [QueuedTask], _ parts: [[Int]], head: [RedisArgument], followUp: [RedisArgument], batch: String
    ) async throws -> [SchedulerHandle.Submission] {
        let stage = Self.stageToken(of: tasks)
        let name: [RedisArgument] = ["batch", .string(batch), "stage", .string(stage)]
        var submissions: [Int: SchedulerHandle.Submission] = [:]
        submissions.reserveCapacity(tasks.count)
        do {
            for (number, part) in parts.enumerated() {
                let head =
                    head + ["stage", .string(stage), "part", .integer(Int64(number))] + (number == 0 ? followUp : [])
                let added = try await submit(part.map { tasks[$0] }, head: head, batch: batch)
                for (index, submission) in zip(part, added) { submissions[index] = submission }
            }
            // Of a repetition everything is there already; else its tasks enter the queue by these calls.
            if submissions.values.contains(where: { !$0.isRepetition }) {
                let open = name + ["parts", .integer(Int64(parts.count))]
                while let left = try await call("open_batch", open).int, left > 0 {}
            }
        } catch {
            await abandon(name)
            throw error
        }
        return tasks.indices.compactMap { submissions[$0] }
    }

    /// The name of a stage is derived from what is staged, so that the same submission, made again after its replica died,
    /// takes over what stands there.
    private static func stageToken(of tasks: [QueuedTask]) -> String {
        var digest = ContentDigest()
        for task in tasks {
            var content = task
            content.requestToken = nil
            for argument in content.submission { digest.update("\(argument)\n") }
        }
        return digest.hex
    }

    /// The tasks in `order`, cut into parts that one call takes.
    private static func parts(of order: [Int], _ tasks: [QueuedTask]) -> [[Int]] {
        var parts: [[Int]] = [[]]
        var dependencies = 0
        var bytes = 0
        for index in order {
            let task = tasks[index]
            dependencies += task.scheduling.dependsOn.count
            bytes += task.longBytes
            let isFull =
                parts[parts.count - 1].count == SchedulerHandle.specialTasksPerCall
                || dependencies > SchedulerHandle.dependenciesPerCall || bytes > SchedulerHandle.bytesPerCall
            if isFull, !parts[parts.count - 1].isEmpty {
                parts.append([])
                dependencies = task.scheduling.dependsOn.count
                bytes = task.longBytes
            }
            parts[parts.count - 1].append(index)
        }
        return parts
    }

    /// Deletes the parts of a batch that was not opened. Does nothing to one that was.
    private func abandon(_ name: [RedisArgument]) async {
        // A cancelled task cannot send. What cannot be deleted now, a tick deletes soon; the caller is told why the
        // submission failed, which is the error that matters.
        await Task {
            while let deleted = try? await call("abandon_batch", name).int, deleted > 0 {
            }
        }.value
    }
}

extension QueuedTask {
    /// Bytes of what may be long.
    fileprivate var longBytes: Int {
        (request.payload?.readableBytes ?? 0) + request.args.reduce(0) { $0 + $1.utf8.count }
            + request.command.reduce(0) { $0 + $1.utf8.count }
            + request.environment.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    }
}

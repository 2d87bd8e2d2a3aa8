import Foundation
import NIOCore
import RedisClient

// Submissions of one task, or of many, all or none.

extension SchedulerHandle {
    /// The outcome of submitting one task.
    public struct Submission: Sendable, Equatable {
        /// The task. If its unique key is taken, its id and state are those of the task that has the key.
        public var task: QueuedTask
        /// Whether a worker was woken for the task.
        public var wokeWorker: Bool
        /// True if the same submission was made before. Nothing was added.
        public var isRepetition: Bool
        /// True if another task has its unique key. Nothing was added.
        public var isDuplicate: Bool
        /// Whether as many Redis replicas as the submission or its queue asked for have the task; nil if it asked for
        /// none. If false, the task is in the queue all the same.
        public var isReplicated: Bool?
        /// Whether the task was added.
        public var isNew: Bool { !isRepetition && !isDuplicate }
    }

    /// The maximum number of tasks without scheduling options in one call. More are submitted in parts. Such a call
    /// blocks Redis for about 4 ms.
    public static let tasksPerCall = 500
    /// The maximum number of tasks in one call if any of them has scheduling options, and in each part: such a task
    /// costs Redis up to three times as much.
    static let optionTasksPerCall = 50

    /// The maximum number of dependencies of all tasks in one call.
    static let dependenciesPerCall = 500
    /// The maximum number of bytes in the long fields of all tasks in one call.
    static let bytesPerCall = 1 << 20

    /// Whether one call can submit all the tasks.
    private static func fitsOneCall(_ tasks: [QueuedTask]) -> Bool {
        let none = SchedulingOptions()
        let most = tasks.contains { $0.scheduling != none } ? optionTasksPerCall : tasksPerCall
        guard tasks.count <= most else { return false }
        if tasks.count <= 1 { return true }
        return tasks.reduce(0) { $0 + $1.scheduling.dependsOn.count } <= dependenciesPerCall
            && tasks.reduce(0) { $0 + $1.longBytes } <= bytesPerCall
    }

    /// Submits a task. A repetition with the same request token, after a lost reply, adds nothing.
    /// - Parameter replicasToWait: how many Redis replicas should have the task before the call returns; nil: as many
    ///   as the queue's setting `replicas_to_wait` says.
    /// - Throws: `queueFull`, `queueDraining`, `taskExists`, `noWorkers`, `invalidInput`.
    public func addTask(
        _ task: QueuedTask, rejectIfNoWorkers: Bool = false, replicasToWait: Int? = nil
    ) async throws -> Submission {
        let added = try await addTasks(
            [task], rejectIfNoWorkers: rejectIfNoWorkers, replicasToWait: replicasToWait, wantsPosition: true)
        guard let submission = added.first else {
            throw SchedulerError.internal(message: "Redis returned nothing for task \(task.id)", redisAway: false)
        }
        return submission
    }

    /// Submits all the tasks, or none. All go to one partition of the queue.
    ///
    /// Tasks that do not fit one call are staged in parts. They are invisible until all parts have arrived, and then
    /// enter the queue in steps.
    /// - Parameters:
    ///   - batch: the id of a batch that the tasks form. Nil: no batch or, if one is needed for a follow-up task or for
    ///     parts, one with a random id, which the returned tasks have.
    ///   - onComplete: the follow-up task. It runs once, when all the others have ended in any state, and is told the
    ///     batch's id, its counts, and which tasks ended without success, in its environment and its payload.
    ///   - onCompleteAgain: whether the follow-up task runs each time that the batch ends, also after a retry. The
    ///     second has the id of the first with `-2`, and so on.
    ///   - replicasToWait: how many Redis replicas should have the tasks before the call returns; it waits for them at
    ///     most a second. Nil: as many as the queue's setting `replicas_to_wait` says.
    ///   - wantsPosition: whether a single task is returned with its position in line.
    /// - Throws: the errors of ``addTask(_:rejectIfNoWorkers:replicasToWait:)``. The message names the task, or the
    ///   cycle that the dependencies form.
    public func addTasks(
        _ tasks: consuming [QueuedTask], batch: String? = nil, onComplete: QueuedTask? = nil,
        onCompleteAgain: Bool = false, rejectIfNoWorkers: Bool = false, replicasToWait: Int? = nil,
        wantsPosition: Bool = false
    ) async throws -> [Submission] {
        // In place if the caller keeps no reference: a batch may have very many tasks.
        var prepared = consume tasks
        for index in prepared.indices { prepared[index] = try await self.prepared(prepared[index]) }
        let isInParts = !Self.fitsOneCall(prepared)
        let needsBatch = onComplete != nil || isInParts
        let batch =
            try batch.map { try Name.validate($0, field: "batch_id") }
            ?? (needsBatch ? QueuedTask.randomID() : nil)

        var head: [RedisArgument] = batch.map { ["batch", .string($0)] } ?? []
        if rejectIfNoWorkers { head += ["if_no_workers", "reject"] }
        var followUpTask: QueuedTask?
        var followUp: [RedisArgument] = []
        if let onComplete {
            let task = try await self.prepared(onComplete)
            followUp = ["on_complete", .string(try task.template(field: "on_complete"))]
            if onCompleteAgain { followUp += ["on_complete_again", "1"] }
            followUpTask = task
        }

        try await announceExisting()
        let added = try await add(
            prepared, followUpTask, head: head, followUp: followUp, batch: batch, isInParts: isInParts,
            replicasToWait: replicasToWait, wantsPosition: wantsPosition)
        try await announceOnce()
        return added
    }

    private func add(
        _ prepared: [QueuedTask], _ followUpTask: QueuedTask?, head: [RedisArgument], followUp: [RedisArgument],
        batch: String?, isInParts: Bool, replicasToWait: Int?, wantsPosition: Bool
    ) async throws -> [Submission] {
        var head = head
        let partition: Int
        do {
            let everything = prepared + (followUpTask.map { [$0] } ?? [])
            partition = try await self.partition(for: everything, name: batch ?? prepared.first?.id ?? "")
            try await checkNames(everything, batch: batch, goingTo: partition)
        }
        let replicas = try await self.replicasToWait(replicasToWait, in: partition)
        do {
            guard let batch, isInParts else {
                if wantsPosition, prepared.count == 1 { head += ["position", "1"] }
                return try await functions[partition].submit(
                    prepared, head: head + followUp, batch: batch, replicas: replicas)
            }
            return try await functions[partition].submitInParts(
                prepared, head: head, followUp: followUp, batch: batch, replicas: replicas)
        } catch SchedulerError.queueFull(let message) {
            var message = message
            if isInParts, let whole = try await functions[partition].refusal(ofAll: prepared) { message = whole }
            guard partitions.count > 1 else { throw SchedulerError.queueFull(message: message) }
            throw SchedulerError.queueFull(
                message: "\(message) (partition \(partition) of \(partitions.count): each takes its share of "
                    + "max_queue_length)")
        }
    }

    /// Returns the task with checked names and options, a priority, and a request token.
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
    /// Submits the tasks in one call.
    fileprivate func submit(
        _ tasks: [QueuedTask], head: [RedisArgument], batch: String?, replicas: Int = 0
    ) async throws -> [SchedulerHandle.Submission] {
        var arguments = head
        // A task without scheduling options has about ten pairs.
        arguments.reserveCapacity(head.count + 20 * tasks.count)
        for task in tasks { task.write(to: &arguments) }
        let (reply, isReplicated) = try await call("submit", arguments, replicas: replicas)
        guard let entries = reply.array, entries.count == tasks.count else {
            throw SchedulerError.internal(message: "switchyard_submit returned \(reply)", redisAway: false)
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
                isRepetition: how == "repeated", isDuplicate: how == "unique", isReplicated: isReplicated)
        }
    }

    /// Returns why a batch in parts can never fit; nil if it could. The function was called with one part, and knows
    /// only that. A task with a unique key may need no room.
    fileprivate func refusal(ofAll tasks: [QueuedTask]) async throws -> String? {
        let count = tasks.count { $0.scheduling.uniqueKey == nil }
        guard let limit = try await configure([])[SchedulerHandle.lengthLimit], count > limit else { return nil }
        return
            "queue \(keys.queue) can never hold the \(count) tasks of this submission: its limit is \(limit); submit "
            + "fewer at a time, or raise max_queue_length"
    }

    /// Stages the tasks in parts, each task after its dependencies, and opens the batch. If a part is refused, the
    /// stage is deleted. If that fails too, a tick deletes it half a minute later.
    fileprivate func submitInParts(
        _ tasks: [QueuedTask], head: [RedisArgument], followUp: [RedisArgument], batch: String, replicas: Int
    ) async throws -> [SchedulerHandle.Submission] {
        let parts = Self.parts(of: try DependencyOrder.order(of: tasks), tasks)
        do {
            return try await stageAndOpen(
                tasks, parts, head: head, followUp: followUp, batch: batch, replicas: replicas)
        } catch SchedulerError.taskNotFound {
            // More than half a minute passed between two parts, and a tick has deleted the stage; or another primary
            // has only some of the parts.
            return try await stageAndOpen(
                tasks, parts, head: head, followUp: followUp, batch: batch, replicas: replicas)
        }
    }

    private func stageAndOpen(
        _ tasks: [QueuedTask], _ parts: [[Int]], head: [RedisArgument], followUp: [RedisArgument], batch: String,
        replicas: Int
    ) async throws -> [SchedulerHandle.Submission] {
        let stage = Self.stageToken(of: tasks)
        let name: [RedisArgument] = ["batch", .string(batch), "stage", .string(stage)]
        // In the order of the tasks, in which the parts need not come.
        var submissions = tasks.map {
            SchedulerHandle.Submission(task: $0, wokeWorker: false, isRepetition: false, isDuplicate: false)
        }
        do {
            for (number, part) in parts.enumerated() {
                let head =
                    head + ["stage", .string(stage), "part", .integer(Int64(number))] + (number == 0 ? followUp : [])
                let added = try await submit(part.map { tasks[$0] }, head: head, batch: batch)
                for (index, submission) in zip(part, added) { submissions[index] = submission }
            }
            do {
                // If all tasks are repetitions, they exist already. Otherwise these calls add them to the queue.
                if submissions.contains(where: { !$0.isRepetition }) {
                    let open = name + ["parts", .integer(Int64(parts.count))]
                    while let left = try await call("open_batch", open).int, left > 0 {}
                }
                if replicas > 0 {
                    // A server that has the open batch has its parts too: they came before it.
                    let reply = try await call("batch", ["batch", .string(batch)], replicas: replicas)
                    for index in submissions.indices { submissions[index].isReplicated = reply.isReplicated }
                }
            } catch let error as SchedulerError {
                // A call before may have opened the batch.
                throw error.afterAnEffect
            }
        } catch {
            await abandon(name)
            throw error
        }
        return submissions
    }

    /// Returns the token of a stage. It is derived from the content, so that a submission that is repeated after its
    /// replica died continues the same stage.
    private static func stageToken(of tasks: [QueuedTask]) -> String {
        var digest = ContentDigest()
        for task in tasks {
            var content = task
            content.requestToken = nil
            for argument in content.submission { digest.update("\(argument)\n") }
        }
        return digest.hex
    }

    /// Returns the indices in `order`, split into parts that fit one call.
    private static func parts(of order: [Int], _ tasks: [QueuedTask]) -> [[Int]] {
        var parts: [[Int]] = [[]]
        var dependencies = 0
        var bytes = 0
        for index in order {
            let task = tasks[index]
            dependencies += task.scheduling.dependsOn.count
            bytes += task.longBytes
            let isFull =
                parts[parts.count - 1].count == SchedulerHandle.optionTasksPerCall
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

    /// Deletes the stage of a batch. Does nothing if the batch was opened.
    private func abandon(_ name: [RedisArgument]) async {
        // A new Swift task, because a cancelled one cannot send. An error is ignored: a tick deletes the stage soon,
        // and the caller gets the error that made the submission fail.
        await Task {
            while let deleted = try? await call("abandon_batch", name).int, deleted > 0 {
            }
        }.value
    }
}

extension QueuedTask {
    /// The number of bytes in the fields that may be long.
    fileprivate var longBytes: Int {
        (request.payload?.readableBytes ?? 0) + request.args.reduce(0) { $0 + $1.utf8.count }
            + request.command.reduce(0) { $0 + $1.utf8.count }
            + request.environment.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    }
}

import Switchyard

/// How tasks enter the queue.
extension ModelQueue {
    /// The reply to a submission: the code of an error, or a result for each task.
    enum Answer: Equatable {
        case refused(String)
        case accepted([Place])
    }

    /// The result for one task: the id of the task that stands for it, its state, whether a worker was woken for it,
    /// its position in its lane (-1: none, or the call did not ask), and whether it is new.
    struct Place: Equatable {
        var id: String
        var state = "pending"
        var woken = "queued"
        var position = -1
        var kind = "new"
    }

    /// - Parameters:
    ///   - stage: The token under which the tasks are staged; nil: they enter the queue.
    ///   - before: The virtual times before the call; those of `tenants` are the ones after it.
    ///   - tags: The tag that Redis gave each new task; the model checks it.
    mutating func submit(
        _ submission: [ModelTask], stage: String? = nil, before: [TaskPriority: Double] = [:], tags: (String) -> Double?
    ) -> (answer: Answer, misplaced: [String]) {
        if Set(submission.map(\.id)).count < submission.count { return (.refused("BADREQUEST"), []) }
        if let stage, stages[stage]?.isBroken == true {
            stages[stage] = nil
            return (.refused("TASKEXISTS"), [])
        }
        if let answer = answerIfKnown(submission) { return (answer, []) }
        let same = equalTasks(submission, stage: stage)
        let fresh = submission.filter { same[$0.id] == nil }
        let staged = stage.flatMap { stages[$0]?.tasks.count } ?? 0
        let known = Set(stage.flatMap { stages[$0]?.tasks.map(\.id) } ?? [])
        let more = fresh.filter { !known.contains($0.id) }.count
        if more > 0, pendingCount + staged + more > settings.maxQueueLength {
            counts["queue_full_errors", default: 0] += 1
            return (.refused("QUEUEFULL"), [])
        }
        breakStages(submission, own: stage)
        // Two dependencies may be the same task: it is waited for once.
        let made = fresh.map { task in
            var task = task
            task.dependencies = task.dependencies.reduce(into: []) { list, id in
                let other = same[id] ?? id
                if !list.contains(other) { list.append(other) }
            }
            return task
        }
        if let stage {
            self.stage(made, token: stage, batch: submission.first?.batch ?? "")
            return (.accepted(submission.map { Place(id: same[$0.id] ?? $0.id) }), [])
        }
        if let batch = submission.first?.batch { members[batch] = made.map(\.id) }
        var misplaced: [String] = []
        let waits = waits(of: made, staged: [])
        for task in made {
            let found = tags(task.id) ?? -1
            let problem = enter(task, waits[task.id] ?? .nothing, tag: found, isNow: true, before: before)
            if let problem { misplaced.append(problem) }
        }
        endCall()
        forgetDependentsOfEnded()
        return (.accepted(places(of: submission, same)), misplaced)
    }

    /// What a new task waits for, or that it never runs because a dependency has not succeeded.
    enum Wait: Equatable {
        case nothing, broken
        case others([String])
    }

    /// - Parameter staged: Tasks that will enter the queue with these.
    func waits(of fresh: [ModelTask], staged: Set<String>) -> [String: Wait] {
        var waits: [String: Wait] = [:]
        for task in inDependencyOrder(fresh) {
            var open: [String] = []
            var isBroken = false
            for other in task.dependencies {
                let state: TaskState =
                    if fresh.contains(where: { $0.id == other }) {
                        waits[other] == .broken ? .cancelled : .pending
                    } else if staged.contains(other) {
                        .pending
                    } else {
                        tasks[other]?.state ?? .cancelled
                    }
                if state == .completed { continue }
                if !state.isTerminal { open.append(other) } else if !task.runAnyway { isBroken = true }
            }
            waits[task.id] = isBroken ? .broken : open.isEmpty ? .nothing : .others(open)
        }
        return waits
    }

    /// A new task enters the queue.
    /// - Parameters:
    ///   - tag: The tag that Redis gave it.
    ///   - isNow: Its tag is the time of this call, later than that of the task before by no more than the run has
    ///     taken.
    /// - Returns: What is wrong with its tag, or nil.
    mutating func enter(
        _ new: ModelTask, _ wait: Wait, tag found: Double, isNow: Bool, before: [TaskPriority: Double] = [:]
    ) -> String? {
        var task = new
        var problem: String?
        task.submittedAt = now
        task.attempt = tombstones[task.id]?.attempt ?? 0
        if task.request == task.id { task.request = nil }
        task.tag = found
        if tenants.isFair {
            if isNow {
                let level = task.priority
                problem = tenants.place(
                    task, tag: found, before: before[level], after: tenants.virtualTime[level])
            } else {
                unplaced.append(task.id)
            }
        } else if isNow {
            if let lastTag, found <= lastTag || found > lastTag + 1e9 {
                problem = "task \(task.id) has the tag \(found), after \(lastTag)"
            }
            lastTag = found
        }
        let due = task.delay.map { now + $0 }
        task.runAt = due
        switch wait {
        case .broken: add(task, state: .cancelled)
        case .others(let open):
            task.dependenciesLeft = open.count
            add(task, state: .pending, heldBy: "dependencies")
            for other in open where dependents[other]?.contains(task.id) != true {
                dependents[other, default: []].append(task.id)
            }
        case .nothing:
            task.due = due ?? 0
            add(task, state: .pending, heldBy: due == nil ? nil : "schedule")
        }
        return problem
    }

    mutating func forgetDependentsOfEnded() {
        for (key, list) in dependents where tasks[key]?.state.isTerminal ?? false && !list.isEmpty {
            dependents[key] = nil
        }
    }

    /// The reply to a submission with ids that already exist: the same reply again if it is a repetition, an error if
    /// it is not. Nil if none exists.
    private func answerIfKnown(_ submission: [ModelTask]) -> Answer? {
        if submission.contains(where: { task in batchWork.contains { $0.unopened.contains { $0.id == task.id } } }) {
            return .refused("TASKEXISTS")
        }
        let known = submission.compactMap { tasks[$0.id] }
        if known.isEmpty {
            guard let batch = submission.first?.batch else { return nil }
            let isTaken = tasks.values.contains { $0.batch == batch } || !unopened(batch).isEmpty
            return isTaken ? .refused("TASKEXISTS") : nil
        }
        let isRepeated =
            known.count == submission.count
            && submission.allSatisfy { $0.request != nil && tasks[$0.id]?.request ?? $0.id == $0.request }
        guard isRepeated else { return .refused("TASKEXISTS") }
        return .accepted(known.map { Place(id: $0.id, state: $0.state.rawValue, kind: "repeated") })
    }

    private func places(of submission: [ModelTask], _ same: [String: String]) -> [Place] {
        var ready = 0
        return submission.map { task in
            if let other = same[task.id] { return Place(id: other, kind: "unique") }
            var place = Place(id: task.id, state: tasks[task.id]?.state.rawValue ?? "")
            guard tasks[task.id]?.isInLine ?? false else { return place }
            ready += 1
            place.woken = ready <= woken ? "woken" : "queued"
            place.position = line(task.lane).firstIndex { $0.id == task.id } ?? -1
            return place
        }
    }

    /// The live task that has a unique key, or that an opened batch will add; a completed task may keep its key.
    func holder(of key: String) -> String? {
        if let task = batchWork.lazy.flatMap(\.unopened).first(where: { $0.uniqueKey == key }) { return task.id }
        guard let holder = unique[key]?.id, let state = tasks[holder]?.state, !state.isTerminal || state == .completed
        else { return nil }
        return holder
    }

    /// For each task whose unique key is taken, the task that has the key.
    private func equalTasks(_ submission: [ModelTask], stage: String?) -> [String: String] {
        var same: [String: String] = [:]
        var taken: [String: String] = [:]
        for task in submission {
            guard let key = task.uniqueKey else { continue }
            let staged = stage.flatMap { stages[$0]?.tasks.first { $0.uniqueKey == key }?.id }
            if let first = taken[key] ?? staged ?? holder(of: key), first != task.id {
                same[task.id] = first
            } else {
                taken[key] = task.id
            }
        }
        return same
    }

    /// Each task after those of the same submission that it depends on.
    private func inDependencyOrder(_ tasks: [ModelTask]) -> [ModelTask] {
        var left = tasks
        var order: [ModelTask] = []
        while let index = left.firstIndex(where: { task in
            !task.dependencies.contains { other in left.contains { $0.id == other } }
        }) {
            order.append(left.remove(at: index))
        }
        return order + left
    }
}

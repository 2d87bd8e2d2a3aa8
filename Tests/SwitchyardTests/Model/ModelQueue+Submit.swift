import Switchyard

/// How tasks come into the queue.
extension ModelQueue {
    /// How a submission is answered: an error's code, or something for each task.
    enum Answer: Equatable {
        case refused(String)
        case accepted([Place])
    }

    /// What became of one task: the id that answers it, its state, whether a worker was woken for it, its place in line
    /// (-1: none, or nobody asked), and whether it is new.
    struct Place: Equatable {
        var id: String
        var state = "pending"
        var woken = "queued"
        var position = -1
        var kind = "new"
    }

    /// - Parameters:
    ///   - delays: by id, in ms.
    ///   - places: where Redis put each new task; the model has checked, or checks, that this is right.
    mutating func submit(
        _ submission: [ModelTask], delays: [String: Int], places: (String) -> Double?
    ) -> (answer: Answer, misplaced: [String]) {
        if Set(submission.map(\.id)).count < submission.count { return (.refused("BADREQUEST"), []) }
        if let answer = answerIfKnown(submission) { return (answer, []) }
        let same = equalTasks(submission)
        let fresh = submission.filter { same[$0.id] == nil }
        if !fresh.isEmpty, pendingCount + fresh.count > settings.maxQueueLength {
            counts["queue_full_errors", default: 0] += 1
            return (.refused("QUEUEFULL"), [])
        }
        var broken: Set<String> = []
        var waitsFor: [String: [String]] = [:]
        for task in inDependencyOrder(fresh) {
            for other in Set(task.dependencies.map { same[$0] ?? $0 }) {
                let isNew = fresh.contains { $0.id == other }
                let state = isNew ? (broken.contains(other) ? .cancelled : .pending) : tasks[other]?.state ?? .cancelled
                if state == .completed { continue }
                if !state.isTerminal {
                    waitsFor[task.id, default: []].append(other)
                } else if !task.runAnyway {
                    broken.insert(task.id)
                }
            }
        }
        var misplaced: [String] = []
        for var task in fresh {
            // Two may stand for the same task: it is waited for once.
            task.dependencies = task.dependencies.reduce(into: []) { list, id in
                let other = same[id] ?? id
                if !list.contains(other) { list.append(other) }
            }
            task.submittedAt = now
            if task.request == task.id { task.request = nil }
            task.place = places(task.id) ?? -1
            if let expected = startPlace(task), expected != task.place {
                misplaced.append("task \(task.id) has place \(task.place), expected \(expected)")
            }
            if !settings.isFair {
                // The time of submission: later than that of the one before, by no more than the run has taken.
                let tag = task.place - Double(task.priority.level) * settings.width
                if let lastTag, tag <= lastTag || tag > lastTag + 1e9 {
                    misplaced.append("task \(task.id) has the tag \(tag), after \(lastTag)")
                }
                lastTag = tag
            }
            let due = delays[task.id].map { now + $0 }
            task.runAt = due
            let open = waitsFor[task.id] ?? []
            if broken.contains(task.id) {
                add(task, state: .cancelled)
            } else if !open.isEmpty {
                task.dependenciesLeft = open.count
                add(task, state: .pending, heldBy: "dependencies")
                for other in open { dependents[other, default: []].append(task.id) }
            } else if let due {
                task.due = due
                add(task, state: .pending, heldBy: "schedule")
            } else {
                add(task, state: .pending)
            }
        }
        endCall(wakes: true)
        for (key, list) in dependents where tasks[key]?.state.isTerminal ?? true && !list.isEmpty {
            dependents[key] = nil
        }
        return (.accepted(answers(to: submission, same)), misplaced)
    }

    /// The answer to a submission of which something is there already: the same again if it is a repetition, an error if
    /// it is not.
    private func answerIfKnown(_ submission: [ModelTask]) -> Answer? {
        let known = submission.compactMap { tasks[$0.id] }
        if known.isEmpty {
            let batch = submission.first?.batch
            let isTaken = batch != nil && tasks.values.contains { $0.batch == batch }
            return isTaken ? .refused("TASKEXISTS") : nil
        }
        let isRepeated =
            known.count == submission.count
            && submission.allSatisfy { $0.request != nil && tasks[$0.id]?.request ?? $0.id == $0.request }
        guard isRepeated else { return .refused("TASKEXISTS") }
        return .accepted(known.map { Place(id: $0.id, state: $0.state.rawValue, kind: "repeated") })
    }

    private func answers(to submission: [ModelTask], _ same: [String: String]) -> [Place] {
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

    /// Of each task whose unique key is taken: the task that has it.
    private func equalTasks(_ submission: [ModelTask]) -> [String: String] {
        var same: [String: String] = [:]
        var taken: [String: String] = [:]
        for task in submission {
            guard let key = task.uniqueKey else { continue }
            if let first = taken[key] {
                same[task.id] = first
            } else if let holder = unique[key]?.id, let state = tasks[holder]?.state,
                !state.isTerminal || state == .completed
            {
                same[task.id] = holder
            } else {
                taken[key] = task.id
            }
        }
        return same
    }

    /// Each after those of the submission that it depends on.
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

    /// Start-time fair queueing: the later of the virtual time and the end of the tenant's task before. Nil when only
    /// Redis knows: the time of submission.
    private mutating func startPlace(_ task: ModelTask) -> Double? {
        guard settings.isFair else { return nil }
        let base = Double(task.priority.level) * settings.width
        let level = virtualTime[task.priority]
        if level == nil { virtualTime[task.priority] = task.place - base }
        let tag = max(
            virtualTime[task.priority] ?? 0, finishTags[task.priority]?[task.fairnessKey] ?? 0)
        let length = max(1, (1000 / task.fairnessWeight).rounded(.down))
        finishTags[task.priority, default: [:]][task.fairnessKey] = tag + length
        return base + tag
    }
}

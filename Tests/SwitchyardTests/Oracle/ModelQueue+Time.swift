import Switchyard

/// Time that passes changes nothing until a tick.
extension ModelQueue {
    mutating func age(by milliseconds: Int) {
        now += milliseconds
        lastTag = nil
        let shift = Double(milliseconds) * 1000
        for id in tasks.keys { tasks[id]?.tag -= shift }
        for index in batchWork.indices { batchWork[index].tag -= shift }
        tenants.age(by: shift)
        unique = unique.filter { $0.value.expires.map { $0 > now } ?? true }
        tombstones = tombstones.filter { $0.value.expires > now }
    }

    /// A tick without the clean-up of ended tasks, which is `forgetOverdue`: only Redis knows the order of tasks that
    /// ended at the same time.
    mutating func tick() {
        let before = line("").count
        let expired = tasks.values.filter { $0.isLive && $0.leaseEnds <= now }
        let lost = workers.values.filter { $0.expires <= now }
        let due = tasks.values.filter {
            $0.state == .pending && $0.due <= now && ["schedule", "retry"].contains($0.heldBy ?? "")
        }
        for task in expired {
            if task.state == .running, (task.startedAt ?? 0) + task.timeout <= now {
                endAttempt(task.id, outcome: "timeout", isTold: !lost.contains { $0.id == task.worker })
            } else {
                loseAttempt(task.id)
            }
        }
        for worker in lost {
            for task in held(by: worker.id) { loseAttempt(task.id) }
            endEndings(of: worker.id)
            workers[worker.id] = nil
        }
        for task in tasks.values where (task.ending?.until ?? .max) <= now { endEnding(task.id) }
        for task in due where !moved.contains(task.id) { move(task.id, to: .pending) }
        endCall()
        _ = wake(for: before)
    }

    /// The end of a tick: a step of the first batch in `batchWork`, and the deletion of stages that nobody opened in
    /// time.
    mutating func endTick() {
        stepBatches(limit: 1000)
        for (token, stage) in stages where stage.deadline <= now { stages[token] = nil }
    }

    /// Deletes the ended tasks that a clean-up deletes; those beyond `maxFinished` only if no task's retention is over.
    /// - Parameter gone: The tasks that Redis has deleted.
    /// - Returns: What is wrong with these, or nil.
    mutating func forgetOverdue(gone: Set<String>) -> String? {
        let ended = tasks.values.filter(\.state.isTerminal)
        func isKept(_ task: ModelTask) -> Bool {
            if task.ending != nil { return true }
            return task.uniqueKey.map { unique[$0]?.id == task.id } ?? false
        }
        // A clean-up that found too many ended tasks has given these the first positions, due when their unique keys
        // expire.
        if !gone.isEmpty, hasLimitedEnded,
            gone.allSatisfy({ id in tasks[id].map { $0.uniqueFor != nil && !isKept($0) } ?? false })
        {
            for id in gone { forget(id) }
            return nil
        }
        var overdue = ended.filter { $0.finishedAt + settings.retention <= now }
        let excess = settings.maxFinished == 0 ? 0 : max(0, ended.count - settings.maxFinished)
        if overdue.isEmpty, excess > 0 {
            let deleted = ended.filter { gone.contains($0.id) }
            // A task that kept its unique key when an earlier clean-up examined it is behind all others since then,
            // also after the key has expired.
            let oldest =
                ended.filter { !gone.contains($0.id) && !isKept($0) && $0.uniqueFor == nil }
                .map(\.finishedAt).min() ?? .max
            if let wrong = deleted.first(where: { $0.finishedAt > oldest }) {
                return "task \(wrong.id) is deleted, and one that ended before it is kept"
            }
            let protected = ended.filter(isKept).count
            if deleted.count > excess || deleted.count < excess - protected {
                return "\(deleted.count) ended tasks are deleted, and there are \(excess) too many"
            }
            overdue = deleted
        }
        overdue.removeAll(where: isKept)
        let expected = Set(overdue.map(\.id))
        if expected != gone { return "deleted are \(gone.sorted()), expected \(expected.sorted())" }
        for id in gone { forget(id) }
        return nil
    }
}

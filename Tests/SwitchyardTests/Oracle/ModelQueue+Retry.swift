import Switchyard

/// Ended tasks that a person retries.
extension ModelQueue {
    /// Returns for each task, in order: `pending`, or the code of an error.
    mutating func retry(_ ids: [String]) -> [String] {
        var refused: [String: String] = [:]
        var chosen: [String] = []
        var keys: Set<String> = []
        for id in ids {
            guard let task = tasks[id] else {
                refused[id] = "TASKNOTFOUND"
                continue
            }
            if task.state == .completed || !task.state.isTerminal {
                refused[id] = "INVALIDSTATE"
            } else if let key = task.uniqueKey, keys.contains(key) || (holder(of: key) ?? id) != id {
                refused[id] = "TASKEXISTS"
            } else {
                if let key = task.uniqueKey { keys.insert(key) }
                chosen.append(id)
            }
        }
        // If a task is refused, those that depend on it may be refused too.
        while let id = chosen.first(where: { !mayRun($0, again: chosen) }) {
            refused[id] = "INVALIDSTATE"
            chosen.removeAll { $0 == id }
        }
        breakStages(chosen.compactMap { tasks[$0] })
        let open = Dictionary(uniqueKeysWithValues: chosen.map { ($0, awaited($0, again: chosen)) })
        for id in chosen { retry(id, awaiting: open[id] ?? []) }
        endCall()
        return ids.map { refused[$0] ?? "pending" }
    }

    /// The dependencies for which the task then waits: those that have not ended, and those that the same call retries.
    private func awaited(_ id: String, again: [String]) -> [String] {
        (tasks[id]?.dependencies ?? []).filter { tasks[$0]?.state.isTerminal == false || again.contains($0) }
    }

    /// Whether each dependency has succeeded or still may. A dependency that no longer exists matters only for a task
    /// that never ran.
    private func mayRun(_ id: String, again: [String]) -> Bool {
        guard let task = tasks[id], !task.runAnyway else { return true }
        return task.dependencies.allSatisfy { other in
            guard let state = tasks[other]?.state else { return task.attempt > 0 }
            return state == .completed || !state.isTerminal || again.contains(other)
        }
    }

    private mutating func retry(_ id: String, awaiting open: [String]) {
        guard let task = tasks[id] else { return }
        if task.worker != nil { record(id, outcome: task.outcome ?? task.state.rawValue) }
        tasks[id]?.retryCount = 0
        tasks[id]?.deliveries = 0
        for other in open where dependents[other]?.contains(id) != true { dependents[other, default: []].append(id) }
        if !open.isEmpty { tasks[id]?.dependenciesLeft = open.count }
        move(id, to: .pending, heldBy: open.isEmpty ? nil : "dependencies")
        if let key = task.uniqueKey { takeKey(key, id) }
    }
}

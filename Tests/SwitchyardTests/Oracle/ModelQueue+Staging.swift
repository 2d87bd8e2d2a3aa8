import Switchyard

/// Parts of a batch, which no look-up sees until the batch is opened.
struct ModelStage {
    let batch: String
    var tasks: [ModelTask] = []
    var deadline = 0
    /// Whether another submission has taken an id or a unique key of the stage.
    var isBroken = false
}

extension ModelQueue {
    mutating func stage(_ tasks: [ModelTask], token: String, batch: String) {
        var stage = stages[token] ?? ModelStage(batch: batch)
        // A repeated part changes nothing.
        stage.tasks += tasks.filter { task in !stage.tasks.contains { $0.id == task.id } }
        stage.deadline = now + ModelSettings.stagedFor
        stages[token] = stage
    }

    /// A submission takes ids and unique keys that stages claim: these stages are broken.
    mutating func breakStages(_ taken: [ModelTask], own: String? = nil) {
        for (token, stage) in stages where token != own {
            let isTaken = taken.contains { task in
                stage.tasks.contains {
                    $0.id == task.id || ($0.uniqueKey != nil && $0.uniqueKey == task.uniqueKey)
                }
            }
            if isTaken { stages[token]?.isBroken = true }
        }
    }

    /// Opens a stage; no task enters the queue yet. Returns the code of an error, or nil.
    mutating func open(_ token: String, tag: Double?) -> String? {
        guard let stage = stages[token] else { return "TASKNOTFOUND" }
        if stage.isBroken {
            stages[token] = nil
            return "TASKEXISTS"
        }
        let isTaken = tasks.values.contains { $0.batch == stage.batch } || !unopened(stage.batch).isEmpty
        if isTaken { return "TASKEXISTS" }
        if !stage.tasks.isEmpty, pendingCount + stage.tasks.count > settings.maxQueueLength {
            counts["queue_full_errors", default: 0] += 1
            return "QUEUEFULL"
        }
        stages[token] = nil
        members[stage.batch] = stage.tasks.map(\.id)
        if !stage.tasks.isEmpty {
            batchWork.append(
                ModelBatchWork(kind: .open, batch: stage.batch, unopened: stage.tasks, tag: tag ?? 0))
        }
        return nil
    }

    /// The rest of an opening call: steps of batches in their order, until this batch has entered the queue or `limit`
    /// is reached.
    /// - Returns: The number of its tasks that have not entered the queue yet.
    mutating func goOnOpening(_ batch: String, limit: Int) -> Int {
        var left = limit
        while left > 0, !unopened(batch).isEmpty {
            left -= max(1, stepBatches(limit: min(left, 100)) ?? left)
        }
        return unopened(batch).count
    }

    mutating func bringIntoLine(_ part: [ModelTask], firstTag: Double) {
        let rest = Set(batchWork.first?.unopened.map(\.id) ?? [])
        let waits = waits(of: part, staged: rest)
        if part.contains(where: { !$0.fairnessKey.isEmpty }) { tenants.isFair = true }
        for (index, task) in part.enumerated() {
            _ = enter(task, waits[task.id] ?? .nothing, tag: firstTag + Double(index), isNow: false)
        }
    }
}

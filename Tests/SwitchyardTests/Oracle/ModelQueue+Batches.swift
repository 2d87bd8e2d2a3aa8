import Switchyard

/// A batch that enters the queue, or is cancelled, in steps.
struct ModelBatchWork {
    enum Kind { case open, cancel }
    let kind: Kind
    let batch: String
    /// If the batch is opened: the tasks that have not entered the queue.
    var unopened: [ModelTask] = []
    /// The tag of the next of them.
    var tag = 0.0
    /// If the batch is cancelled: the number of members that have been handled.
    var done = 0
}

extension ModelQueue {
    /// Cancels a batch. Batches are processed in their order: one step in this call, the rest in ticks.
    mutating func cancelBatch(_ batch: String) {
        batchWork.append(ModelBatchWork(kind: .cancel, batch: batch))
        stepBatches(limit: 25)
    }

    /// Processes a step of the first batch in `batchWork`.
    /// - Returns: The number of tasks that it moved; nil if there is no batch.
    @discardableResult
    mutating func stepBatches(limit: Int) -> Int? {
        guard let work = batchWork.first else { return nil }
        switch work.kind {
        case .cancel:
            guard tasks.values.contains(where: { $0.batch == work.batch }) || !unopened(work.batch).isEmpty else {
                batchWork.removeFirst()
                return 0
            }
            let part = (members[work.batch] ?? []).dropFirst(work.done).prefix(limit)
            if part.count < limit { batchWork.removeFirst() } else { batchWork[0].done += part.count }
            cancel(part.filter { tasks[$0]?.batch == work.batch })
            return part.count
        case .open:
            let part = Array(work.unopened.prefix(limit))
            bringIntoLine(part, firstTag: work.tag)
            batchWork[0].unopened.removeFirst(part.count)
            batchWork[0].tag += Double(part.count)
            if batchWork[0].unopened.isEmpty { batchWork.removeFirst() }
            endCall()
            return part.count
        }
    }

    /// The tasks of a batch that have not entered the queue yet.
    func unopened(_ batch: String) -> [ModelTask] {
        batchWork.first { $0.kind == .open && $0.batch == batch }?.unopened ?? []
    }
}

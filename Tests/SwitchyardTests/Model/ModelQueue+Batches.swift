import Switchyard

/// A batch that enters the queue, or is cancelled, in steps.
struct ModelBatchWork {
    enum Kind { case open, cancel }
    let kind: Kind
    let batch: String
    /// Of one that is opened: the tasks that have not entered the queue.
    var unopened: [ModelTask] = []
    /// The tag of the next of them.
    var tag = 0.0
    /// Of one that is cancelled: how many of its members have been looked at.
    var done = 0
}

extension ModelQueue {
    /// Cancels what there is of a batch; the work of batches is done in its order, a step by this call and the rest by
    /// ticks.
    mutating func cancelBatch(_ batch: String) {
        batchWork.append(ModelBatchWork(kind: .cancel, batch: batch))
        stepBatches(limit: 25)
    }

    /// A step of the first batch at work.
    /// - Returns: how many tasks it moved; nil if there is no work.
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

    /// Those that are not in line yet, by the id of their batch.
    func unopened(_ batch: String) -> [ModelTask] {
        batchWork.first { $0.kind == .open && $0.batch == batch }?.unopened ?? []
    }
}

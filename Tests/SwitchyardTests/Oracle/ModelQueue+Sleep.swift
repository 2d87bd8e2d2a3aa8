import Switchyard

/// Sleeping and waking in a queue in which every worker serves every task.
extension ModelQueue {
    /// The sleeping workers in the order of waking: the worker that got work longest ago comes first.
    var sleepers: [ModelWorker] {
        workers.values.filter(\.isAsleep).sorted { ($0.lastWork, $0.id) < ($1.lastWork, $1.id) }
    }

    /// Wakes up to `count` workers, one for each task that entered the queue. Returns their number.
    mutating func wake(for count: Int) -> Int {
        guard !isPaused, count > 0 else { return 0 }
        let woken = sleepers.prefix(count)
        for worker in woken {
            workers[worker.id]?.isAsleep = false
            workers[worker.id]?.isWoken = true
        }
        return woken.count
    }

    /// Wakes one worker for each pending task.
    mutating func wakeForLine() { _ = wake(for: line("").count) }

    /// Ends a pull: it consumes the worker's wake-up, and a worker that got fewer tasks than it asked for sleeps.
    mutating func settle(_ id: String, got: Int, sleeps: Bool) {
        if got > 0 { workers[id]?.lastWork = calls }
        workers[id]?.isAsleep = sleeps
        if sleeps { workers[id]?.isWoken = false }
    }
}

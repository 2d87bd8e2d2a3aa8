import Switchyard

/// Who sleeps and is woken, in a queue in which every worker serves every task.
extension ModelQueue {
    /// Those that sleep, in the order in which they are woken: who got work longest ago first.
    var sleepers: [ModelWorker] {
        workers.values.filter(\.isAsleep).sorted { ($0.lastWork, $0.id) < ($1.lastWork, $1.id) }
    }

    /// As many as tasks entered the queue. Returns how many.
    mutating func wake(for count: Int) -> Int {
        guard !isPaused, count > 0 else { return 0 }
        let woken = sleepers.prefix(count)
        for worker in woken {
            workers[worker.id]?.isAsleep = false
            workers[worker.id]?.isWoken = true
        }
        return woken.count
    }

    /// As many as stand in line.
    mutating func wakeForLine() { _ = wake(for: line("").count) }

    /// A pull is over: who got less than it wanted sleeps, and has answered the wake-ups before.
    mutating func settle(_ id: String, got: Int, sleeps: Bool) {
        if got > 0 { workers[id]?.lastWork = calls }
        workers[id]?.isAsleep = sleeps
        if sleeps { workers[id]?.isWoken = false }
    }
}

import Switchyard

/// Limits are gates of lanes: a lane is open or closed as a whole, and a start counts towards its rate when it happens.
extension ModelQueue {
    func running(_ key: String) -> Int {
        tasks.values.filter { ($0.isLive || $0.ending != nil) && $0.concurrency?.key == key }.count
    }

    /// The time at which the next task of this rate may start, in ms.
    func due(_ rate: ModelRate) -> Double {
        (rates[rate.key] ?? -.infinity) - Double(rate.burst - 1) * rate.interval
    }

    /// Whether its limits let a task of this lane start now. Redis rounds the times of a rate up to a microsecond, and
    /// has its own clock.
    func isOpen(_ task: ModelTask) -> Bool {
        if let limit = task.concurrency, running(limit.key) >= limit.limit { return false }
        if let rate = task.rate, due(rate) > Double(now) + 1 { return false }
        return true
    }

    /// A task starts, and counts towards its rate.
    mutating func takeTurn(_ task: ModelTask) {
        guard let rate = task.rate else { return }
        rates[rate.key] = max(Double(now), rates[rate.key] ?? 0) + rate.interval
    }

    /// Returns what is wrong with the lanes that Redis keeps closed.
    /// - Parameters:
    ///   - closed: For each lane 0, or when its rate is due, in Redis's time.
    ///   - clock: Redis's time minus the model's, in ms.
    ///   - isTicked: Whether a tick has just opened the lanes that were due.
    func closedDifferences(_ closed: [String: Double], clock: Double, isTicked: Bool) -> [String] {
        closed.sorted { $0.key < $1.key }.compactMap { lane, due in
            guard let first = line(lane).first else { return "lane \(lane) is closed, and nobody stands in it" }
            if due == 0 {
                guard let limit = first.concurrency else { return "lane \(lane) is closed, and has no limit" }
                let running = running(limit.key)
                return running >= limit.limit ? nil : "lane \(lane) is closed, and \(running) tasks of its key run"
            }
            guard let rate = first.rate else { return "lane \(lane) is closed until a time, and has no rate" }
            if isTicked, due <= Double(now) + clock - 10_000 { return "lane \(lane) is closed, and was due at \(due)" }
            // Another lane of the key may have started a task since.
            let right = self.due(rate) + clock
            return due < right + 20_000 ? nil : "lane \(lane) is closed until \(due), expected \(right)"
        }
    }
}

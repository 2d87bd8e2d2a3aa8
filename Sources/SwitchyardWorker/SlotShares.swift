/// How many of a worker's slots each of its partitions may fill: the pure core of a ``SlotBudget``.
///
/// No slot is granted twice. A free slot goes to the partition that has waited longest. While a partition waits, one
/// that has more than an equal share gives up its idle slots, after ``yieldDelay``. So with few slots and many
/// partitions, all partitions are served one after another; with many slots, each keeps its share and all are served at
/// once.
struct SlotShares {
    let slots: Int
    /// By partition.
    private var granted: [Int]
    /// The partitions that wait for a slot, longest first: they could fill one and have no free one.
    private var waiting: [Int] = []
    /// When a partition last began to wait while no other did, or a partition without slots last got some.
    private var since: ContinuousClock.Instant

    /// How long a partition may keep more than its share while others wait. To hand slots over costs a call: 50 ms is
    /// the time of many calls for short tasks, and negligible for long ones.
    static let yieldDelay: Duration = .milliseconds(50)

    init(slots: Int, partitions: Int, now: ContinuousClock.Instant) {
        self.slots = slots
        granted = Array(repeating: 0, count: partitions)
        since = now
    }

    var free: Int { slots - granted.reduce(0, +) }
    func granted(to partition: Int) -> Int { granted[partition] }

    /// Grants slots to a partition, or takes back idle ones.
    /// - Parameters:
    ///   - busy: how many slots it fills or has pulled tasks for.
    ///   - wanted: how many more it could fill at once. 0: it gives up its idle slots.
    /// - Returns: another partition that must call `settle`, because there are free slots for it. That call may return
    ///   the next one.
    mutating func settle(
        _ partition: Int, busy: Int, wanted: Int, now: ContinuousClock.Instant
    ) -> Int? {
        let othersWait = waiting.contains { $0 != partition }
        let contenders = granted.indices.count { $0 == partition || granted[$0] > 0 || waiting.contains($0) }
        if wanted == 0 {
            granted[partition] = min(granted[partition], busy)
        } else if othersWait, now - since >= Self.yieldDelay {
            granted[partition] = min(granted[partition], max(busy, slots / contenders))
        }
        claim(partition, busy + wanted, most: othersWait ? (slots + contenders - 1) / contenders : slots, now)

        let isWaiting = granted[partition] < busy || (wanted > 0 && granted[partition] == busy)
        if !isWaiting {
            waiting.removeAll { $0 == partition }
        } else if !waiting.contains(partition) {
            if waiting.isEmpty { since = now }
            waiting.append(partition)
        }
        return next(after: partition)
    }

    /// Returns the partition that has waited longest, if there is a free slot and it is not `partition`.
    private func next(after partition: Int) -> Int? {
        guard let first = waiting.first, first != partition, free > 0 else { return nil }
        return first
    }

    /// Grants free slots, up to `total`, but to no more than `most`; one is left for each partition that waits longer.
    private mutating func claim(_ partition: Int, _ total: Int, most: Int, _ now: ContinuousClock.Instant) {
        let ahead = waiting.firstIndex(of: partition) ?? waiting.count
        // The partition that has waited longest gets a free slot even beyond `most`.
        let most = max(most - granted[partition], waiting.first == partition ? 1 : 0)
        let count = min(total - granted[partition], most, free - ahead)
        guard count > 0 else { return }
        if granted[partition] == 0 { since = now }
        granted[partition] += count
    }

    /// Removes the partition from those that wait, because it cannot fill a slot now and must not keep others waiting.
    /// Returns the same as ``settle(_:busy:wanted:now:)``.
    mutating func stopWaiting(_ partition: Int) -> Int? {
        waiting.removeAll { $0 == partition }
        return next(after: partition)
    }
}

/// Who of a worker's partitions may fill how many of its slots: the pure core of a ``SlotBudget``.
///
/// No slot is granted twice. Free ones go to who asks, those first who have waited longest. While somebody waits, one that
/// has more than its part gives up what becomes idle, after a while: so that with few slots and many partitions each has its
/// turn, and with many slots each keeps its part and all are served at once.
struct SlotShares {
    let slots: Int
    private var granted: [Int]
    /// Partitions that could fill a slot and have none to fill, in the order in which they came.
    private var hungry: [Int] = []
    /// When somebody began to wait, or slots last went to one that had none.
    private var since: ContinuousClock.Instant

    /// How long a partition may go on with more than its part while others wait: taking turns costs a call, and this much
    /// time is many calls for small tasks and nothing for large ones.
    static let stay: Duration = .milliseconds(50)

    init(slots: Int, partitions: Int, now: ContinuousClock.Instant) {
        self.slots = slots
        granted = Array(repeating: 0, count: partitions)
        since = now
    }

    var free: Int { slots - granted.reduce(0, +) }
    func granted(to partition: Int) -> Int { granted[partition] }

    /// Settles anew what a partition has.
    /// - Parameters:
    ///   - busy: how many slots it fills, or has asked tasks for.
    ///   - wish: how many more it could fill at once. 0: it gives up what is idle.
    /// - Returns: another partition that is to settle anew, because there is something for it; it then tells the next one.
    mutating func settle(
        _ partition: Int, busy: Int, wish: Int, now: ContinuousClock.Instant
    ) -> Int? {
        let othersWait = hungry.contains { $0 != partition }
        let contenders = granted.indices.count { $0 == partition || granted[$0] > 0 || hungry.contains($0) }
        if wish == 0 {
            granted[partition] = min(granted[partition], busy)
        } else if othersWait, now - since >= Self.stay {
            granted[partition] = min(granted[partition], max(busy, slots / contenders))
        }
        claim(partition, busy + wish, most: othersWait ? (slots + contenders - 1) / contenders : slots, now)

        let isHungry = granted[partition] < busy || (wish > 0 && granted[partition] == busy)
        if !isHungry {
            hungry.removeAll { $0 == partition }
        } else if !hungry.contains(partition) {
            if hungry.isEmpty { since = now }
            hungry.append(partition)
        }
        return next(after: partition)
    }

    private func next(after partition: Int) -> Int? {
        guard let first = hungry.first, first != partition, free > 0 else { return nil }
        return first
    }

    private mutating func claim(_ partition: Int, _ wanted: Int, most: Int, _ now: ContinuousClock.Instant) {
        let ahead = hungry.firstIndex(of: partition) ?? hungry.count
        // Whoever has waited longest gets a free slot in any case.
        let most = max(most - granted[partition], hungry.first == partition ? 1 : 0)
        let count = min(wanted - granted[partition], most, free - ahead)
        guard count > 0 else { return }
        if granted[partition] == 0 { since = now }
        granted[partition] += count
    }

    /// The partition cannot take anything at this moment: it does not keep others waiting. Answers as ``settle``.
    mutating func leave(_ partition: Int) -> Int? {
        hungry.removeAll { $0 == partition }
        return next(after: partition)
    }
}

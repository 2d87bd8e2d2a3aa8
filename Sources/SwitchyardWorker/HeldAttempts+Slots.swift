import Switchyard

/// The share of one partition's table in the slots of a worker that serves several partitions.
struct SlotGrant: Sendable {
    let budget: SlotBudget
    let partition: Int
}

// The slots that the tables of several partitions share. A slot that is idle in one partition goes to a partition that
// wants it. A slot whose attempt has ended is filled again from the same partition, in the call that reports the end.
//
// While the Redis instance of a partition is unreachable, other partitions have its slots. When it is back, it sends
// again the assignments of its lost replies, and there may be no free slots for them. They then wait in `overflow`,
// with their leases renewed, until slots become free.
extension HeldAttempts {
    /// After this time without a reply the Redis instance counts as unreachable.
    private static let patience: Duration = .seconds(1)

    /// The partition's Redis instance does not reply.
    var isAway: Bool { if case .away? = partition?.server { true } else { false } }

    /// Only a pull of 0 tasks is useful: it passes a wake-up on to another worker, or finds out whether Redis replies
    /// again.
    var mustAskForNone: Bool { !isDraining && (partition?.isWoken == true || isAway) }

    mutating func noteContact(_ now: ContinuousClock.Instant) {
        if case .replies? = partition?.server { partition?.server = .replies(last: now) }
    }

    /// How many more slots the partition could fill with its next call.
    private var wanted: Int {
        guard !isDraining, !isSetAside, !isClosed, !isAway, mayPull.anything else { return 0 }
        switch exchangeCount {
        case 0: return tasksPerCall
        case 1 where mayPull.plenty: return tasksPerCall
        default: return 0
        }
    }

    /// Takes or gives up slots. Returns another partition to notify, because there are free slots for it.
    mutating func settle(with grant: SlotGrant) -> Int? {
        let (granted, next) = grant.budget.settle(
            grant.partition, busy: runningCount + (isAway ? 0 : wantUnderWay), wanted: wanted)
        slots = granted
        return next
    }

    /// Returns the assignments that can start now. If there are not enough slots for the new ones, they join
    /// `overflow`, and its oldest are returned.
    mutating func startable(_ new: [WorkerClient.Assignment], _ grant: SlotGrant) -> [WorkerClient.Assignment] {
        guard runningCount > slots || !overflow.isEmpty else { return new }
        overflow += new
        // The partition to notify is ignored here: the poller's next call of `nextExchange` finds it again.
        _ = settle(with: grant)
        return takeStartable()
    }

    /// Removes from `overflow` the assignments that there are free slots for, and returns them.
    mutating func takeStartable() -> [WorkerClient.Assignment] {
        let started = runningCount - overflow.count
        let count = max(0, min(overflow.count, slots - started))
        defer { overflow.removeFirst(count) }
        return Array(overflow.prefix(count))
    }

    /// See ``AttemptTable/noteWakeUp()``.
    mutating func noteWakeUp() {
        noteWork()
        partition?.isWoken = true
    }

    /// See ``AttemptTable/recall()``. Returns another partition to notify, because there are free slots for it.
    mutating func recall(_ grant: SlotGrant, now: ContinuousClock.Instant) -> Int? {
        guard exchangeCount > 0, case .replies(let last)? = partition?.server, now - last > Self.patience else {
            return nil
        }
        partition?.server = .away
        return settle(with: grant)
    }
}

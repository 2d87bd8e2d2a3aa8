import Switchyard

/// A table's part in the slots of a worker of several partitions.
struct SlotGrant: Sendable {
    let budget: SlotBudget
    let partition: Int
}

// Slots that are shared with the tables of other partitions. What is idle here and wanted there goes there; what ended here
// is asked for here again in the call that reports it.
//
// While the instance of a partition is away, its slots are others'. Should it then assign what its lost replies had assigned,
// there may be no slot for that: it waits, its leases renewed, for the next ones that become free.
extension HeldAttempts {
    /// A call that takes longer is taken for one that may never be answered.
    private static let patience: Duration = .seconds(1)

    /// How many more slots it could fill at once.
    private var wish: Int {
        guard !isDraining, !isClosed, !isAway, mayHaveWork || isBusy else { return 0 }
        switch callsUnderWay {
        case 0: return load
        case 1 where isBusy && !mustCount: return load
        default: return 0
        }
    }

    /// Takes and gives slots. Answers another partition for which there are some.
    mutating func settle(with grant: SlotGrant) -> Int? {
        let (granted, next) = grant.budget.settle(
            grant.partition, busy: runningCount + (isAway ? 0 : wantUnderWay), wish: wish)
        slots = granted
        return next
    }

    /// Of what was assigned: what there are slots for. The rest waits.
    mutating func startable(_ new: [WorkerProtocol.Assignment], _ grant: SlotGrant) -> [WorkerProtocol.Assignment] {
        guard runningCount > slots || !parked.isEmpty else { return new }
        parked += new
        // This table's courier comes back in a moment, and then tells who can have what is left.
        _ = settle(with: grant)
        return takeStartable()
    }

    mutating func takeStartable() -> [WorkerProtocol.Assignment] {
        let started = runningCount - parked.count
        let count = max(0, min(parked.count, slots - started))
        defer { parked.removeFirst(count) }
        return Array(parked.prefix(count))
    }

    mutating func noteWakeUp() {
        mayHaveWork = true
        wasWoken = isSpread
    }

    mutating func recall(_ grant: SlotGrant) -> Int? {
        guard callsUnderWay > 0, !isAway, .now - lastProgress > Self.patience else { return nil }
        isAway = true
        return settle(with: grant)
    }
}

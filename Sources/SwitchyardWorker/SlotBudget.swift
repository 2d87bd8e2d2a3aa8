import Synchronization

/// The slots of a worker, shared by the partitions that it serves: each ``AttemptTable`` fills the slots that it is
/// granted. A worker of one partition has no budget.
final class SlotBudget: Sendable {
    private let shares: Mutex<SlotShares>
    private let listeners = Mutex<[Int: @Sendable () -> Void]>([:])

    init(slots: Int, partitions: Int) {
        shares = Mutex(SlotShares(slots: slots, partitions: partitions, now: .now))
    }

    /// Sets the callback for when there may be free slots for the partition.
    func listen(_ partition: Int, _ onFreeSlots: @escaping @Sendable () -> Void) {
        listeners.withLock { $0[partition] = onFreeSlots }
    }

    /// Grants or takes slots; see ``SlotShares/settle(_:busy:wanted:now:)``.
    /// - Returns: how many slots the partition has now, and another partition to ``notify(_:)``.
    func settle(_ partition: Int, busy: Int, wanted: Int) -> (granted: Int, next: Int?) {
        shares.withLock { shares in
            let next = shares.settle(partition, busy: busy, wanted: wanted, now: .now)
            return (shares.granted(to: partition), next)
        }
    }

    /// See ``SlotShares/stopWaiting(_:)``.
    func stopWaiting(_ partition: Int) -> Int? { shares.withLock { $0.stopWaiting(partition) } }

    /// Calls the callback of a partition, which locks its table: do not call this under the lock of a table.
    func notify(_ partition: Int?) {
        guard let partition else { return }
        listeners.withLock { $0[partition] }?()
    }
}

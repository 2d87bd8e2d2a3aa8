import Synchronization

/// The slots of a worker, shared by the partitions that it serves: each ``AttemptTable`` fills what it is granted. A worker
/// of one partition has none of this.
final class SlotBudget: Sendable {
    private let shares: Mutex<SlotShares>
    private let listeners = Mutex<[Int: @Sendable () -> Void]>([:])

    init(slots: Int, partitions: Int) {
        shares = Mutex(SlotShares(slots: slots, partitions: partitions, now: .now))
    }

    /// `look` is called when there may be slots for the partition.
    func listen(_ partition: Int, _ look: @escaping @Sendable () -> Void) {
        listeners.withLock { $0[partition] = look }
    }

    /// - Returns: how many slots the partition has now, and another one that is to be told with ``tell(_:)``.
    func settle(_ partition: Int, busy: Int, wish: Int) -> (granted: Int, next: Int?) {
        shares.withLock { shares in
            let next = shares.settle(partition, busy: busy, wish: wish, now: .now)
            return (shares.granted(to: partition), next)
        }
    }

    func leave(_ partition: Int) -> Int? { shares.withLock { $0.leave(partition) } }

    /// Not to be called under the lock of a table: the partition looks at once.
    func tell(_ partition: Int?) {
        guard let partition else { return }
        listeners.withLock { $0[partition] }?()
    }
}

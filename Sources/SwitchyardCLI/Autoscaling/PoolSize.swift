/// Computes the target size of a pool from the wanted size, without I/O and without a clock.
///
/// The target rises at once. It falls only if less was wanted during a whole cool-down, and then to the most that was
/// wanted in it.
struct PoolSize: Sendable {
    private let range: ClosedRange<Int>
    private let coolDown: Duration
    private(set) var target: Int
    /// The time since which less than the target is wanted, and the most that was wanted since then; nil if the target
    /// was wanted last.
    private var low: (since: ContinuousClock.Instant, most: Int)?

    init(range: ClosedRange<Int>, coolDown: Duration) {
        self.range = range
        self.coolDown = coolDown
        target = range.lowerBound
    }

    mutating func note(wanted: Int, now: ContinuousClock.Instant) {
        let wanted = min(max(wanted, range.lowerBound), range.upperBound)
        guard wanted < target else {
            target = wanted
            low = nil
            return
        }
        let seen = (since: low?.since ?? now, most: max(low?.most ?? 0, wanted))
        low = seen
        if now - seen.since >= coolDown {
            target = seen.most
            // If even less is wanted now, another cool-down begins.
            low = wanted < target ? (now, wanted) : nil
        }
    }
}

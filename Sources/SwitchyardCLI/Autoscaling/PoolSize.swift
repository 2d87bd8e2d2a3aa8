/// How many workers a pool should have, from what is wanted: up at once, down only when less was wanted during a whole
/// cool-down, and then to the most that was wanted in it. No I/O and no clock.
struct PoolSize: Sendable {
    private let range: ClosedRange<Int>
    private let coolDown: Duration
    private(set) var target: Int
    /// Since when less than the target is wanted, and the most since then.
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
            // What is wanted now may be less still: its own cool-down begins.
            low = wanted < target ? (now, wanted) : nil
        }
    }
}

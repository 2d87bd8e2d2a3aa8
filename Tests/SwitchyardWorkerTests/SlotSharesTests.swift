import Testing

@testable import SwitchyardWorker

@Suite("How partitions share a worker's slots")
struct SlotSharesTests {
    private let start = ContinuousClock.now
    private func later(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    @Test func aPartitionAloneGetsAllSlots() {
        var shares = SlotShares(slots: 8, partitions: 3, now: start)
        #expect(shares.settle(1, busy: 0, wanted: 16, now: start) == nil)
        #expect(shares.granted(to: 1) == 8 && shares.free == 0)
        // Without work it gives up its idle slots.
        #expect(shares.settle(1, busy: 3, wanted: 0, now: start) == nil)
        #expect(shares.granted(to: 1) == 3 && shares.free == 5)
    }

    @Test func freeSlotsGoToThePartitionThatHasWaitedLongest() {
        var shares = SlotShares(slots: 2, partitions: 4, now: start)
        _ = shares.settle(0, busy: 0, wanted: 2, now: start)
        for partition in [2, 1, 3] { #expect(shares.settle(partition, busy: 0, wanted: 1, now: start) == nil) }
        #expect(shares.settle(0, busy: 1, wanted: 0, now: start) == 2)
        // Partition 2 has waited longer than partition 1.
        #expect(shares.settle(1, busy: 0, wanted: 1, now: start) == 2)
        #expect(shares.granted(to: 1) == 0)
        #expect(shares.settle(2, busy: 0, wanted: 1, now: start) == nil)
        #expect(shares.granted(to: 2) == 1)
        // A partition that cannot fill a slot does not keep others waiting.
        #expect(shares.stopWaiting(1) == nil)
        #expect(shares.settle(0, busy: 0, wanted: 0, now: start) == 3)
    }

    @Test func manySlotsAreSharedEvenly() {
        var shares = SlotShares(slots: 100, partitions: 2, now: start)
        _ = shares.settle(0, busy: 0, wanted: 50, now: start)
        _ = shares.settle(0, busy: 50, wanted: 50, now: start)
        _ = shares.settle(1, busy: 0, wanted: 50, now: start)
        // Until `yieldDelay` is over, partition 0 keeps its slots.
        #expect(shares.settle(0, busy: 50, wanted: 50, now: later(49)) == nil)
        #expect(shares.settle(0, busy: 50, wanted: 50, now: later(50)) == 1)
        #expect(shares.settle(1, busy: 0, wanted: 50, now: later(50)) == nil)
        #expect(shares.granted(to: 0) == 50 && shares.granted(to: 1) == 50)
    }

    @Test func aSingleSlotIsSharedEvenly() {
        var shares = SlotShares(slots: 1, partitions: 3, now: start)
        var grantees: [Int] = []
        var now = start
        // All partitions always have work; a task takes 10 ms.
        for _ in 0..<90 {
            for partition in 0..<3 {
                var next: Int? = partition
                while let current = next { next = shares.settle(current, busy: 0, wanted: 1, now: now) }
            }
            for partition in 0..<3 where shares.granted(to: partition) > 0 { grantees.append(partition) }
            now += .milliseconds(10)
        }
        #expect(grantees.count == 90)
        for partition in 0..<3 { #expect((25...35).contains(grantees.count { $0 == partition })) }
    }

    @Test func noSlotIsGrantedTwiceAndNoneStaysIdle() throws {
        for _ in 0..<200 {
            let slots = Int.random(in: 1...9)
            let count = Int.random(in: 2...5)
            var shares = SlotShares(slots: slots, partitions: count, now: start)
            var busy = Array(repeating: 0, count: count)
            var wanted = Array(repeating: 0, count: count)
            var now = start

            // As the tables do: each notifies the next partition that there are free slots for.
            func settle(_ first: Int) throws {
                var next: Int? = first
                var calls = 0
                while let partition = next {
                    calls += 1
                    try #require(calls <= slots + count)
                    next = shares.settle(partition, busy: busy[partition], wanted: wanted[partition], now: now)
                    try #require(shares.free >= 0)
                    if wanted[partition] > 0 { busy[partition] = shares.granted(to: partition) }
                }
            }
            for _ in 0..<200 {
                now += .milliseconds(Int.random(in: 0...30))
                let partition = Int.random(in: 0..<count)
                busy[partition] = Int.random(in: 0...busy[partition])
                wanted[partition] = Int.random(in: 0...3)
                try settle(partition)
            }
            // If all partitions want slots, then either none is free, or each has some.
            wanted = wanted.map { _ in 1 }
            for partition in 0..<count { try settle(partition) }
            for partition in 0..<count { try settle(partition) }
            #expect(shares.free == 0 || busy.allSatisfy { $0 > 0 })
        }
    }
}

import Testing

@testable import SwitchyardWorker

@Suite("How partitions share a worker's slots")
struct SlotSharesTests {
    private let start = ContinuousClock.now
    private func later(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    @Test func oneThatIsAloneHasAll() {
        var shares = SlotShares(slots: 8, partitions: 3, now: start)
        #expect(shares.settle(1, busy: 0, wish: 16, now: start) == nil)
        #expect(shares.granted(to: 1) == 8 && shares.free == 0)
        // Dry: what is idle is given up.
        #expect(shares.settle(1, busy: 3, wish: 0, now: start) == nil)
        #expect(shares.granted(to: 1) == 3 && shares.free == 5)
    }

    @Test func freeSlotsGoToWhoHasWaitedLongest() {
        var shares = SlotShares(slots: 2, partitions: 4, now: start)
        _ = shares.settle(0, busy: 0, wish: 2, now: start)
        for partition in [2, 1, 3] { #expect(shares.settle(partition, busy: 0, wish: 1, now: start) == nil) }
        #expect(shares.settle(0, busy: 1, wish: 0, now: start) == 2)
        // Not out of turn.
        #expect(shares.settle(1, busy: 0, wish: 1, now: start) == 2)
        #expect(shares.granted(to: 1) == 0)
        #expect(shares.settle(2, busy: 0, wish: 1, now: start) == nil)
        #expect(shares.granted(to: 2) == 1)
        // One that cannot take any does not keep others waiting.
        #expect(shares.leave(1) == nil)
        #expect(shares.settle(0, busy: 0, wish: 0, now: start) == 3)
    }

    @Test func manySlotsAreSharedEvenly() {
        var shares = SlotShares(slots: 100, partitions: 2, now: start)
        _ = shares.settle(0, busy: 0, wish: 50, now: start)
        _ = shares.settle(0, busy: 50, wish: 50, now: start)
        _ = shares.settle(1, busy: 0, wish: 50, now: start)
        // A while it goes on as before.
        #expect(shares.settle(0, busy: 50, wish: 50, now: later(49)) == nil)
        #expect(shares.settle(0, busy: 50, wish: 50, now: later(50)) == 1)
        #expect(shares.settle(1, busy: 0, wish: 50, now: later(50)) == nil)
        #expect(shares.granted(to: 0) == 50 && shares.granted(to: 1) == 50)
    }

    @Test func fewSlotsGoRound() {
        var shares = SlotShares(slots: 1, partitions: 3, now: start)
        var turns: [Int] = []
        var now = start
        // Everyone always has work; a task takes 10 ms.
        for _ in 0..<90 {
            for partition in 0..<3 {
                var next: Int? = partition
                while let looking = next { next = shares.settle(looking, busy: 0, wish: 1, now: now) }
            }
            for partition in 0..<3 where shares.granted(to: partition) > 0 { turns.append(partition) }
            now += .milliseconds(10)
        }
        #expect(turns.count == 90)
        for partition in 0..<3 { #expect((25...35).contains(turns.count { $0 == partition })) }
    }

    @Test func noSlotIsGrantedTwiceAndNoneLiesIdle() throws {
        for _ in 0..<200 {
            let slots = Int.random(in: 1...9)
            let count = Int.random(in: 2...5)
            var shares = SlotShares(slots: slots, partitions: count, now: start)
            var busy = Array(repeating: 0, count: count)
            var wishes = Array(repeating: 0, count: count)
            var now = start

            // As the tables do: each tells the next for which there is something.
            func look(_ first: Int) throws {
                var next: Int? = first
                var looks = 0
                while let partition = next {
                    looks += 1
                    try #require(looks <= slots + count)
                    next = shares.settle(partition, busy: busy[partition], wish: wishes[partition], now: now)
                    try #require(shares.free >= 0)
                    if wishes[partition] > 0 { busy[partition] = shares.granted(to: partition) }
                }
            }
            for _ in 0..<200 {
                now += .milliseconds(Int.random(in: 0...30))
                let partition = Int.random(in: 0..<count)
                busy[partition] = Int.random(in: 0...busy[partition])
                wishes[partition] = Int.random(in: 0...3)
                try look(partition)
            }
            // Whoever wishes for slots gets them, if any is free.
            wishes = wishes.map { _ in 1 }
            for partition in 0..<count { try look(partition) }
            for partition in 0..<count { try look(partition) }
            #expect(shares.free == 0 || busy.allSatisfy { $0 > 0 })
        }
    }
}

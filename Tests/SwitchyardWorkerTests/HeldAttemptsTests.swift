import RedisClient
import Testing

@testable import Switchyard
@testable import SwitchyardWorker

/// When a worker calls its queue, and with which arguments.
@Suite struct HeldAttemptsTests {
    /// Assignments of the tasks t0, t1, … of `range`. `more`: further names and values.
    private func assignments(
        _ range: Range<Int>, attempt: Int = 1, _ more: [String] = []
    ) throws -> [WorkerClient.Assignment] {
        try range.map {
            try .init(
                .array((["task", "t\($0)", "attempt", "\(attempt)", "timeout_ms", "1000"] + more).map(Self.text)))
        }
    }

    private static func text(_ text: String) -> RESPValue { .bulkString(.init(string: text)) }

    @Test func anIdleWorkerMakesOneCallUntilThereMayBeWork() throws {
        let attempts = AttemptsBox(slots: 200)
        let exchange = try #require(attempts.nextExchange())
        #expect(exchange.reports.isEmpty)
        #expect(exchange.want == 100)
        #expect(exchange.holding == 0)
        #expect(!attempts.hasExchange)
        attempts.settle(exchange, assigned: 0, isCertain: true)
        #expect(!attempts.hasExchange)
        attempts.noteWork()
        #expect(attempts.nextExchange()?.want == 100)
    }

    /// A reply that never came may have been too large for the link.
    @Test(arguments: [1, 16, 40, 200])
    func aPullIsHalvedWhenItsReplyIsLostAndGrowsAgain(slots: Int) throws {
        let attempts = AttemptsBox(slots: slots)
        let full = min(slots, max(16, min((slots + 1) / 2, 100)))
        var wants: [Int] = []
        for isLost in Array(repeating: true, count: 8) + Array(repeating: false, count: 7) {
            let exchange = try #require(attempts.nextExchange())
            wants.append(exchange.want)
            if isLost {
                attempts.giveBack(exchange)
            } else {
                attempts.settle(exchange, assigned: 0, isCertain: true)
                attempts.noteWork()
            }
            #expect(exchange.maxBytes ?? 0 < WorkerClient.maxReplyBytes)
            if isLost { #expect((exchange.maxBytes == nil) == (wants.count == 1)) }
        }
        #expect(wants[0] == full)
        #expect(wants[8] == 1)
        let last = try #require(attempts.nextExchange())
        #expect(last.want == full && last.maxBytes == nil)
        for (one, next) in zip(wants, wants.dropFirst()) {
            #expect(next >= one / 2 && next <= one * 2)
        }
    }

    @Test func aSingleReportIsSentAtOnceAndTheNextWaitForItsReply() throws {
        let attempts = AttemptsBox(slots: 8)
        let first = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<8)
        attempts.settle(first, assigned: 8, isCertain: true)
        #expect(attempts.add(tasks).count == 8)
        #expect(!attempts.hasExchange)

        try attempts.end(Array(tasks[0..<1]))
        let report = try #require(attempts.nextExchange())
        #expect(report.reports.map(\.taskID) == ["t0"])
        #expect(report.want == 1)
        #expect(report.holding == 7)
        try attempts.end(Array(tasks[1..<4]))
        #expect(!attempts.hasExchange)
        attempts.settle(report, assigned: 0, isCertain: true)
        let next = try #require(attempts.nextExchange())
        #expect(next.reports.map(\.taskID) == ["t1", "t2", "t3"])
        #expect(next.want == 4)
        #expect(next.holding == 4)
    }

    @Test func aSecondCallIsMadeOnlyWhenFullAndCountsWhatTheFirstMayBring() throws {
        let attempts = AttemptsBox(slots: 200)
        let first = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<100)
        attempts.settle(first, assigned: 100, isCertain: true)
        #expect(attempts.add(tasks).count == 100)
        try attempts.end(Array(tasks[0..<60]))
        let one = try #require(attempts.nextExchange())
        #expect(one.reports.count == 60)
        #expect(one.want == 100)
        #expect(one.holding == 40)
        // Busy, but only 60 slots are left to pull for.
        #expect(!attempts.hasExchange)
        try attempts.end(Array(tasks[60..<100]))
        let two = try #require(attempts.nextExchange())
        #expect(two.reports.count == 40)
        #expect(two.want == 100)
        #expect(two.holding == 100)
        // Never a third.
        #expect(!attempts.hasExchange)
    }

    @Test func aCallHasHalfAsManyTasksWhileTheirEndsConcernOthers() throws {
        let attempts = AttemptsBox(slots: 200)
        let first = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<100, ["uses", "1"])
        attempts.settle(first, assigned: 100, isCertain: true)
        #expect(attempts.add(tasks).count == 100)
        try attempts.end(tasks)
        let one = try #require(attempts.nextExchange())
        #expect(one.reports.count == 50)
        #expect(one.want == 50)
        let two = try #require(attempts.nextExchange())
        #expect(two.reports.count == 50)
        attempts.settle(one, assigned: 50, isCertain: true)
        #expect(attempts.add(try assignments(100..<150)).count == 50)
        attempts.settle(two, assigned: 0, isCertain: true)
        attempts.noteWork()
        #expect(attempts.nextExchange()?.want == 100)
    }

    @Test func aCallNeverAsksForMoreThanTheFreeSlots() throws {
        let attempts = AttemptsBox(slots: 150)
        let first = try #require(attempts.nextExchange())
        #expect(first.want == 75)
        attempts.settle(first, assigned: 75, isCertain: true)
        #expect(attempts.add(try assignments(0..<75)).count == 75)
        let second = try #require(attempts.nextExchange())
        #expect(second.want == 75)
        #expect(!attempts.hasExchange)
        attempts.settle(second, assigned: 75, isCertain: true)
        #expect(attempts.add(try assignments(75..<150)).count == 75)
        attempts.noteWork()
        #expect(!attempts.hasExchange)
    }

    @Test func afterALostReplyOneCallAloneSaysExactlyWhichAttemptsAreKnown() throws {
        let attempts = AttemptsBox(slots: 64)
        let first = try #require(attempts.nextExchange())
        attempts.settle(first, assigned: 32, isCertain: true)
        let tasks = try assignments(0..<32)
        attempts.add(tasks)
        let lost = try #require(attempts.nextExchange())
        try attempts.end(tasks)
        let other = try #require(attempts.nextExchange())
        #expect(other.holding == 32)
        attempts.giveBack(lost)
        // The other call's `holding` is only an estimate: another one must follow.
        #expect(!attempts.hasExchange)
        attempts.settle(other, assigned: 0, isCertain: true)
        let reconciling = try #require(attempts.nextExchange())
        #expect(reconciling.reconciles)
        #expect(reconciling.holding == 0)
        // The assignments of the lost reply.
        attempts.settle(reconciling, assigned: 32, isCertain: true)
        #expect(attempts.add(try assignments(32..<64)).count == 32)
        #expect(attempts.nextExchange()?.reconciles == false)
    }

    @Test func theReportOfAFailedCallComesBeforeTheOthers() throws {
        let attempts = AttemptsBox(slots: 2)
        let first = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<2)
        attempts.settle(first, assigned: 2, isCertain: true)
        attempts.add(tasks)
        try attempts.end(Array(tasks[0..<1]))
        let failed = try #require(attempts.nextExchange())
        try attempts.end(Array(tasks[1..<2]))
        attempts.giveBack(failed)
        #expect(attempts.reports.map(\.taskID) == ["t0", "t1"])
        // An assignment that is sent again is not new while the attempt's report waits.
        #expect(attempts.add(tasks).isEmpty)
    }

    @Test func leasesAreRenewedUntilTheQueueHasRepliedToTheReport() throws {
        let attempts = AttemptsBox(slots: 4)
        let first = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<4)
        attempts.add(tasks)
        attempts.settle(first, assigned: 4, isCertain: true)
        try attempts.end(Array(tasks[0..<1]))
        let underWay = try #require(attempts.nextExchange())
        try attempts.end(Array(tasks[1..<2]))
        #expect(attempts.stop("t2", attempt: 1, .leaseOver))
        // t0: its report is under way; t1: it waits; t3 runs.
        #expect(attempts.leased == ["t0", "t1", "t3"])
        attempts.giveBack(underWay)
        #expect(attempts.leased == ["t0", "t1", "t3"])
        let again = try #require(attempts.nextExchange())
        attempts.settle(again, assigned: 0, isCertain: true)
        #expect(attempts.leased == ["t3"])
    }

    @Test func aLaterAttemptReplacesAnEarlierOne() throws {
        let attempts = AttemptsBox(slots: 1)
        let exchange = try #require(attempts.nextExchange())
        attempts.settle(exchange, assigned: 1, isCertain: true)
        let first = try assignments(0..<1)
        let second = try assignments(0..<1, attempt: 2)
        #expect(attempts.add(first).count == 1)
        #expect(attempts.add(first).isEmpty)
        #expect(attempts.add(second).count == 1)
        #expect(attempts.add(first).isEmpty)
        // The end of the first attempt is not reported.
        try attempts.end(first)
        #expect(attempts.reports.isEmpty)
        try attempts.end(second)
        #expect(attempts.reports.map(\.attempt) == [2])
    }

    /// The reply to the pull after a sleep is late: meanwhile a poller's call brings the same attempt, and it ends.
    @Test(arguments: [1, 2, 5])
    func anAttemptThatEndedIsNotStartedAgainByALateReply(count: Int) throws {
        let attempts = AttemptsBox(slots: 16)
        let first = try #require(attempts.nextExchange())
        attempts.settle(first, assigned: 0, isCertain: true)
        let sleep = try #require(attempts.nextSleep())
        attempts.noteWork()
        let second = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<count)
        #expect(attempts.add(tasks).count == count)
        attempts.settle(second, assigned: count, isCertain: true)
        try attempts.end(tasks)
        let report = try #require(attempts.nextExchange())
        attempts.settle(report, assigned: 0, isCertain: true)
        #expect(attempts.add(tasks).isEmpty)
        // A later attempt at a task is new.
        #expect(attempts.add(try assignments(0..<1, attempt: 2)) == ["t0"])
        attempts.wakeUp(sleep, assigned: count)
        // No reply can bring it any more, so it is forgotten.
        #expect(attempts.entryCount == 1)
    }

    @Test func aCallThatBeganBeforeASleepFailedDoesNotReconcileIt() throws {
        let attempts = AttemptsBox(slots: 4)
        let first = try #require(attempts.nextExchange())
        attempts.settle(first, assigned: 0, isCertain: true)
        let sleep = try #require(attempts.nextSleep())
        attempts.noteWork()
        let early = try #require(attempts.nextExchange())
        attempts.giveBack(early)
        let reconciling = try #require(attempts.nextExchange())
        #expect(reconciling.reconciles)
        attempts.breakSleep(sleep)
        attempts.settle(reconciling, assigned: 0, isCertain: true)
        let next = try #require(attempts.nextExchange())
        #expect(next.reconciles)
        attempts.settle(next, assigned: 0, isCertain: true)
        #expect(!attempts.hasExchange)
    }

    @Test func whatEndsBecauseItsLeaseIsOverIsNotReportedAndNotStartedAgain() throws {
        let attempts = AttemptsBox(slots: 4)
        let exchange = try #require(attempts.nextExchange())
        let tasks = try assignments(0..<2)
        attempts.add(tasks)
        attempts.settle(exchange, assigned: 2, isCertain: true)
        #expect(attempts.stop("t0", attempt: 1, .leaseOver))
        try attempts.end(tasks)
        #expect(attempts.reports.map(\.taskID) == ["t1"])
        let report = try #require(attempts.nextExchange())
        attempts.settle(report, assigned: 1, isCertain: true)
        #expect(attempts.add(try assignments(0..<1)).isEmpty)
        #expect(attempts.add(try assignments(0..<1, attempt: 2)) == ["t0"])
    }

    @Test func aDrainingWorkerReportsAsksForNothingAndIsThenOver() throws {
        let attempts = AttemptsBox(slots: 4)
        let exchange = try #require(attempts.nextExchange())
        attempts.drain()
        #expect(!attempts.isOver)
        // The last pull still brings a task.
        attempts.settle(exchange, assigned: 1, isCertain: true)
        let tasks = try assignments(0..<1)
        attempts.add(tasks)
        #expect(!attempts.hasExchange)
        #expect(!attempts.isOver)
        try attempts.end(tasks)
        let last = try #require(attempts.nextExchange())
        #expect(last.want == 0)
        #expect(!attempts.isOver)
        attempts.settle(last, assigned: 0, isCertain: true)
        #expect(attempts.isOver)
    }

    @Test func ofAStoppedAttemptOnlyItsEndIsReportedUnlessItsTimeWasOver() throws {
        let attempts = AttemptsBox(slots: 4)
        let exchange = try #require(attempts.nextExchange())
        attempts.settle(exchange, assigned: 4, isCertain: true)
        let tasks = try assignments(0..<4)
        attempts.add(tasks)
        #expect(attempts.stop("t0", attempt: 1, .notOurs))
        #expect(attempts.stop("t2", attempt: 1, .leaseOver))
        #expect(attempts.stop("t3", attempt: 1, .drained))
        #expect(attempts.stop("t1", attempt: 1, .timeLimit))
        // A later stop does not change the reason.
        #expect(!attempts.stop("t1", attempt: 1, .notOurs))
        #expect(!attempts.stop("t9", attempt: 1, .notOurs))
        try attempts.end(tasks)
        #expect(attempts.reports.map(\.taskID) == ["t0", "t1"])
        #expect(attempts.reports.map(\.outcome) == [.ended, .timeout])
    }
    /// A worker that asked about an attempt before it starts it may receive the next one meanwhile.
    @Test func anAttemptMayNotRunOnceItIsStoppedOverOrReplaced() throws {
        let attempts = AttemptsBox(slots: 8)
        let (first, second) = (try assignments(0..<3), try assignments(0..<1, attempt: 2))
        #expect(!attempts.mayRun("t0", attempt: 1))
        attempts.add(first)
        for id in ["t0", "t1", "t2"] { #expect(attempts.mayRun(id, attempt: 1)) }
        attempts.add(second)
        #expect(!attempts.mayRun("t0", attempt: 1))
        #expect(attempts.mayRun("t0", attempt: 2))
        #expect(attempts.stop("t1", attempt: 1, .notOurs))
        #expect(!attempts.mayRun("t1", attempt: 1))
        try attempts.end(first)
        #expect(!attempts.mayRun("t1", attempt: 1))
        #expect(!attempts.mayRun("t2", attempt: 1))
        // The late end of the first attempt does not end the second.
        #expect(attempts.mayRun("t0", attempt: 2))
    }
}

/// Wraps ``HeldAttempts`` in a class, because the macros of swift-testing cannot call mutating methods.
private final class AttemptsBox {
    private var attempts: HeldAttempts
    private let holder = Result {
        try AttemptHolder(
            link: WorkerClient(
                worker: "w", queue: "q", client: RedisClient(.init(endpoint: .unixSocket(path: "/nonexistent"))),
                logger: .init(label: "test")),
            table: AttemptTable(slots: 1), logger: .init(label: "test"))
    }

    init(slots: Int) { attempts = HeldAttempts(slots: slots, now: .now) }

    var reports: [WorkerClient.Report] { attempts.reports }
    var isOver: Bool { attempts.isOver }
    var entryCount: Int { attempts.entries.count }
    /// The task ids whose leases are renewed.
    var leased: [String] { attempts.leased.map(\.id.taskID).sorted() }

    func noteWork() { attempts.noteWork() }
    func drain() { attempts.drain() }
    func nextSleep() -> AttemptTable.Sleep? { attempts.nextSleep() }
    func wakeUp(_ sleep: AttemptTable.Sleep, assigned: Int) { attempts.wakeUp(sleep, assigned: assigned) }
    func breakSleep(_ sleep: AttemptTable.Sleep) { attempts.breakSleep(sleep) }
    func nextExchange() -> AttemptTable.Exchange? { attempts.nextExchange(now: .now) }
    /// Whether there is a next exchange; if so, this begins and drops it. Only for tests that expect none.
    var hasExchange: Bool { nextExchange() != nil }
    func giveBack(_ exchange: AttemptTable.Exchange) { attempts.giveBack(exchange) }
    func settle(_ exchange: AttemptTable.Exchange, assigned: Int, isCertain: Bool) {
        attempts.settle(exchange, assigned: assigned, isCertain: isCertain, now: .now)
    }

    /// Returns the task ids of the new ones.
    @discardableResult
    func add(_ assignments: [WorkerClient.Assignment]) -> [String] {
        attempts.add(assignments, now: .now).new.map(\.id)
    }

    func end(_ assignments: [WorkerClient.Assignment]) throws {
        for assignment in assignments {
            attempts.end(AttemptEnd(attempt: Attempt(assignment, holder: try holder.get()), outcome: .completed()))
        }
    }

    func mayRun(_ taskID: String, attempt: Int) -> Bool { attempts.mayRun(taskID, attempt: attempt) }

    func stop(_ taskID: String, attempt: Int, _ reason: AttemptTable.StopReason) -> Bool {
        attempts.stop(taskID, attempt: attempt, reason).isStopped
    }
}

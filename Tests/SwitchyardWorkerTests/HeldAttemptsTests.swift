import RedisClient
import Testing

@testable import Switchyard
@testable import SwitchyardWorker

/// When a worker calls, and with what.
@Suite struct HeldAttemptsTests {
    private func assignments(
        _ range: Range<Int>, attempt: Int = 1, _ more: [String] = []
    ) throws -> [WorkerProtocol.Assignment] {
        try range.map {
            try .init(
                .array((["task", "t\($0)", "attempt", "\(attempt)", "timeout_ms", "1000"] + more).map(Self.text)))
        }
    }

    private static func text(_ text: String) -> RESPValue { .bulkString(.init(string: text)) }

    @Test func anIdleWorkerMakesOneCallAndThenWaitsForNews() throws {
        let held = Desk(slots: 200)
        let turn = try #require(held.nextTurn())
        #expect(turn.reports.isEmpty)
        #expect(turn.want == 100)
        #expect(turn.holding == 0)
        #expect(!held.hasTurn)
        held.settle(turn, assigned: 0, isCertain: true)
        #expect(!held.hasTurn)
        held.mayHaveWork = true
        #expect(held.nextTurn()?.want == 100)
    }

    @Test func aSingleReportGoesAtOnceAndTheNextWaitForItsAnswer() throws {
        let held = Desk(slots: 8)
        let first = try #require(held.nextTurn())
        let tasks = try assignments(0..<8)
        held.settle(first, assigned: 8, isCertain: true)
        #expect(held.add(tasks).count == 8)
        #expect(!held.hasTurn)

        try held.end(Array(tasks[0..<1]))
        let report = try #require(held.nextTurn())
        #expect(report.reports.map(\.taskID) == ["t0"])
        #expect(report.want == 1)
        #expect(report.holding == 7)
        try held.end(Array(tasks[1..<4]))
        #expect(!held.hasTurn)
        held.settle(report, assigned: 0, isCertain: true)
        let next = try #require(held.nextTurn())
        #expect(next.reports.map(\.taskID) == ["t1", "t2", "t3"])
        #expect(next.want == 4)
        #expect(next.holding == 4)
    }

    @Test func aSecondCallSetsOutOnlyWithAFullLoadAndCountsWhatTheFirstMayBring() throws {
        let held = Desk(slots: 200)
        let first = try #require(held.nextTurn())
        let tasks = try assignments(0..<100)
        held.settle(first, assigned: 100, isCertain: true)
        #expect(held.add(tasks).count == 100)
        try held.end(Array(tasks[0..<60]))
        let one = try #require(held.nextTurn())
        #expect(one.reports.count == 60)
        #expect(one.want == 100)
        #expect(one.holding == 40)
        // Busy, but only 60 slots are not spoken for.
        #expect(!held.hasTurn)
        try held.end(Array(tasks[60..<100]))
        let two = try #require(held.nextTurn())
        #expect(two.reports.count == 40)
        #expect(two.want == 100)
        #expect(two.holding == 100)
        // Never a third.
        #expect(!held.hasTurn)
    }

    @Test func aCallCarriesHalfAsManyTasksWhileTheirEndsConcernOthers() throws {
        let held = Desk(slots: 200)
        let first = try #require(held.nextTurn())
        let tasks = try assignments(0..<100, ["uses", "1"])
        held.settle(first, assigned: 100, isCertain: true)
        #expect(held.add(tasks).count == 100)
        try held.end(tasks)
        let one = try #require(held.nextTurn())
        #expect(one.reports.count == 50)
        #expect(one.want == 50)
        let two = try #require(held.nextTurn())
        #expect(two.reports.count == 50)
        held.settle(one, assigned: 50, isCertain: true)
        #expect(held.add(try assignments(100..<150)).count == 50)
        held.settle(two, assigned: 0, isCertain: true)
        held.mayHaveWork = true
        #expect(held.nextTurn()?.want == 100)
    }

    @Test func aCallNeverAsksForMoreThanTheFreeSlots() throws {
        let held = Desk(slots: 150)
        let first = try #require(held.nextTurn())
        #expect(first.want == 75)
        held.settle(first, assigned: 75, isCertain: true)
        #expect(held.add(try assignments(0..<75)).count == 75)
        let second = try #require(held.nextTurn())
        #expect(second.want == 75)
        #expect(!held.hasTurn)
        held.settle(second, assigned: 75, isCertain: true)
        #expect(held.add(try assignments(75..<150)).count == 75)
        held.mayHaveWork = true
        #expect(!held.hasTurn)
    }

    @Test func afterALostReplyOneCallAloneCountsWhatIsHeld() throws {
        let held = Desk(slots: 64)
        let first = try #require(held.nextTurn())
        held.settle(first, assigned: 32, isCertain: true)
        let tasks = try assignments(0..<32)
        held.add(tasks)
        let lost = try #require(held.nextTurn())
        try held.end(tasks)
        let other = try #require(held.nextTurn())
        #expect(other.holding == 32)
        held.giveBack(lost)
        // The other's guess does not settle it.
        #expect(!held.hasTurn)
        held.settle(other, assigned: 0, isCertain: true)
        let counting = try #require(held.nextTurn())
        #expect(counting.counts)
        #expect(counting.holding == 0)
        // What the lost reply had assigned, and more than was asked for.
        held.settle(counting, assigned: 32, isCertain: true)
        #expect(held.add(try assignments(32..<64)).count == 32)
        #expect(held.nextTurn()?.counts == false)
    }

    @Test func aReportGivenBackGoesBeforeTheOthers() throws {
        let held = Desk(slots: 2)
        let first = try #require(held.nextTurn())
        let tasks = try assignments(0..<2)
        held.settle(first, assigned: 2, isCertain: true)
        held.add(tasks)
        try held.end(Array(tasks[0..<1]))
        let failed = try #require(held.nextTurn())
        try held.end(Array(tasks[1..<2]))
        held.giveBack(failed)
        #expect(held.reports.map(\.taskID) == ["t0", "t1"])
        // Sent again because we are not known to hold it: its report waits.
        #expect(held.add(tasks).isEmpty)
    }

    @Test func aLaterAttemptTakesThePlaceOfAnEarlierOne() throws {
        let held = Desk(slots: 1)
        let turn = try #require(held.nextTurn())
        held.settle(turn, assigned: 1, isCertain: true)
        let first = try assignments(0..<1)
        let second = try assignments(0..<1, attempt: 2)
        #expect(held.add(first).count == 1)
        #expect(held.add(first).isEmpty)
        #expect(held.add(second).count == 1)
        #expect(held.add(first).isEmpty)
        // The first one's end concerns nobody.
        try held.end(first)
        #expect(held.reports.isEmpty)
        try held.end(second)
        #expect(held.reports.map(\.attempt) == [2])
    }

    @Test func aDrainingWorkerReportsAsksForNothingAndIsThenOver() throws {
        let held = Desk(slots: 4)
        let turn = try #require(held.nextTurn())
        held.isDraining = true
        #expect(!held.isOver)
        // Its last pull still brought something.
        held.settle(turn, assigned: 1, isCertain: true)
        let tasks = try assignments(0..<1)
        held.add(tasks)
        #expect(!held.hasTurn)
        #expect(!held.isOver)
        try held.end(tasks)
        let last = try #require(held.nextTurn())
        #expect(last.want == 0)
        #expect(!held.isOver)
        held.settle(last, assigned: 0, isCertain: true)
        #expect(held.isOver)
    }

    @Test func aStoppedAttemptIsNotReportedUnlessItsTimeWasOver() throws {
        let held = Desk(slots: 4)
        let turn = try #require(held.nextTurn())
        held.settle(turn, assigned: 2, isCertain: true)
        let tasks = try assignments(0..<2)
        held.add(tasks)
        #expect(held.stop("t0", attempt: 1, .notOurs))
        #expect(held.stop("t1", attempt: 1, .timeLimit))
        // The first reason stands.
        #expect(!held.stop("t1", attempt: 1, .notOurs))
        #expect(!held.stop("t9", attempt: 1, .notOurs))
        try held.end(tasks)
        #expect(held.reports.map(\.taskID) == ["t1"])
        #expect(held.reports.map(\.outcome) == [.timeout])
    }
}

/// The attempts of a worker, as an object: the macros of the tests call no mutating methods.
private final class Desk {
    private var attempts: HeldAttempts
    private let holder = Result {
        try AttemptHolder(
            link: WorkerProtocol(
                worker: "w", queue: "q", client: RedisClient(.init(endpoint: .unixSocket(path: "/nonexistent"))),
                logger: .init(label: "test")),
            table: AttemptTable(slots: 1), logger: .init(label: "test"))
    }

    init(slots: Int) { attempts = HeldAttempts(slots: slots) }

    var reports: [WorkerProtocol.Report] { attempts.reports }
    var isOver: Bool { attempts.isOver }
    var mayHaveWork: Bool {
        get { attempts.mayHaveWork }
        set { attempts.mayHaveWork = newValue }
    }
    var isDraining: Bool {
        get { attempts.isDraining }
        set { attempts.isDraining = newValue }
    }

    func nextTurn() -> AttemptTable.Turn? { attempts.nextTurn() }
    /// Takes no turn that there is: for those that there are not.
    var hasTurn: Bool { nextTurn() != nil }
    func giveBack(_ turn: AttemptTable.Turn) { attempts.giveBack(turn) }
    func settle(_ turn: AttemptTable.Turn, assigned: Int, isCertain: Bool) {
        attempts.settle(turn, assigned: assigned, isCertain: isCertain)
    }

    /// Answers those that are new.
    @discardableResult
    func add(_ assignments: [WorkerProtocol.Assignment]) -> [String] { attempts.add(assignments).new.map(\.id) }

    func end(_ assignments: [WorkerProtocol.Assignment]) throws {
        for assignment in assignments {
            attempts.end(AttemptEnd(attempt: Attempt(assignment, holder: try holder.get()), outcome: .completed()))
        }
    }

    func stop(_ taskID: String, attempt: Int, _ reason: AttemptTable.StopReason) -> Bool {
        attempts.stop(taskID, attempt: attempt, reason).isStopped
    }
}

import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct ConnectionStateTests {
    private let ping = CollectionOfOne(RedisCommand("PING"))
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    /// - Parameter patience: Seconds without a byte; nil: as many as until the deadline.
    private func replies(
        count: Int = 1, after seconds: Int64 = 5, patience: Int64? = nil, extends: Bool = true
    ) -> PendingReplies {
        let limit = TimeLimit(
            deadline: start + .seconds(seconds), extends: extends, patience: .seconds(patience ?? seconds))
        return count == 1
            ? PendingReplies(.one(OneShot()), limit: limit, start: start)
            : PendingReplies(.all(OneShot()), count: count, limit: limit, start: start)
    }

    private func newState() -> ConnectionState { ConnectionState(endpoint: "test", now: start) }

    /// The number of callers that give up when the timer fires, and when it fires next, in seconds from the start; nil
    /// if the connection is closed.
    private func expire(_ state: inout ConnectionState, at seconds: Int64) -> (late: Int, next: Int64?)? {
        guard case .fail(let late, let next) = state.expire(now: start + .seconds(seconds)) else { return nil }
        #expect(late.allSatisfy { $0.1.kind == .deadlineExceeded && $0.1.mayHaveBeenApplied })
        return (late.count, next.map { ($0 - start).nanoseconds / 1_000_000_000 })
    }

    @Test func oneFlushTakesEverythingThatWasSubmitted() {
        var state = newState()
        guard case .scheduleFlush = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        guard case .flushIsScheduled = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        #expect(state.flush().bytes?.readableBytes == 2 * "*1\r\n$4\r\nPING\r\n".utf8.count)
        #expect(state.flush().bytes == nil)
        guard case .scheduleFlush = state.submit(ping, replies()) else { return #expect(Bool(false)) }
    }

    @Test func onlyWhatWasWrittenMayHaveBeenApplied() {
        var state = newState()
        _ = state.submit(ping, replies())
        _ = state.flush()
        _ = state.submit(ping, replies())
        let violation = RedisError(kind: .protocolViolation, message: "?", endpoint: "test")
        let told = state.close(violation, now: start).map(\.1)
        #expect(told.map(\.mayHaveBeenApplied) == [true, false])
        #expect(told.map(\.kind) == [.protocolViolation, .connectionClosed])
        #expect(told[1].wasNeverSent)
        #expect(state.close(violation).isEmpty)
        guard case .refused(let error) = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        #expect(error.wasNeverSent)
    }

    @Test func onlyLateCommandsAreToldThatTheyAreLate() {
        var state = newState()
        _ = state.submit(ping, replies(after: 9))
        _ = state.submit(ping, replies(after: 2))
        #expect(state.flush().armTimer == start + .seconds(2))
        let closed = RedisError(kind: .connectionClosed, message: "late", endpoint: "test")
        #expect(state.close(closed, now: start + .seconds(2)).map(\.1.kind) == [.connectionClosed, .deadlineExceeded])
    }

    @Test func aCallerThatGivesUpDoesNotCostTheOthersTheConnection() throws {
        var state = newState()
        for (seconds, patience) in [(5, 5), (1, 5), (9, 5), (1, 5)] as [(Int64, Int64)] {
            _ = state.submit(ping, replies(after: seconds, patience: patience, extends: seconds > 1))
        }
        #expect(state.flush().armTimer == start + .seconds(1))
        let first = try #require(expire(&state, at: 1))
        #expect(first.late == 2 && first.next == 5)
        // The late replies arrive after all, in their places, and nobody gets another's.
        state.noteBytes(now: start + .seconds(2))
        for number in 0..<4 {
            guard case (.deliver(let replies, .integer(let found)), false) = state.receive(.integer(Int64(number)))
            else { return #expect(Bool(false)) }
            #expect(found == Int64(number))
            #expect(replies.isAbandoned == (number % 2 == 1))
        }
        #expect(state.isOpen)
    }

    @Test(arguments: [1, 5, 60] as [Int64]) func silenceClosesTheConnection(patience: Int64) throws {
        var state = newState()
        _ = state.submit(ping, replies(after: 1, patience: patience, extends: false))
        _ = state.submit(ping, replies(after: 90, patience: 90))
        #expect(state.flush().armTimer == start + .seconds(1))
        if patience > 1 {
            let expired = try #require(expire(&state, at: 1))
            #expect(expired.late == 1 && expired.next == patience)
        }
        #expect(expire(&state, at: patience) == nil)
    }

    @Test func aCallerWaitsLongerWhileBytesArriveButNotForEver() throws {
        var state = newState()
        _ = state.submit(ping, replies(after: 5))
        _ = state.submit(ping, replies(after: 2, extends: false))
        _ = state.flush()
        #expect(try #require(expire(&state, at: 2)).late == 1)
        // A byte a second.
        for second in 3..<50 as Range<Int64> {
            state.noteBytes(now: start + .seconds(second))
            let expired = try #require(expire(&state, at: second))
            #expect(expired.late == 0, "at \(second) s")
        }
        state.noteBytes(now: start + .seconds(50))
        #expect(try #require(expire(&state, at: 50)).late == 1)
        // The connection itself lives while bytes arrive.
        #expect(expire(&state, at: 54) != nil)
        #expect(expire(&state, at: 55) == nil)
    }

    @Test func theTimerIsArmedOncePerEarliestDeadline() throws {
        var state = newState()
        _ = state.submit(ping, replies(after: 5))
        #expect(state.flush().armTimer == start + .seconds(5))
        _ = state.submit(ping, replies(after: 6))
        #expect(state.flush().armTimer == nil)
        _ = state.submit(ping, replies(after: 1))
        #expect(state.flush().armTimer == start + .seconds(1))
        // Replies come in order, so the third command, which is due first, gets its reply last.
        for _ in 0..<3 { _ = state.receive(.simpleString("PONG")) }
        let expired = try #require(expire(&state, at: 1))
        #expect(expired.late == 0 && expired.next == nil)
        _ = state.submit(ping, replies(after: 7))
        #expect(state.flush().armTimer == start + .seconds(7))
    }

    @Test func aPipelineIsDeliveredWithItsLastReply() {
        var state = newState()
        _ = state.submit([RedisCommand("PING"), RedisCommand("PING")], replies(count: 2))
        _ = state.flush()
        guard case (.incomplete, false) = state.receive(.integer(1)) else { return #expect(Bool(false)) }
        guard case (.deliver(let replies, let last), false) = state.receive(.integer(2)) else {
            return #expect(Bool(false))
        }
        #expect(replies.received == [.integer(1)])
        #expect(last == .integer(2))
    }

    @Test func aReplyThatNobodyAskedForClosesTheConnection() {
        var state = newState()
        guard case (.unexpected, true) = state.receive(.null) else { return #expect(Bool(false)) }
        // Submitted but not yet written: a reply cannot belong to it.
        _ = state.submit(ping, replies())
        guard case (.unexpected, true) = state.receive(.null) else { return #expect(Bool(false)) }
    }

    @Test func aDemotedPrimaryAnswersWhatIsUnderWayAndTakesNothingNew() {
        var state = newState()
        _ = state.submit(ping, replies())
        _ = state.submit(ping, replies())
        _ = state.flush()
        let readOnly = RESPValue.error(.server("READONLY You can't write", endpoint: "test"))
        guard case (.deliver, false) = state.receive(readOnly) else { return #expect(Bool(false)) }
        #expect(!state.isOpen)
        guard case .refused(let error) = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        #expect(error.wasNeverSent)
        guard case (.deliver, true) = state.receive(.null) else { return #expect(Bool(false)) }
    }
}

import NIOCore
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct ConnectionStateTests {
    private let ping = CollectionOfOne(RedisCommand("PING"))
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func replies(count: Int = 1, after seconds: Int64 = 5) -> PendingReplies {
        let deadline = start + .seconds(seconds)
        return count == 1
            ? PendingReplies(.one(OneShot()), deadline: deadline)
            : PendingReplies(.all(OneShot()), count: count, deadline: deadline)
    }

    @Test func oneFlushTakesEverythingThatWasSubmitted() {
        var state = ConnectionState(endpoint: "test")
        guard case .scheduleFlush = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        guard case .flushIsScheduled = state.submit(ping, replies()) else { return #expect(Bool(false)) }
        #expect(state.flush().bytes?.readableBytes == 2 * "*1\r\n$4\r\nPING\r\n".utf8.count)
        #expect(state.flush().bytes == nil)
        guard case .scheduleFlush = state.submit(ping, replies()) else { return #expect(Bool(false)) }
    }

    @Test func onlyWhatWasWrittenMayHaveBeenApplied() {
        var state = ConnectionState(endpoint: "test")
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
        var state = ConnectionState(endpoint: "test")
        _ = state.submit(ping, replies(after: 9))
        _ = state.submit(ping, replies(after: 2))
        #expect(state.flush().armTimer == start + .seconds(2))
        guard case .close = state.expire(now: start + .seconds(2)) else { return #expect(Bool(false)) }
        let closed = RedisError(kind: .connectionClosed, message: "late", endpoint: "test")
        #expect(state.close(closed, now: start + .seconds(2)).map(\.1.kind) == [.connectionClosed, .deadlineExceeded])
    }

    @Test func theTimerIsArmedOncePerEarliestDeadline() {
        var state = ConnectionState(endpoint: "test")
        _ = state.submit(ping, replies(after: 5))
        #expect(state.flush().armTimer == start + .seconds(5))
        _ = state.submit(ping, replies(after: 6))
        #expect(state.flush().armTimer == nil)
        _ = state.submit(ping, replies(after: 1))
        #expect(state.flush().armTimer == start + .seconds(1))
        // Replies come in order, so the third command, which is due first, gets its reply last.
        for _ in 0..<3 { _ = state.receive(.simpleString("PONG")) }
        guard case .nothing = state.expire(now: start + .seconds(1)) else { return #expect(Bool(false)) }
        _ = state.submit(ping, replies(after: 7))
        #expect(state.flush().armTimer == start + .seconds(7))
    }

    @Test func aPipelineIsDeliveredWithItsLastReply() {
        var state = ConnectionState(endpoint: "test")
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
        var state = ConnectionState(endpoint: "test")
        guard case (.unexpected, true) = state.receive(.null) else { return #expect(Bool(false)) }
        // Submitted but not yet written: a reply cannot belong to it.
        _ = state.submit(ping, replies())
        guard case (.unexpected, true) = state.receive(.null) else { return #expect(Bool(false)) }
    }

    @Test func aDemotedPrimaryAnswersWhatIsUnderWayAndTakesNothingNew() {
        var state = ConnectionState(endpoint: "test")
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

import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Every event in every situation")
struct TransitionTests {
    @Test(arguments: Event.allCases)
    func anEventMovesTheTaskAsTheTableSaysOrChangesNothing(event: Event) async throws {
        for situation in TransitionTable.columns {
            try await TestQueue.run { queue in
                // An earlier attempt, so that an event can name one.
                let attempt = try await queue.put(
                    "t", in: situation, afterEarlierAttempt: event == .earlierAttemptFinished)
                if event == .due, situation == .heldBySchedule || situation == .heldByRetry {
                    try await queue.raw("HSET", "{}task:t", "due_at", "1")
                }
                try await expect(event, situation, attempt, queue)
            }
        }
    }

    private func expect(_ event: Event, _ situation: Situation, _ attempt: Int, _ queue: TestQueue) async throws {
        let cell = try #require(TransitionTable.cell(event, situation))
        let label: Comment = "\(event) when \(situation): expected \(cell)"
        let before = try await Snapshot(reading: queue.keys, client: queue.redis.client)
        var answer: RESPValue
        do {
            answer = try await event.cause(queue, attempt: attempt)
        } catch let error as RedisError {
            answer = .error(error)
        }
        let after = try await queue.snapshot()
        let code = answer.error?.code

        switch cell {
        case "pending", "assigned", "running", "completed", "failed", "timeout", "cancelled":
            #expect(code == nil, label)
            #expect(after.state("t")?.rawValue == cell, label)
            #expect(after.task("t")["held_by"] == nil, label)
            expectCounters(event, situation, before, after, label)
        case "retry", "again":
            #expect(after.state("t") == .pending, label)
            #expect(after.task("t")["held_by"] == (cell == "retry" ? "retry" : nil), label)
            #expect(after.task("t")["retry_count"] == "1", label)
            #expect(after.task("t")["tag"] == before.task("t")["tag"] || event == .timeLimitReached, label)
        case "none":
            #expect(after.taskIDs.isEmpty, label)
        default:
            let refusal = cell.hasPrefix("!") ? TransitionTable.refusals[String(cell.dropFirst())] ?? cell : nil
            #expect(code == refusal, label)
            if cell.hasPrefix("="), cell.count > 1 { #expect(answer.string == String(cell.dropFirst()), label) }
            if event == .heartbeat {
                #expect((answer.pairs["stop"]?.array?.first?.string == "t") == (cell == "stop"), label)
            }
            // Aging the queue rewrites every time in it; the task is otherwise unchanged.
            if event == .timeLimitReached {
                #expect(after.state("t") == before.state("t"), label)
                #expect(after.task("t")["attempt"] == before.task("t")["attempt"], label)
            } else {
                #expect(after.changes(since: before, ignoring: event.ownChanges) == [], label)
            }
        }
    }

    /// Only a failed attempt that is retried counts as a retry; an assignment that is given back does not.
    private func expectCounters(
        _ event: Event, _ situation: Situation, _ before: Snapshot, _ after: Snapshot, _ label: Comment
    ) {
        let retries = after.task("t")["retry_count"] ?? "0"
        switch (event, situation) {
        case (.leaseExpired, .assigned), (.workerLost, .assigned):
            #expect(retries == "0", label)
            #expect(after.task("t")["deliveries"] == "1", label)
            #expect(after.task("t")["tag"] == before.task("t")["tag"], label)
        case (.release, .assigned), (.deregister, .assigned):
            #expect(retries == "0", label)
            #expect((after.task("t")["deliveries"] ?? "0") == "0", label)
            #expect(after.task("t")["tag"] == before.task("t")["tag"], label)
        case (.retry, _):
            #expect(retries == "0", label)
            #expect(after.task("t")["tag"] == before.task("t")["tag"], label)
        default: break
        }
    }
}

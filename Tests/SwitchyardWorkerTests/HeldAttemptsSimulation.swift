import RedisClient
import SwitchyardTesting
import Testing

@testable import Switchyard
@testable import SwitchyardWorker

/// A worker's ``HeldAttempts`` and a model of its queue, between which any call is carried out at any time, and any
/// reply arrives at any time or never. The steps are random, and the same for the same seed.
struct HeldAttemptsSimulation {
    private enum Call {
        case exchange(AttemptTable.Exchange)
        case sleep(AttemptTable.Sleep)
    }

    private struct Sent {
        let call: Call
        /// Nil until the queue has carried the call out.
        var reply: [AttemptID]?
    }

    // The queue.
    private let slots: Int
    private var unsubmitted: [AttemptID]
    private var pending: [AttemptID] = []
    private var leases: Set<AttemptID> = []
    private(set) var completed: Set<String> = []

    // Between.
    private var sent: [Sent] = []
    /// Calls that the worker has given up and the queue may still carry out.
    private var ghosts: [Call] = []
    /// Attempts that the queue has ended, and of which the worker is still to be told.
    private var stops: [AttemptID] = []

    // The worker.
    private var attempts: HeldAttempts
    private var running: [AttemptID: WorkerClient.Assignment] = [:]
    private var started: Set<AttemptID> = []
    private(set) var startedTwice: [AttemptID] = []
    private let holder: AttemptHolder
    private var random: SeededGenerator
    private let loses: Bool

    init(seed: UInt64, slots: Int, tasks: Int, loses: Bool) throws {
        self.slots = slots
        self.loses = loses
        random = SeededGenerator(seed: seed)
        unsubmitted = (0..<tasks).map { AttemptID(taskID: "t\($0)", number: 1) }
        attempts = HeldAttempts(slots: slots, now: .now)
        holder = try AttemptHolder(
            link: WorkerClient(
                worker: "w", queue: "q", client: RedisClient(.init(endpoint: .unixSocket(path: "/nonexistent"))),
                logger: .init(label: "test")),
            table: AttemptTable(slots: 1), logger: .init(label: "test"))
    }

    /// Takes steps until all tasks have completed. Returns the number of steps.
    mutating func run(limit: Int, tasks: Int) throws -> Int {
        for step in 1...limit {
            try takeStep()
            if completed.count == tasks { return step }
        }
        return limit
    }

    private mutating func takeStep() throws {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<25:
            if let exchange = attempts.nextExchange(now: .now) { sent.append(Sent(call: .exchange(exchange))) }
        case 25..<35:
            if let sleep = attempts.nextSleep() { sent.append(Sent(call: .sleep(sleep))) }
        case 35..<60:
            let waiting = sent.indices.filter { sent[$0].reply == nil }
            if let index = waiting.randomElement(using: &random) { sent[index].reply = carryOut(sent[index].call) }
        case 60..<75:
            let replied = sent.indices.filter { sent[$0].reply != nil }
            if let index = replied.randomElement(using: &random) { try receive(sent.remove(at: index)) }
        case 75..<92:
            if let id = Self.any(running.keys, &random), let assignment = running.removeValue(forKey: id) {
                attempts.end(AttemptEnd(attempt: Attempt(assignment, holder: holder), outcome: .completed()))
            }
        case 92..<94 where loses: lose()
        case 94 where loses:
            if let ghost = ghosts.randomElement(using: &random) { _ = carryOut(ghost) }
        case 95 where loses: expire()
        case 96 where loses:
            if let id = stops.popLast() { _ = attempts.stop(id.taskID, attempt: id.number, .notOurs) }
        case 97 where loses:
            if let id = Self.any(running.keys, &random) {
                _ = attempts.stop(id.taskID, attempt: id.number, .leaseOver)
            }
        case 98: attempts.noteWork()
        default:
            // A few at a time, so that the worker sleeps in between.
            pending += unsubmitted.suffix(2)
            unsubmitted = unsubmitted.dropLast(2)
        }
    }

    private static func sorted(_ ids: some Sequence<AttemptID>) -> [AttemptID] { ids.sorted { $0.taskID < $1.taskID } }

    private static func any(_ ids: some Sequence<AttemptID>, _ random: inout SeededGenerator) -> AttemptID? {
        sorted(ids).randomElement(using: &random)
    }

    /// What the functions `finish` and `pull` do.
    private mutating func carryOut(_ call: Call) -> [AttemptID] {
        var reply: [AttemptID] = []
        let want: Int
        switch call {
        case .exchange(let exchange):
            for report in exchange.reports {
                let id = AttemptID(taskID: report.taskID, number: report.attempt)
                if leases.remove(id) != nil { completed.insert(id.taskID) }
            }
            want = exchange.want
            if want > 0, leases.count > exchange.holding { reply = Self.sorted(leases) }
        case .sleep(let sleep): want = sleep.want
        }
        for _ in 0..<max(0, min(want, slots - leases.count)) {
            guard let id = pending.popLast() else { break }
            leases.insert(id)
            reply.append(id)
        }
        return reply
    }

    private mutating func receive(_ sent: Sent) throws {
        let assignments = try (sent.reply ?? []).map { id in
            try WorkerClient.Assignment(
                .array(
                    ["task", id.taskID, "attempt", "\(id.number)"].map { .bulkString(.init(string: $0)) }))
        }
        let new = attempts.add(assignments, now: .now).new
        switch sent.call {
        case .exchange(let exchange):
            attempts.settle(exchange, assigned: new.count, isCertain: true, now: .now)
        case .sleep(let sleep): attempts.wakeUp(sleep, assigned: new.count)
        }
        for assignment in new {
            let id = AttemptID(taskID: assignment.id, number: assignment.attempt)
            if !started.insert(id).inserted { startedTwice.append(id) }
            running[id] = assignment
        }
    }

    /// The worker gives a call up. If the queue has not carried it out, it may do so later.
    private mutating func lose() {
        guard let index = sent.indices.randomElement(using: &random) else { return }
        let lost = sent.remove(at: index)
        if lost.reply == nil { ghosts.append(lost.call) }
        switch lost.call {
        case .exchange(let exchange): attempts.giveBack(exchange)
        case .sleep(let sleep): attempts.breakSleep(sleep)
        }
    }

    /// The queue ends a lease and retries the task.
    private mutating func expire() {
        guard let id = Self.any(leases, &random) else { return }
        leases.remove(id)
        pending.insert(AttemptID(taskID: id.taskID, number: id.number + 1), at: 0)
        stops.append(id)
    }
}

/// No order of calls, replies and losses makes the core start an attempt twice, or leaves a task undone.
@Suite struct HeldAttemptsSimulationTests {
    @Test(arguments: [1, 2, 4, 16, 40], [false, true])
    func everyTaskCompletesAndNoAttemptStartsTwice(slots: Int, loses: Bool) throws {
        for seed in 0..<60 {
            let tasks = 60
            var simulation = try HeldAttemptsSimulation(
                seed: UInt64(seed), slots: slots, tasks: tasks, loses: loses)
            let steps = try simulation.run(limit: 60_000, tasks: tasks)
            #expect(simulation.startedTwice == [], "seed \(seed)")
            #expect(simulation.completed.count == tasks, "seed \(seed): \(steps) steps")
            if simulation.completed.count < tasks { return }
        }
    }
}

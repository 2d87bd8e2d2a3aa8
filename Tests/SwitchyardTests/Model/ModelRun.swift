import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// What does not agree between Redis and the model, a sentence for each.
struct Disagreement: Error, CustomStringConvertible {
    let sentences: [String]
    var description: String { "Redis and the model disagree:\n  " + sentences.joined(separator: "\n  ") }
}

/// A sequence of random operations on a queue and on its model at once.
struct ModelRun {
    let queue: TestQueue
    var model: ModelQueue
    var generator: SeededGenerator
    var trace: [String] = []
    /// How often each kind of operation was done.
    var done: [String: Int] = [:]
    var nextID = 0
    private(set) var steps = 0
    /// The model's tasks when they were last compared.
    var compared: [String: ModelTask] = [:]

    /// Whether the queue has only what a plain one has.
    var isSimple = false
    /// What was reported last, by whom: who gets no answer says it again.
    var lastReports: (worker: String, reports: [ModelReport])?

    typealias Workers = [String: (slots: Int, arguments: [RedisArgument], className: String)]
    var kinds: Workers { isSimple ? Self.simpleWorkers : Self.mixedWorkers }
    private static let mixedWorkers: Workers = [
        "w0": (2, [], ""),
        "w1": (3, ["labels", "os=linux,gpu", "cpu", "4"], "gpu,os=linux,+cpu=4"),
        "w2": (6, ["labels", "zone=eu,os=linux", "cpu", "8"], "os=linux,zone=eu,+cpu=8"),
        "w3": (4, ["labels", "zone=us", "cpu", "2", "resources", "license=1"], "zone=us,+cpu=2,+license=1"),
        "w4": (1, [], ""),
    ]

    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &generator)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }
    mutating func ids(_ filter: (ModelTask) -> Bool) -> [String] {
        model.tasks.values.filter(filter).map(\.id).sorted()
    }
    mutating func worker() -> String {
        pick(isSimple ? kinds.keys.sorted() : ["w0", "w1", "w2", "w2", "w3", "w4"])
    }

    mutating func step() async throws {
        try await comeBack()
        if isSimple { try await simpleStep() } else { try await mixedStep() }
        steps += 1
        try await compareOpen(all: steps % 10 == 0)
    }

    /// Workers that were lost, or have not been there yet.
    private mutating func comeBack() async throws {
        for worker in kinds.keys.sorted() where model.workers[worker] == nil && chance(30) {
            try await register(worker)
        }
    }

    private mutating func mixedStep() async throws {
        switch Int.random(in: 0..<100, using: &generator) {
        case 0..<25: try await submit()
        case 25..<48: try await pull()
        case 48..<55: try await start()
        case 55..<77: try await finish()
        case 77..<79: try await release()
        case 79..<82: try await cancel()
        case 82..<85: try await retry()
        case 85..<88: try await prioritize()
        case 88..<90: try await heartbeat()
        case 90..<91: try await changeWorkers()
        case 91..<93: try await pause()
        case 93..<94: try await loseWorker()
        default: try await passTime()
        }
    }

    /// Does `function` with `arguments`, and notes it.
    @discardableResult
    mutating func call(_ function: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
        trace.append("\(function) \(arguments.map { "\($0)".prefix(80) }.joined(separator: " "))")
        done[function, default: 0] += 1
        return try await queue.call(function, arguments)
    }

    func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) throws {
        if !condition { throw Disagreement(sentences: [sentence()]) }
    }

    // MARK: Workers

    mutating func register(_ id: String) async throws {
        guard let kind = kinds[id] else { return }
        let slots = isSimple ? pick([1, 2, 4]) : kind.slots
        try await call("register", ["worker", .string(id), "slots", .integer(Int64(slots))] + kind.arguments)
        model.register(id, slots: slots, className: kind.className)
    }

    private mutating func pull() async throws {
        let id = worker()
        guard model.workers[id] != nil else { return }
        let most = pick([1, 1, 2, 5])
        let start = chance(60)
        var arguments: [RedisArgument] = ["worker", .string(id), "max", .integer(Int64(most))]
        if start { arguments += ["start", "1"] }
        let reply = try await call("pull", arguments)
        let expected = model.pull(id, max: most, start: start)
        try compare(reply.assignments, expected)
    }

    /// What a pull gave: what had not been started in any order, and then what is new in the one that is defined.
    func compare(_ found: [(id: String, attempt: Int)], _ expected: (again: Set<String>, new: [String])) throws {
        let again = Set(found.prefix(expected.again.count).map(\.id))
        let new = found.dropFirst(expected.again.count).map(\.id)
        try expect(again == expected.again, "sent again: \(again.sorted()), expected \(expected.again.sorted())")
        try expect(new == expected.new, "pulled: \(new), expected \(expected.new)")
        for (id, attempt) in found {
            let right = model.tasks[id]?.attempt ?? -1
            try expect(attempt == right, "task \(id) was pulled as attempt \(attempt), expected \(right)")
        }
    }

    mutating func heartbeat() async throws {
        let id = worker()
        guard model.workers[id] != nil else { return }
        var arguments: [RedisArgument] = ["worker", .string(id)]
        for task in model.held(by: id) {
            arguments += ["task", .string(task.id), "attempt", .integer(Int64(task.attempt))]
        }
        try await call("heartbeat", arguments)
        model.heartbeat(id)
    }

    mutating func changeWorkers() async throws {
        let id = worker()
        guard model.workers[id] != nil else { return }
        if chance(50) {
            try await call("deregister", ["worker", .string(id)])
            model.deregister(id)
        } else if chance(50) {
            try await call("drain", ["worker", .string(id)])
            model.drain(id)
        } else {
            try await register(id)
        }
    }

    mutating func loseWorker() async throws {
        let id = worker()
        guard model.workers[id] != nil else { return }
        trace.append("\(id) misses its heartbeats")
        try await queue.missHeartbeats(of: id)
        model.workers[id]?.expires = model.now
        try await tick()
    }

    private mutating func tick() async throws {
        let cleanup = chance(50)
        try await call("tick", ["limit", "1000", "cleanup", cleanup ? "1" : "0"])
        model.tick(cleanup: cleanup)
    }

    mutating func pause() async throws {
        let pauses = !model.isPaused && chance(40)
        try await call("configure", ["paused", pauses ? "1" : "0"])
        model.isPaused = pauses
        if !pauses { model.wakeForLine() }
    }

    mutating func passTime() async throws {
        let steps = pick([1, 1, 2, 3, 5])
        trace.append("\(steps * 5) minutes pass")
        try await queue.age(by: .seconds(steps * 300))
        model.age(by: steps * 300_000)
        for id in kinds.keys.sorted() where model.workers[id] != nil && chance(60) {
            var arguments: [RedisArgument] = ["worker", .string(id)]
            for task in model.held(by: id) where chance(90) || task.state == .assigned {
                arguments += ["task", .string(task.id), "attempt", .integer(Int64(task.attempt))]
            }
            guard arguments.count == 2 + 4 * model.held(by: id).count else { continue }
            try await call("heartbeat", arguments)
            model.heartbeat(id)
        }
        if chance(80) { try await tick() }
    }
}

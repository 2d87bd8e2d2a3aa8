import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// The differences between Redis and the model, a sentence for each.
struct Disagreement: Error, CustomStringConvertible {
    let sentences: [String]
    var description: String { "Redis and the model disagree:\n  " + sentences.joined(separator: "\n  ") }
}

/// A sequence of random operations, applied to a queue and to its model.
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
    /// Ids of deleted tasks, which may be used again.
    var gone: [String] = []

    /// Whether the queue uses no scheduling options.
    var isSimple = false
    /// The workers, if they are others than the usual ones.
    var crowd: Workers?
    /// Whether most tenants come once.
    var hasOneTimeTenants = false
    /// The last reports, and their worker: it repeats them if it got no reply.
    var lastReports: (worker: String, reports: [ModelReport])?

    init(queue: TestQueue, model: ModelQueue, generator: SeededGenerator) {
        self.queue = queue
        self.model = model
        self.generator = generator
    }

    mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: 0..<values.count, using: &generator)] }
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }
    mutating func ids(_ filter: (ModelTask) -> Bool) -> [String] {
        model.tasks.values.filter(filter).map(\.id).sorted()
    }

    mutating func step() async throws {
        try await comeBack()
        if isSimple { try await simpleStep() } else { try await mixedStep() }
        try await adoptTenants()
        steps += 1
        try await compareOpen(all: steps % 10 == 0)
    }

    private mutating func mixedStep() async throws {
        switch Int.random(in: 0..<200, using: &generator) {
        case 0..<36: try await submit()
        case 36..<80: try await pull()
        case 80..<86: try await stage()
        case 86..<90: try await openOrAbandon()
        case 90..<102: try await start()
        case 102..<142: try await finish()
        case 142..<144: try await release()
        case 144..<146: try await handBack()
        case 146..<152: try await cancel()
        case 152..<158: try await retry()
        case 158..<164: try await prioritize()
        case 164..<166: try await heartbeat()
        case 166..<167: try await reportEnding()
        case 167..<169: try await changeWorkers()
        case 169..<171: try await comeFromAnotherProcess()
        case 171..<174: try await pause()
        case 174..<176: try await loseWorker()
        case 176..<178: try await stage()
        case 178..<187: try await openOrAbandon()
        case 187..<188: try await changeSettings()
        case 190..<195: try await reportEnding()
        case 188..<190: try await purgeSome()
        default: try await passTime()
        }
    }

    /// Calls `function` with `arguments`, and adds the call to the trace.
    @discardableResult
    mutating func call(_ function: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
        trace.append("\(function) \(arguments.map { "\($0)".prefix(80) }.joined(separator: " "))")
        done[function, default: 0] += 1
        let reply = try await queue.call(function, arguments)
        if function == "tick" { trace.append("  → \(reply)") }
        return reply
    }

    /// Calls `function` with `arguments`. Returns the code with which Redis refuses the call, or nil.
    mutating func refusal(_ function: String, _ arguments: [RedisArgument]) async throws -> String? {
        do {
            try await call(function, arguments)
            return nil
        } catch let error as RedisError {
            return error.code
        }
    }

    /// Adds the operations of another run to those of this one.
    mutating func take(from other: ModelRun) {
        trace = other.trace
        done.merge(other.done) { $0 + $1 }
    }

    func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) throws {
        if !condition { throw Disagreement(sentences: [sentence()]) }
    }

    func expectNothing(_ problem: String?) throws {
        if let problem { throw Disagreement(sentences: [problem]) }
    }
}

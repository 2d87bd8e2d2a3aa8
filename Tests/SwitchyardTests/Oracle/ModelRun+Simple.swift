import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// A queue with priorities, retries and batches only, where the functions take their fast paths. Full periods, in which
/// each report pulls the next task, alternate with empty ones, in which workers sleep.
extension ModelRun {
    static let simpleWorkers: Workers = [
        "w0": (1, [], ""), "w1": (1, [], ""), "w2": (1, [], ""), "w3": (1, [], ""), "w4": (1, [], ""),
    ]

    mutating func simpleStep() async throws {
        let isBusy = steps / 50 % 2 == 0
        let roll = Int.random(in: 0..<200, using: &generator)
        switch roll {
        case 0..<70: if isBusy || roll < 35 { try await submitPlain() } else { try await report() }
        case 70..<92: try await pullPlain()
        case 92..<94: try await start()
        case 94..<171: try await report()
        case 171..<173: try await release()
        case 173..<177: try await cancel()
        case 177..<179: try await retry()
        case 179..<181: try await prioritize()
        case 181..<183: try await registerAgain()
        case 183..<185: try await heartbeat()
        case 185..<187: try await changeWorkers()
        case 187..<189: try await pause()
        case 189..<190: try await loseWorker()
        case 190..<191: try await purgeSome()
        case 191..<195: try await passTime()
        case 195..<196: try await changeBackoff()
        case 196..<198: try await strayIntoLine()
        default: if model.isPaused { try await pause() }
        }
        try await compareSleepers()
    }

    private mutating func pullPlain() async throws {
        let id = worker()
        let most = pick([0, 1, 1, 1, 2, 5])
        let start = chance(92)
        let holding = holding(id, model.occupying(id).count)
        var arguments: [RedisArgument] = ["worker", .string(id), "max", .integer(Int64(most))]
        arguments += start ? ["start", "1"] : []
        arguments += holding.map { ["holding", .integer(Int64($0))] } ?? []
        do {
            let reply = try await call("pull", arguments)
            try expect(model.workers[id] != nil, "\(id) has not registered, and may pull")
            try await compareAssignments(reply, id, max: most, start: start, holding: holding)
        } catch let error as RedisError {
            try expect(
                error.code == "WORKERNOTFOUND" && model.workers[id] == nil, "the pull got \(error.code)")
        }
    }

    /// The number of attempts that the worker says it knows of: all of them, fewer, because it missed a reply, or nil.
    mutating func holding(_ id: String, _ count: Int) -> Int? {
        if chance(40) { return nil }
        return chance(90) ? count : Int.random(in: 0...max(0, count - 1), using: &generator)
    }

    /// Registers a worker again, mostly with another number of slots, which may be less than its leases.
    private mutating func registerAgain() async throws {
        let busy = ids { $0.isLive }.compactMap { model.tasks[$0]?.worker }
        if let id = busy.randomElement(using: &generator) { try await register(id) }
    }

    /// Without a backoff, a task that failed is pending again at once.
    private mutating func changeBackoff() async throws {
        let delay = pick([0, ModelSettings().retryDelay])
        try await call("configure", ["retry_delay_ms", .integer(Int64(delay))])
        model.settings.retryDelay = delay
    }

    /// Adds an ended task to the front of `pending`, where it does not belong. The first call that meets it removes it,
    /// and continues with the next.
    private mutating func strayIntoLine() async throws {
        let ended = ids { $0.state.isTerminal }
        // A task without attempts differs least from those that belong there.
        let untried = ended.filter { model.tasks[$0]?.attempt == 0 }
        guard let id = (untried.isEmpty ? ended : untried).randomElement(using: &generator) else { return }
        trace.append("\(id) stands in line")
        try await queue.raw("ZADD", "{}pending", "0", id)
        model.strays = 1
        if chance(50) { try await pullPlain() } else { try await report() }
        model.strays = 0
        let isThere = try await queue.raw("ZREM", "{}pending", id).int == 1
        if !isThere { model.counts["repaired", default: 0] += 1 }
    }
}

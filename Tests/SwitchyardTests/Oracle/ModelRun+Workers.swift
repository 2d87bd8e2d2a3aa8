import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Workers that register, pull, and leave.
extension ModelRun {
    typealias Workers = [String: (slots: Int, arguments: [RedisArgument], className: String)]
    var kinds: Workers { crowd ?? (isSimple ? Self.simpleWorkers : Self.mixedWorkers) }
    private static let mixedWorkers: Workers = [
        "w0": (2, [], ""),
        "w1": (3, ["labels", "os=linux,gpu", "cpu", "4"], "gpu,os=linux,+cpu=4"),
        "w2": (6, ["labels", "zone=eu,os=linux", "cpu", "8"], "os=linux,zone=eu,+cpu=8"),
        "w3": (4, ["labels", "zone=us", "cpu", "2", "resources", "license=1"], "zone=us,+cpu=2,+license=1"),
        "w4": (1, [], ""),
        "w5": (2, ["labels", "os=linux,gpu", "only", "gpu"], "gpu,os=linux,!gpu"),
    ]

    mutating func worker() -> String {
        pick(isSimple || crowd != nil ? kinds.keys.sorted() : ["w0", "w1", "w2", "w2", "w3", "w4", "w5"])
    }

    /// Registers workers that were lost, or that are new.
    mutating func comeBack() async throws {
        for worker in kinds.keys.sorted() where model.workers[worker] == nil && chance(30) {
            try await register(worker)
        }
    }

    /// - Parameter nonce: The nonce of the worker process; nil: that of the registered process, or none.
    mutating func register(_ id: String, nonce: String? = nil) async throws {
        guard let kind = kinds[id] else { return }
        let slots = isSimple ? pick([1, 2, 4]) : kind.slots
        let nonce = nonce ?? model.workers[id]?.nonce ?? (chance(70) ? "n\(nextID)" : nil)
        var arguments: [RedisArgument] = ["worker", .string(id), "slots", .integer(Int64(slots))] + kind.arguments
        if let nonce { arguments += ["nonce", .string(nonce)] }
        let grace = chance(75) ? pick([0, 300_000, 900_000]) : nil
        if let grace { arguments += ["grace_ms", .integer(Int64(grace))] }
        let reply = try await call("register", arguments)
        model.register(id, slots: slots, className: kind.className, nonce: nonce, grace: grace)
        try expect(reply.pairs["again"]?.string == "0", "the registration of \(id) was not done at once")
    }

    /// A worker is started again with the same id; calls of its former process are refused from then on.
    mutating func comeFromAnotherProcess() async throws {
        let id = worker()
        guard let former = model.workers[id]?.nonce else { return }
        nextID += 1
        try await register(id, nonce: "n\(nextID)")
        let function = pick(["pull", "heartbeat", "finish", "start", "release", "deregister"])
        var arguments: [RedisArgument] = ["worker", .string(id), "nonce", .string(former)]
        if ["finish", "start", "release"].contains(function) {
            arguments += ["task", .string(ids { _ in true }.last ?? "t"), "attempt", "1"]
            if function == "finish" { arguments += ["outcome", "completed"] }
        }
        let code = try await refusal(function, arguments)
        try expect(code == "WORKERNOTFOUND", "\(function) of a former process got \(code ?? "ok")")
    }

    mutating func pull() async throws {
        let id = worker()
        let most = pick([1, 1, 2, 5])
        try await pull(by: id, max: most, start: chance(60))
    }

    mutating func pull(by id: String, max most: Int, start: Bool) async throws {
        guard let worker = model.workers[id] else { return }
        var arguments: [RedisArgument] = ["worker", .string(id), "max", .integer(Int64(most))]
        if start { arguments += ["start", "1"] }
        if let nonce = worker.nonce, chance(30) { arguments += ["nonce", .string(nonce)] }
        let view = try await view()
        let reply = try await call("pull", arguments)
        try await compare(reply.assignments, view, id, max: most, start: start)
    }

    /// Compares the reply of a pull with the model.
    mutating func compare(
        _ found: [(id: String, attempt: Int)], _ view: ModelView, _ id: String, max most: Int, start: Bool,
        holding: Int? = nil
    ) async throws {
        var view = view
        view.reservedAfter = isSimple ? [:] : try await reservations()
        let reply = ModelQueue.PullReply(ids: found.map(\.id), view: view)
        try expectNothing(model.pull(id, max: most, start: start, holding: holding, reply: reply))
        try await adoptTenants()
        try compareVirtualTime(started: found.map(\.id))
        for (id, attempt) in found {
            let right = model.tasks[id]?.attempt ?? -1
            try expect(attempt == right, "task \(id) was pulled as attempt \(attempt), expected \(right)")
        }
    }

    /// Reads the state that affects the next pull, and that the model does not keep.
    func view() async throws -> ModelView {
        if isSimple { return ModelView() }
        let closed = try await queue.raw("ZRANGEBYSCORE", "{}closed", "(0", "+inf")
        return ModelView(
            closedByRate: Set((closed.array ?? []).compactMap(\.string)), reserved: try await reservations())
    }

    func reservations() async throws -> [String: String] {
        try await queue.raw("HGETALL", "{}reserved").pairs.mapValues {
            String(($0.string ?? "").prefix { $0 != " " })
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

    /// Cordons a worker, or ends its cordon.
    private mutating func turnCordon(of id: String) async throws {
        let ends = model.cordoned.contains(id)
        try await call("cordon", ["worker", .string(id)] + (ends ? ["off", "1"] : []))
        if ends { model.uncordon(id) } else { model.cordon(id) }
    }

    mutating func changeWorkers() async throws {
        if let cordoned = model.cordoned.min(), chance(60) { return try await turnCordon(of: cordoned) }
        let id = worker()
        guard model.workers[id] != nil else { return }
        if chance(20) {
            try await turnCordon(of: id)
        } else if chance(50) {
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
}

import RedisClient
import Switchyard
import SwitchyardTesting

/// A queue in virtual time: workers, tasks and ticks are events of one list, and each calls the functions as a real one
/// would. Violations are noted where they happen.
struct Simulation {
    private enum Event {
        case arrival(Range<Int>)
        case end(task: Int, attempt: Int)
        case tick
        case heartbeats
        /// A task that needs a whole worker has waited for `reserve_after_ms`.
        case reservationDue(Int)
    }

    struct Options {
        var agingMs = 0
        var hasTenants = true
        var tickEvery = 5000
        var reserveAfter = 10_000
    }

    let queue: TestQueue
    let load: SimulatedLoad
    let options: Options
    private(set) var figures: SimulationFigures
    private(set) var state: SimulationState

    private var events = EventQueue<Event>()
    private var now = 0
    private let numbers: [String: Int]
    private let lookForWakeUps: RedisCommand
    private let takeWakeUps: RedisCommand

    init(_ queue: TestQueue, _ load: SimulatedLoad, _ options: Options) {
        self.queue = queue
        self.load = load
        self.options = options
        state = SimulationState(load)
        figures = SimulationFigures(horizon: load.horizon)
        numbers = Dictionary(uniqueKeysWithValues: load.tasks.enumerated().map { ($1.id, $0) })
        let keys = SimulatedFleet.classOf.indices.map { RedisArgument.string(queue.keys.wake(Self.name($0))) }
        lookForWakeUps = RedisCommand("EXISTS", keys)
        let script = """
            local woken = {}
            for i, key in ipairs(KEYS) do if redis.call('DEL', key) == 1 then woken[#woken + 1] = i - 1 end end
            return woken
            """
        takeWakeUps = RedisCommand("EVAL", [.string(script), .integer(Int64(keys.count))], keys)
    }

    private static func name(_ worker: Int) -> String { "w\(worker)" }

    mutating func run() async throws {
        try await begin()
        while let (time, event) = events.next(until: load.horizon) {
            now = time
            switch event {
            case .arrival(let tasks): try await submit(tasks)
            case .end(let task, let attempt): try await finish(task, attempt: attempt)
            case .reservationDue(let task): state.noteReservationDue(task, at: now)
            case .heartbeats:
                for worker in SimulatedFleet.classOf.indices {
                    try await call("heartbeat", ["worker", .string(Self.name(worker))])
                }
            case .tick:
                try await look()
                try await tick()
                events.add(.tick, at: now + options.tickEvery)
            }
        }
        end()
    }

    /// Registers all workers, and submits the first tasks while the queue is paused.
    private mutating func begin() async throws {
        try await call(
            "configure",
            [
                "max_queue_length", "1000000", "lease_ms", "3600000", "retention_ms", "0", "paused", "1", "aging_ms",
                .integer(Int64(options.agingMs)), "reserve_after_ms", .integer(Int64(options.reserveAfter)),
            ])
        for (worker, index) in SimulatedFleet.classOf.enumerated() {
            let offers = SimulatedFleet.classes[index]
            try await call(
                "register",
                [
                    "worker", .string(Self.name(worker)), "slots", .integer(Int64(offers.cpu)), "labels",
                    .string(offers.labels), "cpu", .integer(Int64(offers.cpu)), "memory_mb",
                    .integer(Int64(offers.memoryMB)),
                ])
            try await pull(worker)
        }
        let first = load.tasks.prefix { $0.submittedAt == 0 }.count
        for from in stride(from: 0, to: first, by: 100) { try await submit(from..<min(from + 100, first)) }
        for (index, task) in load.tasks.enumerated().dropFirst(first) {
            events.add(.arrival(index..<index + 1), at: task.submittedAt)
        }
        for time in stride(from: 1_200_000, to: load.horizon, by: 1_200_000) { events.add(.heartbeats, at: time) }
        events.add(.tick, at: options.tickEvery)
        try await call("configure", ["paused", "0"])
        try await tick()
    }

    // MARK: Calls

    /// Calls a function at the present time. Each worker that is woken pulls, and so do those that its pull wakes.
    @discardableResult
    private mutating func call(_ function: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
        let (reply, woken) = try await callOnce(function, arguments)
        var waiting = woken
        while !waiting.isEmpty {
            let worker = waiting.removeFirst()
            waiting += try await pullOnce(worker)
        }
        return reply
    }

    private mutating func callOnce(
        _ function: String, _ arguments: [RedisArgument]
    ) async throws -> (reply: RESPValue, woken: [Int]) {
        figures.calls += 1
        let command = RedisCommand(
            "FCALL", [.string("switchyard_" + function), 1, .string(queue.keys.prefix)], arguments)
        let replies = try await queue.redis.client.pipeline([VirtualTime.set(to: now), command, lookForWakeUps])
        if case .error(let error) = replies[1] { throw error }
        guard replies[2].int ?? 0 > 0 else { return (replies[1], []) }
        let woken = try await queue.redis.client.send(takeWakeUps).array?.compactMap { $0.int.map(Int.init) }
        return (replies[1], woken ?? [])
    }

    /// Ticks as replicas do: again while something is left to do.
    private mutating func tick() async throws {
        for _ in 1...200 where try await call("tick", ["limit", "100", "cleanup", "1"]).pairs["more"]?.int != 1 {
            return
        }
        figures.faults.append("at \(now / 1000) s the ticks do not come to an end")
    }

    private mutating func pull(_ worker: Int) async throws {
        var waiting = try await pullOnce(worker)
        while !waiting.isEmpty { waiting += try await pullOnce(waiting.removeFirst()) }
    }

    /// Pulls for all free slots of the worker. Returns the workers that were woken.
    private mutating func pullOnce(_ worker: Int) async throws -> [Int] {
        let held = state.heldBy[worker]
        let free = SimulatedFleet.classes[SimulatedFleet.classOf[worker]].cpu - held
        let (reply, woken) = try await callOnce(
            "pull",
            [
                "worker", .string(Self.name(worker)), "max", .integer(Int64(free)), "start", "1", "holding",
                .integer(Int64(held)),
            ])
        let assignments = reply.assignments
        if assignments.isEmpty { figures.vainPulls += 1 }
        start(assignments, on: worker)
        return woken
    }

    private mutating func finish(_ task: Int, attempt: Int) async throws {
        let worker = state.workerOf[task]
        state.end(task)
        let held = state.heldBy[worker]
        let free = SimulatedFleet.classes[SimulatedFleet.classOf[worker]].cpu - held
        let (reply, woken) = try await callOnce(
            "finish",
            [
                "worker", .string(Self.name(worker)), "pull", .integer(Int64(free)), "start", "1", "holding",
                .integer(Int64(held)), "task", .string(load.tasks[task].id), "attempt", .integer(Int64(attempt)),
                "outcome", "completed", "exit_code", "0",
            ])
        if reply.array?.first?.array?.first?.string != "completed" {
            figures.faults.append("the end of \(load.tasks[task].id) got \(reply)")
        }
        start(reply.array?.last?.assignments ?? [], on: worker)
        var waiting = woken
        while !waiting.isEmpty { waiting += try await pullOnce(waiting.removeFirst()) }
    }

    private mutating func submit(_ tasks: Range<Int>) async throws {
        var arguments: [RedisArgument] = []
        for index in tasks {
            let task = load.tasks[index]
            let kind = SimulatedLoad.allKinds[task.kind]
            arguments += [
                "task", .string(task.id), "priority", .string(task.priority.rawValue), "timeout_ms",
                .integer(Int64(task.timeout)), "cpu", .integer(Int64(kind.cpu)), "memory_mb",
                .integer(Int64(kind.memoryMB)),
            ]
            if !kind.requires.isEmpty { arguments += ["requires", .string(kind.requires)] }
            if options.hasTenants {
                let weight = task.tenant.map { SimulatedLoad.weights[$0] } ?? 1
                arguments += [
                    "fairness_key", .string(task.tenant.map { "tenant-\($0)" } ?? task.id), "fairness_weight",
                    .integer(Int64(weight)),
                ]
            }
            if let limit = task.limit {
                arguments += [
                    "concurrency_key", .string("limit-\(limit)"), "concurrency_limit",
                    .integer(Int64(SimulatedLoad.limits[limit])),
                ]
            }
            state.arrive(index)
            if task.isBig { events.add(.reservationDue(index), at: now + options.reserveAfter) }
        }
        try await call("submit", arguments)
    }

    // MARK: Figures

    private mutating func start(_ assignments: [(id: String, attempt: Int)], on worker: Int) {
        for (id, attempt) in assignments {
            guard let index = numbers[id] else {
                figures.faults.append("\(id) was assigned, and never submitted")
                continue
            }
            let task = load.tasks[index]
            let wait = now - task.submittedAt
            figures.starts[task.priority, default: 0] += 1
            figures.totalWait[task.priority, default: 0] += wait
            if !task.isBig, task.limit == nil {
                figures.longestWait[task.priority] = max(figures.longestWait[task.priority] ?? 0, wait)
            }
            figures.busy +=
                SimulatedLoad.allKinds[task.kind].cpu * (min(now + task.duration, load.horizon) - now)
            if options.hasTenants, let tenant = task.tenant, state.allTenantsWait(besides: index) {
                figures.sharedStarts[task.priority, default: [0, 0, 0, 0, 0]][tenant] += 1
            }
            if options.agingMs > 0, state.isOvertaking(index, agingMs: options.agingMs) { figures.overtakes += 1 }
            if let fault = state.start(index, on: worker, at: now) { figures.faults.append(fault) }
            if let limit = task.limit {
                figures.mostRunning[limit] = max(figures.mostRunning[limit], state.running[limit])
            }
            if task.isBig {
                let bounds = state.bounds[index] ?? (now, now)
                // It may take a tick to notice.
                let late = max(0, now - bounds.latest - options.tickEvery)
                figures.bigStarts.append(
                    .init(wait: wait, late: late, behindSoonest: max(0, now - bounds.soonest)))
            }
            events.add(.end(task: index, attempt: attempt), at: now + task.duration)
        }
    }

    /// Looks for workers that are idle although they could run a task.
    private mutating func look() async throws {
        figures.looks += SimulatedFleet.classOf.count
        var reservations: [Int: Int] = [:]
        for value in try await queue.raw("HVALS", "{}reserved").array?.compactMap(\.string) ?? [] {
            // The worker, and the time at which it expects to have the room.
            let words = value.split(separator: " ")
            guard let worker = words.first.flatMap({ Int($0.dropFirst()) }) else { continue }
            let time = words.count > 1 ? Int(words[1]) : nil
            reservations[worker] = (time ?? 0) - Int(VirtualTime.start / 1000)
        }
        figures.reservedLooks += reservations.count
        for idle in state.idleWorkers() {
            var task = idle.tasks[0]
            if let time = reservations[idle.worker] {
                guard let first = try await firstTask(of: idle.tasks, endingUntil: time) else { continue }
                task = first
                figures.idleReservedLooks += 1
            } else {
                figures.idleLooks += 1
                if now <= 60_000 { figures.idleLooksAtFirst += 1 }
            }
            let name = "\(Self.name(idle.worker))\(reservations[idle.worker] == nil ? "" : ", reserved,")"
            figures.idleExamples.append("at \(now / 1000) s \(name) could run \(load.tasks[task].id)")
            // Keeps the first three, and the last three.
            if figures.idleExamples.count > 6 { figures.idleExamples.remove(at: 3) }
        }
    }

    /// Returns a task that is the first in the lane of one of `tasks`, and whose time limit ends by `time`.
    private func firstTask(of tasks: [Int], endingUntil time: Int) async throws -> Int? {
        for task in tasks {
            let lane = try await queue.raw("HGET", "{}task:" + load.tasks[task].id, "lane").string ?? ""
            let line = lane.isEmpty ? "pending" : "pending:" + lane
            let first = try await queue.raw("ZRANGE", "{}" + line, "0", "0").array?.first?.string
            if let first = first.flatMap({ numbers[$0] }), now + load.tasks[first].timeout <= time { return first }
        }
        return nil
    }

    private mutating func end() {
        figures.oracleBusy = OraclePacking(load).busy
        for (index, task) in load.tasks.enumerated() where task.isBig && state.isWaiting(index) {
            if let latest = state.bounds[index]?.latest, latest + options.tickEvery < load.horizon {
                figures.bigNeverStarted.append(task.id)
            }
        }
    }
}

import Switchyard

/// Waiting and running tasks and free capacity, as known to the workers and submitters, without a look at the queue.
struct SimulationState {
    private let load: SimulatedLoad
    private(set) var workerOf: [Int]
    private(set) var heldBy = Array(repeating: 0, count: SimulatedFleet.classOf.count)
    private(set) var running = Array(repeating: 0, count: SimulatedLoad.limits.count)
    /// For each task that needs a whole worker and did not start at once: the latest time at which it should start, and
    /// the earliest at which some worker has the room.
    private(set) var bounds: [Int: (latest: Int, soonest: Int)] = [:]

    private var rooms = SimulatedFleet.classOf.map { Room(of: SimulatedFleet.classes[$0]) }
    private var waiting: [Set<Int>] = Array(repeating: [], count: SimulatedLoad.laneCount)
    /// The number of waiting tasks, by lane, level and tenant.
    private var waitingOfTenant: [[[Int]]]
    /// The running tasks of each worker, with their ends.
    private var ends: [[Int: Int]] = Array(repeating: [:], count: SimulatedFleet.classOf.count)
    /// The tasks by lane and level, in the order of their arrival; and how many of these are known to have started.
    private var arrivals: [[[Int]]]
    private var started: [[Int]]

    init(_ load: SimulatedLoad) {
        self.load = load
        workerOf = Array(repeating: -1, count: load.tasks.count)
        let lanes = SimulatedLoad.laneCount
        let tenants = Array(repeating: 0, count: SimulatedLoad.weights.count)
        waitingOfTenant = Array(repeating: Array(repeating: tenants, count: 4), count: lanes)
        arrivals = Array(repeating: Array(repeating: [], count: 4), count: lanes)
        started = Array(repeating: Array(repeating: 0, count: 4), count: lanes)
    }

    func isWaiting(_ index: Int) -> Bool { waiting[load.tasks[index].lane].contains(index) }

    mutating func arrive(_ index: Int) {
        let task = load.tasks[index]
        waiting[task.lane].insert(index)
        arrivals[task.lane][task.priority.level].append(index)
        if let tenant = task.tenant { waitingOfTenant[task.lane][task.priority.level][tenant] += 1 }
    }

    /// Records a start. Returns what is wrong with it, or nil.
    mutating func start(_ index: Int, on worker: Int, at now: Int) -> String? {
        let task = load.tasks[index]
        let kind = SimulatedLoad.allKinds[task.kind]
        var fault: String?
        if waiting[task.lane].remove(index) == nil { fault = "\(task.id) was started twice, or before it came" }
        if !kind.servedBy[SimulatedFleet.classOf[worker]] { fault = "w\(worker) does not serve \(task.id)" }
        if !rooms[worker].fits(kind) { fault = "w\(worker) has no room for \(task.id)" }
        if let tenant = task.tenant { waitingOfTenant[task.lane][task.priority.level][tenant] -= 1 }
        if let limit = task.limit {
            running[limit] += 1
            if running[limit] > SimulatedLoad.limits[limit] {
                fault = "\(running[limit]) tasks of limit-\(limit) run, at most \(SimulatedLoad.limits[limit]) may"
            }
        }
        rooms[worker].take(kind)
        workerOf[index] = worker
        heldBy[worker] += 1
        ends[worker][index] = now + task.duration
        return fault
    }

    mutating func end(_ index: Int) {
        let task = load.tasks[index]
        let worker = workerOf[index]
        rooms[worker].giveBack(SimulatedLoad.allKinds[task.kind])
        heldBy[worker] -= 1
        ends[worker][index] = nil
        if let limit = task.limit { running[limit] -= 1 }
    }

    /// Whether each tenant has a waiting task of this level in this lane.
    func allTenantsWait(besides index: Int) -> Bool {
        let task = load.tasks[index]
        return waitingOfTenant[task.lane][task.priority.level].allSatisfy { $0 > 0 }
    }

    /// Records that the task may reserve a worker now: at the latest it starts when the last of the tasks ends that run
    /// now on workers that could run it.
    mutating func noteReservationDue(_ index: Int, at now: Int) {
        guard isWaiting(index) else { return }
        let kind = SimulatedLoad.allKinds[load.tasks[index].kind]
        let workers = SimulatedFleet.classOf.indices.filter { kind.servedBy[SimulatedFleet.classOf[$0]] }
        bounds[index] = (
            latest: workers.flatMap { ends[$0].values }.max() ?? now,
            soonest: workers.map { timeOfRoom(for: kind, on: $0, from: now) }.min() ?? now
        )
    }

    /// The time at which the worker has room for a task of this kind, if it takes no other.
    private func timeOfRoom(for kind: SimulatedLoad.Kind, on worker: Int, from now: Int) -> Int {
        var room = rooms[worker]
        var time = now
        for (task, end) in ends[worker].sorted(by: { $0.value < $1.value }) where !room.fits(kind) {
            room.giveBack(SimulatedLoad.allKinds[load.tasks[task].kind])
            time = end
        }
        return time
    }

    /// Whether a task of a lower level in its lane arrived so much earlier that aging puts it before this one.
    mutating func isOvertaking(_ index: Int, agingMs: Int) -> Bool {
        let task = load.tasks[index]
        for level in task.priority.level + 1..<4 where level < 4 {
            let line = arrivals[task.lane][level]
            var first = started[task.lane][level]
            while first < line.count, workerOf[line[first]] >= 0 { first += 1 }
            started[task.lane][level] = first
            guard first < line.count else { continue }
            let bound = load.tasks[line[first]].submittedAt + (level - task.priority.level) * agingMs
            if bound < task.submittedAt { return true }
        }
        return false
    }

    /// A worker that has room, and from each lane whose tasks could start there one waiting task.
    struct Idle {
        let worker: Int
        let tasks: [Int]
    }

    /// Workers that have room for a waiting task whose limit is open.
    func idleWorkers() -> [Idle] {
        let limits = SimulatedLoad.limits.count + 1
        let open = waiting.indices.filter { lane in
            let limit = lane % limits - 1
            return !waiting[lane].isEmpty && (limit < 0 || running[limit] < SimulatedLoad.limits[limit])
        }
        return rooms.indices.filter { rooms[$0].cpu > 0 }.compactMap { worker in
            let fitting = open.filter { lane in
                let kind = SimulatedLoad.allKinds[lane / limits]
                return rooms[worker].fits(kind) && kind.servedBy[SimulatedFleet.classOf[worker]]
            }
            return fitting.isEmpty ? nil : Idle(worker: worker, tasks: fitting.compactMap { waiting[$0].first })
        }
    }
}

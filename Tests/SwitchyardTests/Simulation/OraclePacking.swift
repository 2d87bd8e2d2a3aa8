/// Packs the simulated tasks without a queue, with full knowledge and without regard to priorities. A worker with room
/// gets, of the tasks that have arrived and fit, one of the kind that the least capacity can run, and of these a
/// biggest one.
struct OraclePacking {
    /// cpu-milliseconds that were used before the horizon.
    private(set) var busy = 0

    private var rooms = SimulatedFleet.classOf.map { Room(of: SimulatedFleet.classes[$0]) }
    private var waiting: [[Int]] = Array(repeating: [], count: SimulatedLoad.laneCount)
    private var running = Array(repeating: 0, count: SimulatedLoad.limits.count)
    private var events = EventQueue<Event>()
    private let load: SimulatedLoad
    /// The lanes in the order of preference.
    private let lanes: [Int]

    private enum Event {
        case arrival(Int)
        case end(task: Int, worker: Int)
    }

    init(_ load: SimulatedLoad) {
        self.load = load
        let limits = SimulatedLoad.limits.count + 1
        let capacities = SimulatedLoad.allKinds.map { kind in
            zip(kind.servedBy, SimulatedFleet.classes).filter(\.0).reduce(0) { $0 + $1.1.cpu * $1.1.count }
        }
        lanes = (0..<SimulatedLoad.laneCount).sorted { left, right in
            let (a, b) = (left / limits, right / limits)
            return (capacities[a], -SimulatedLoad.allKinds[a].cpu, left)
                < (capacities[b], -SimulatedLoad.allKinds[b].cpu, right)
        }
        run()
    }

    private mutating func run() {
        for (index, task) in load.tasks.enumerated() { events.add(.arrival(index), at: task.submittedAt) }
        var isFilled = false
        while let (time, event) = events.next(until: load.horizon) {
            if time > 0, !isFilled {
                isFilled = true
                for worker in rooms.indices { fill(worker, at: 0) }
            }
            switch event {
            case .arrival(let index):
                waiting[load.tasks[index].lane].append(index)
                if time > 0 { place(load.tasks[index], at: time) }
            case .end(let index, let worker):
                let task = load.tasks[index]
                rooms[worker].giveBack(SimulatedLoad.allKinds[task.kind])
                if let limit = task.limit { running[limit] -= 1 }
                fill(worker, at: time)
            }
        }
    }

    /// Gives the worker tasks that fit, until none does.
    private mutating func fill(_ worker: Int, at time: Int) {
        for lane in lanes {
            while let index = waiting[lane].last, start(index, on: worker, at: time) { waiting[lane].removeLast() }
            if rooms[worker].cpu == 0 { return }
        }
    }

    /// Starts a task that has just arrived on the worker where it leaves the least room.
    private mutating func place(_ task: SimulatedLoad.Task, at time: Int) {
        let kind = SimulatedLoad.allKinds[task.kind]
        let fitting = rooms.indices.filter { rooms[$0].fits(kind) && kind.servedBy[SimulatedFleet.classOf[$0]] }
        guard let worker = fitting.min(by: { rooms[$0].cpu < rooms[$1].cpu }),
            let index = waiting[task.lane].last
        else { return }
        if start(index, on: worker, at: time) { waiting[task.lane].removeLast() }
    }

    private mutating func start(_ index: Int, on worker: Int, at time: Int) -> Bool {
        let task = load.tasks[index]
        let kind = SimulatedLoad.allKinds[task.kind]
        guard kind.servedBy[SimulatedFleet.classOf[worker]], rooms[worker].fits(kind) else { return false }
        if let limit = task.limit {
            guard running[limit] < SimulatedLoad.limits[limit] else { return false }
            running[limit] += 1
        }
        rooms[worker].take(kind)
        busy += kind.cpu * (min(time + task.duration, load.horizon) - time)
        events.add(.end(task: index, worker: worker), at: time + task.duration)
        return true
    }
}

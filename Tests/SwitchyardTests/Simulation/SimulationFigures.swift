import Switchyard

/// What a simulation showed. Times are in milliseconds.
struct SimulationFigures {
    /// cpu-milliseconds that the workers have, that the queue used, and that the oracle used.
    let capacity: Int
    var busy = 0
    var oracleBusy = 0

    var calls = 0
    var vainPulls = 0

    var starts: [TaskPriority: Int] = [:]
    var totalWait: [TaskPriority: Int] = [:]
    /// Of tasks that started, have no limit and need no whole worker.
    var longestWait: [TaskPriority: Int] = [:]
    /// Starts of each tenant while all of them had work of that level in that lane.
    var sharedStarts: [TaskPriority: [Int]] = [:]
    /// How many tasks of each limit ran at once, at most.
    var mostRunning = Array(repeating: 0, count: SimulatedLoad.limits.count)
    /// Starts in a lane where a task of a lower level had waited so long that aging put it first.
    var overtakes = 0

    /// A task that needs a whole worker, and started.
    struct BigStart {
        var wait: Int
        /// How much later than it should have started at last.
        var late: Int
        /// How much later than some worker could have had the room, seen when it had waited for `reserve_after_ms`.
        var behindSoonest: Int
    }

    var bigStarts: [BigStart] = []
    /// Those that should have started within the time, and have not.
    var bigNeverStarted: [String] = []

    /// Looks at a worker, and of these how many found one that is not reserved idle although it could run something.
    var looks = 0
    var idleLooks = 0
    /// Those of the first minute, when all 200 are to be woken.
    var idleLooksAtFirst = 0
    /// Looks at a reserved worker, and of these how many found one idle that could have run the first task of a lane
    /// until the room that it is reserved for is there.
    var reservedLooks = 0
    var idleReservedLooks = 0
    var idleExamples: [String] = []

    /// What must never happen, a sentence for each.
    var faults: [String] = []

    init(horizon: Int) { capacity = SimulatedFleet.capacity * horizon }

    var utilisation: Double { Double(busy) / Double(capacity) }
    var oracleUtilisation: Double { Double(oracleBusy) / Double(capacity) }

    func meanWait(_ priority: TaskPriority) -> Int {
        (totalWait[priority] ?? 0) / max(1, starts[priority] ?? 0)
    }

    /// How far the share of a tenant is from its weight, at most, for levels in which all had work for long enough.
    var worstShare: Double {
        let weights = SimulatedLoad.weights.map(Double.init)
        let weightOfAll = weights.reduce(0, +)
        var worst = 0.0
        for starts in sharedStarts.values {
            let total = Double(starts.reduce(0, +))
            guard total >= 300 else { continue }
            for (count, weight) in zip(starts, weights) {
                worst = max(worst, abs(Double(count) / total - weight / weightOfAll))
            }
        }
        return worst
    }

    /// Levels in which all tenants had work for long enough.
    var sharedLevels: Int { sharedStarts.values.filter { $0.reduce(0, +) >= 300 }.count }
}

import Switchyard

/// The results of a simulation. Times are in milliseconds.
struct SimulationFigures {
    /// cpu-milliseconds that the workers have, that the queue used, and that the oracle used.
    let capacity: Int
    var busy = 0
    var oracleBusy = 0

    var calls = 0
    var vainPulls = 0

    var starts: [TaskPriority: Int] = [:]
    var totalWait: [TaskPriority: Int] = [:]
    /// For tasks that started, have no limit and need no whole worker.
    var longestWait: [TaskPriority: Int] = [:]
    /// The starts of each tenant while all of them had pending tasks of that level in that lane.
    var sharedStarts: [TaskPriority: [Int]] = [:]
    /// The most tasks of each limit that ran at once.
    var mostRunning = Array(repeating: 0, count: SimulatedLoad.limits.count)
    /// Starts in a lane where a task of a lower level had waited so long that aging puts it first.
    var overtakes = 0

    /// A started task that needed a whole worker.
    struct BigStart {
        var wait: Int
        /// How much later it started than its latest allowed time.
        var late: Int
        /// How much later it started than some worker could have had the room, as known when it had waited for
        /// `reserve_after_ms`.
        var behindSoonest: Int
    }

    var bigStarts: [BigStart] = []
    /// Tasks that should have started before the horizon, and have not.
    var bigNeverStarted: [String] = []

    /// The number of checks of a worker, and of those that found a worker idle that is not reserved and could run a
    /// task.
    var looks = 0
    var idleLooks = 0
    /// Those of the first minute, in which all 200 workers are woken.
    var idleLooksAtFirst = 0
    /// The number of checks of a reserved worker, and of those that found it idle although it could have run the first
    /// task of a lane before the time for which it is reserved.
    var reservedLooks = 0
    var idleReservedLooks = 0
    var idleExamples: [String] = []

    /// Violations, a sentence for each.
    var faults: [String] = []

    init(horizon: Int) { capacity = SimulatedFleet.capacity * horizon }

    var utilisation: Double { Double(busy) / Double(capacity) }
    var oracleUtilisation: Double { Double(oracleBusy) / Double(capacity) }

    func meanWait(_ priority: TaskPriority) -> Int {
        (totalWait[priority] ?? 0) / max(1, starts[priority] ?? 0)
    }

    /// The largest difference between the share of a tenant and its weight, for levels in which all had pending tasks
    /// for long enough.
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

    /// The number of levels in which all tenants had pending tasks for long enough.
    var sharedLevels: Int { sharedStarts.values.filter { $0.reduce(0, +) >= 300 }.count }
}

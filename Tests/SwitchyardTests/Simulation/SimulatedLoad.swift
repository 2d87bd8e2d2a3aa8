import Foundation
import Switchyard
import SwitchyardTesting

/// The tasks of the simulation: about 20 % more than the workers can do before the horizon.
///
/// Nine tenths are submitted at the beginning: at each of the levels high, normal and low, each tenant submits the same
/// list as often as its weight says, so that all of them have pending tasks until the level is done. The rest is
/// submitted over time: tasks of all levels, tenants that come once, and every 100 s a critical task that needs a whole
/// worker.
struct SimulatedLoad: Sendable {
    static let weights = [1, 2, 3, 4, 6]

    /// What a task needs.
    struct Kind: Sendable {
        let requires: String
        let cpu: Int
        let memoryMB: Int
        /// How many tasks in a thousand are of this kind; 0 for the kinds of big tasks.
        let share: Int
        /// For each class of workers, whether it could ever run such a task.
        let servedBy: [Bool]

        init(_ requires: String, cpu: Int, memoryMB: Int, share: Int) {
            self.requires = requires
            self.cpu = cpu
            self.memoryMB = memoryMB
            self.share = share
            let lane = LaneName("\(requires),+cpu=\(cpu),+memory_mb=\(memoryMB)")
            servedBy = SimulatedFleet.classes.map { $0.name.serves(lane) }
        }
    }

    static let kinds = [
        Kind("", cpu: 1, memoryMB: 512, share: 90), Kind("", cpu: 2, memoryMB: 2048, share: 80),
        Kind("os=linux", cpu: 1, memoryMB: 1024, share: 130), Kind("os=linux", cpu: 2, memoryMB: 2048, share: 110),
        Kind("os=linux", cpu: 3, memoryMB: 4096, share: 70), Kind("os=linux", cpu: 4, memoryMB: 4096, share: 80),
        Kind("os=linux", cpu: 6, memoryMB: 8192, share: 30), Kind("os=linux", cpu: 8, memoryMB: 8192, share: 20),
        Kind("os=linux|mac", cpu: 1, memoryMB: 1024, share: 60), Kind("zone!=eu", cpu: 2, memoryMB: 1024, share: 60),
        Kind("os=mac", cpu: 2, memoryMB: 2048, share: 70), Kind("os=mac", cpu: 4, memoryMB: 8192, share: 40),
        Kind("arch=arm", cpu: 1, memoryMB: 1024, share: 40), Kind("arch=arm,os=mac", cpu: 5, memoryMB: 8192, share: 20),
        Kind("ssd", cpu: 4, memoryMB: 8192, share: 30), Kind("gpu", cpu: 2, memoryMB: 8192, share: 40),
        Kind("gpu", cpu: 4, memoryMB: 16_384, share: 20), Kind("os=mac", cpu: 8, memoryMB: 8192, share: 10),
    ]

    /// The kinds of critical tasks that need a whole worker.
    static let bigKinds = [
        Kind("os=mac", cpu: 8, memoryMB: 16_384, share: 0), Kind("gpu", cpu: 16, memoryMB: 32_768, share: 0),
        Kind("os=linux", cpu: 16, memoryMB: 16_384, share: 0),
        Kind("arch=arm,os=mac", cpu: 8, memoryMB: 1024, share: 0),
    ]

    /// Milliseconds of the horizon per random task of a level: together they are 20 % more than the workers can do.
    private static let millisecondsPerTemplate = 17_000

    /// How many tasks of each concurrency key may run.
    static let limits = [2, 4, 8, 16]

    struct Task: Sendable {
        let id: String
        /// An index in ``kinds`` and ``bigKinds``, one after the other.
        let kind: Int
        let priority: TaskPriority
        /// Nil for a tenant that comes once.
        let tenant: Int?
        /// An index in ``limits``, or nil.
        let limit: Int?
        /// Milliseconds.
        let duration: Int
        let timeout: Int
        let submittedAt: Int
        let isBig: Bool

        /// The index of its lane: tasks of the same lane may run on the same workers, under the same limit.
        var lane: Int { kind * (SimulatedLoad.limits.count + 1) + (limit ?? -1) + 1 }
    }

    static let allKinds = kinds + bigKinds
    static let laneCount = allKinds.count * (limits.count + 1)

    /// In the order of their submission.
    let tasks: [Task]
    /// The simulated time, in milliseconds.
    let horizon: Int

    init(seed: UInt64, horizon: Int) {
        self.horizon = horizon
        var draw = Draw(generator: SeededGenerator(seed: seed))
        var tasks: [Task] = []
        for priority in [TaskPriority.high, .normal, .low] {
            let templates = (0..<horizon / Self.millisecondsPerTemplate).map { _ in draw.template() }
            for (tenant, weight) in Self.weights.enumerated() {
                for round in 0..<weight {
                    for (number, template) in templates.enumerated() {
                        let id = "\(priority.rawValue)-\(tenant)-\(round * templates.count + number)"
                        tasks.append(draw.task(id, template, priority, tenant: tenant))
                    }
                }
            }
        }
        // A tenth of the tasks is submitted over time.
        for number in 0..<(tasks.count / 10) {
            let priority = TaskPriority.allCases[draw.below(4)]
            let isOnce = draw.below(10) == 0
            let tenant = isOnce ? nil : draw.below(Self.weights.count)
            tasks.append(
                draw.task(
                    "later-\(number)", draw.template(), priority, tenant: tenant, at: draw.below(horizon)))
        }
        for number in 0..<(horizon / 100_000) {
            let template = Draw.Template(
                kind: Self.kinds.count + number % Self.bigKinds.count, limit: nil, duration: 60_000)
            tasks.append(
                draw.task(
                    "big-\(number)", template, .critical, tenant: number % Self.weights.count,
                    at: number * 100_000 + 50_000, isBig: true))
        }
        self.tasks = tasks.sorted { ($0.submittedAt, $0.id) < ($1.submittedAt, $1.id) }
    }
}

/// Random draws for the tasks.
private struct Draw {
    var generator: SeededGenerator

    struct Template {
        let kind: Int
        let limit: Int?
        let duration: Int
    }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &generator) }

    /// Draws what a task needs, and its duration: 20 s to 15 minutes, as many of up to 2 minutes as of more.
    mutating func template() -> Template {
        var left = below(SimulatedLoad.kinds.reduce(0) { $0 + $1.share })
        var kind = 0
        while left >= SimulatedLoad.kinds[kind].share {
            left -= SimulatedLoad.kinds[kind].share
            kind += 1
        }
        // Of each key about as many tasks as may run.
        let slot = below(750)
        let limit = SimulatedLoad.limits.firstIndex { slot < 2 * $0 - SimulatedLoad.limits[0] }
        let duration = 20_000 * pow(45, Double.random(in: 0..<1, using: &generator))
        return Template(kind: kind, limit: limit, duration: Int(duration))
    }

    mutating func task(
        _ id: String, _ template: Template, _ priority: TaskPriority, tenant: Int?, at time: Int = 0,
        isBig: Bool = false
    ) -> SimulatedLoad.Task {
        let timeout = template.duration + template.duration * below(100) / 100 + 1000
        return SimulatedLoad.Task(
            id: id, kind: template.kind, priority: priority, tenant: tenant, limit: template.limit,
            duration: template.duration, timeout: timeout, submittedAt: time, isBig: isBig)
    }
}

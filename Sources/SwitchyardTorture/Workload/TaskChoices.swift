import Switchyard
import SwitchyardTesting

/// Chooses what a client submits next. Each option of a task has its share, alone and together with others.
struct TaskChoices {
    /// The beginning of the ids, which no other client uses.
    let prefix: String
    private var count = 0

    /// How many tasks with one concurrency key may run at once.
    static let limit = 3

    init(prefix: String) { self.prefix = prefix }

    /// One task, or the tasks of a batch.
    mutating func next(_ random: inout SeededGenerator) -> [WorkloadTask] {
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<8: return [task(&random, isCommand: random.oneIn(4))]
        case 8..<16:
            // Plain tasks, which take the fast path.
            return (0..<Int.random(in: 2...30, using: &random)).map { _ in plain(&random) }
        case 16..<18: return (0..<Int.random(in: 2...12, using: &random)).map { _ in task(&random, isCommand: false) }
        default: return chain(&random)
        }
    }

    private mutating func newID() -> String {
        count += 1
        return "\(prefix)-\(count)"
    }

    private mutating func plain(_ random: inout SeededGenerator) -> WorkloadTask {
        WorkloadTask(id: newID(), isCommand: false, milliseconds: Int.random(in: 0...20, using: &random), failures: 0)
    }

    private mutating func task(_ random: inout SeededGenerator, isCommand: Bool) -> WorkloadTask {
        var task = WorkloadTask(
            id: newID(), isCommand: isCommand, milliseconds: Int.random(in: 0...60, using: &random),
            failures: random.oneIn(10) ? Int.random(in: 1...3, using: &random) : 0)
        // Longer than a lease, which must be renewed meanwhile.
        if !isCommand, random.oneIn(60) { task.milliseconds = Int.random(in: 2500...4000, using: &random) }
        if random.oneIn(3) { task.priority = TaskPriority.allCases.randomElement(using: &random) ?? .normal }
        if random.oneIn(6) { task.delay = .milliseconds(Int.random(in: 50...2000, using: &random)) }
        if random.oneIn(4) {
            task.options.concurrencyKey = "key-\(Int.random(in: 0..<6, using: &random))"
            task.options.concurrencyLimit = Self.limit
        }
        if random.oneIn(6) { task.options.fairnessKey = "tenant-\(Int.random(in: 0..<4, using: &random))" }
        if random.oneIn(8) { task.options.resources.cpu = Double(Int.random(in: 1...2, using: &random)) }
        if random.oneIn(12) {
            task.options.rateKey = "rate-\(Int.random(in: 0..<3, using: &random))"
            task.options.ratePerSecond = 50
        }
        return task
    }

    /// Tasks that each wait for one or two before them.
    private mutating func chain(_ random: inout SeededGenerator) -> [WorkloadTask] {
        var tasks: [WorkloadTask] = []
        for _ in 0..<Int.random(in: 2...6, using: &random) {
            var task = task(&random, isCommand: random.oneIn(6))
            if let last = tasks.last { task.options.dependsOn = [last.id] }
            if tasks.count > 1, random.oneIn(2), let first = tasks.first { task.options.dependsOn.append(first.id) }
            tasks.append(task)
        }
        return tasks
    }
}

import Switchyard
import SwitchyardTesting

/// A model of a queue in plain memory: where each task and worker is, which is next, and what follows from each call.
/// It finds everything by a search through all tasks, so that no index can disagree with another.
struct ModelQueue {
    var settings: ModelSettings
    var now = 0
    /// Entries of `pending` that are no pending tasks: whatever counts only the entries counts them.
    var strays = 0
    var isPaused = false
    /// Whether the number of ended tasks has ever been limited.
    var hasLimitedEnded = false
    /// The ids of cordoned workers, registered or not.
    var cordoned: Set<String> = []
    var tasks: [String: ModelTask] = [:]
    var workers: [String: ModelWorker] = [:]
    /// For each task that has not ended, the tasks that depend on it.
    var dependents: [String: [String]] = [:]
    /// Key → the task that has it, and when it expires.
    var unique: [String: (id: String, expires: Int?)] = [:]
    /// Rate key → its theoretical arrival time, in ms.
    var rates: [String: Double] = [:]
    /// The tombstones of purged tasks: the number of the last attempt, and when it expires.
    var tombstones: [String: (attempt: Int, expires: Int)] = [:]
    var tenants = ModelTenants()
    /// Tasks of a fair queue that have entered the queue with their batch: only Redis knows their tags yet.
    var unplaced: [String] = []
    var stages: [String: ModelStage] = [:]
    /// Batches that are opened or cancelled in steps, in their order.
    var batchWork: [ModelBatchWork] = []
    /// The tasks of a batch in their order, including those that no longer exist.
    var members: [String: [String]] = [:]
    var counts: [String: Int] = [:]
    /// The tag of the task submitted before, in µs; nil after time has passed.
    var lastTag: Double?
    /// The number of calls, and the number of workers that the last one woke.
    private(set) var calls = 0
    private(set) var woken = 0

    // What the present call has done so far.
    private(set) var moved: Set<String> = []
    private var arrived: Set<String> = []
    private var ended: [String] = []
    private var takenKeys: [(key: String, id: String)] = []
    private var givenUpKeys: [(key: String, id: String, keepFor: Int?)] = []

    init(settings: ModelSettings) { self.settings = settings }

    /// The score of a task in its lane.
    func place(_ task: ModelTask) -> Double { Double(task.priority.level) * settings.width + task.tag }

    func isBefore(_ one: ModelTask, _ other: ModelTask) -> Bool {
        (place(one), one.id) < (place(other), other.id)
    }

    /// The pending tasks of a lane, first to last. Lane "" has the tasks without requirements and limits.
    func line(_ lane: String) -> [ModelTask] {
        tasks.values.filter { $0.isInLine && $0.lane == lane }.sorted(by: isBefore)
    }

    /// The length of the queue, which includes the tasks of batches that are being opened.
    var pendingCount: Int {
        tasks.values.filter { $0.state == .pending }.count + batchWork.reduce(0) { $0 + $1.unopened.count }
    }

    /// The live tasks of a worker, sorted by id, so that a seed repeats a run.
    func held(by worker: String) -> [ModelTask] {
        tasks.values.filter { $0.isLive && $0.worker == worker }.sorted { $0.id < $1.id }
    }

    /// What occupies the slots of a worker: its live tasks, and those whose process is ending.
    func occupying(_ worker: String) -> [ModelTask] {
        tasks.values.filter { $0.isLive && $0.worker == worker || $0.ending?.worker == worker }.sorted { $0.id < $1.id }
    }

    // MARK: Moves

    mutating func add(_ task: ModelTask, state: TaskState, heldBy: String? = nil) {
        var task = task
        task.state = state
        task.heldBy = heldBy
        tasks[task.id] = task
        tombstones[task.id] = nil
        moved.insert(task.id)
        if task.isInLine { arrived.insert(task.id) }
        if let key = task.uniqueKey { takenKeys.append((key, task.id)) }
        if state.isTerminal { end(task) }
    }

    /// - Parameter isTold: The attempt is told to end, and its process may still run.
    mutating func move(
        _ id: String, to state: TaskState, heldBy: String? = nil, due: Int = 0, isTold: Bool = false
    ) {
        guard var task = tasks[id] else { return }
        if isTold, task.state == .running, let worker = workers[task.worker ?? ""], let grace = worker.grace {
            task.ending = .init(worker: worker.id, until: now + (task.grace ?? grace) + settings.lease)
        }
        var heldBy = heldBy
        var due = due
        if state == .pending, heldBy == nil, let ending = task.ending { (heldBy, due) = ("ending", ending.until) }
        let wasInLine = task.isInLine
        if task.state.isTerminal { counts[task.state.rawValue, default: 0] -= 1 }
        task.state = state
        task.heldBy = heldBy
        task.due = due
        if state == .pending {
            task.worker = nil
            task.startedAt = nil
            task.outcome = nil
            task.result = nil
            task.exitCode = nil
        }
        tasks[id] = task
        moved.insert(id)
        if task.isInLine, !wasInLine { arrived.insert(id) }
        if state.isTerminal { end(task) }
    }

    private mutating func end(_ task: ModelTask) {
        counts[task.state.rawValue, default: 0] += 1
        tasks[task.id]?.finishedAt = now
        tasks[task.id]?.outcome = task.state == .completed ? nil : task.state.rawValue
        ended.append(task.id)
        if let key = task.uniqueKey {
            givenUpKeys.append((key, task.id, task.state == .completed ? task.uniqueFor : nil))
        }
    }

    mutating func takeKey(_ key: String, _ id: String) { takenKeys.append((key, id)) }

    /// Applies what follows from the moves of a call: dependents move too, unique keys change hands, and workers are
    /// woken.
    mutating func endCall() {
        settleDependents()
        calls += 1
        woken = wake(for: arrived.filter { tasks[$0]?.isInLine ?? false }.count)
        for (key, id) in takenKeys { unique[key] = (id, nil) }
        for (key, id, keepFor) in givenUpKeys where unique[key]?.id == id {
            unique[key] = keepFor.map { (id, now + $0) }
        }
        moved = []
        arrived = []
        takenKeys = []
        givenUpKeys = []
    }

    private mutating func settleDependents() {
        var waiting: Set<String> = []
        while !ended.isEmpty {
            let id = ended.removeFirst()
            let state = tasks[id]?.state ?? .cancelled
            for dependent in dependents.removeValue(forKey: id) ?? [] {
                guard !moved.contains(dependent), let task = tasks[dependent], task.heldBy == "dependencies",
                    task.dependencies.contains(id)
                else { continue }
                if state != .completed, !task.runAnyway {
                    waiting.remove(dependent)
                    move(dependent, to: .cancelled)
                } else {
                    tasks[dependent]?.dependenciesLeft -= 1
                    waiting.insert(dependent)
                }
            }
        }
        for id in waiting where tasks[id]?.dependenciesLeft == 0 {
            if let runAt = tasks[id]?.runAt, runAt > now {
                move(id, to: .pending, heldBy: "schedule", due: runAt)
            } else {
                move(id, to: .pending)
            }
        }
    }

    /// Deletes a task, by request or because its retention is over. A unique key that it keeps is deleted with it.
    mutating func forget(_ id: String) {
        guard let task = tasks.removeValue(forKey: id) else { return }
        dependents[id] = nil
        if let key = task.uniqueKey, unique[key]?.id == id { unique[key] = nil }
        let expires = task.finishedAt + settings.tombstone
        if task.attempt > 0, expires > now { tombstones[id] = (task.attempt, expires) }
    }
}

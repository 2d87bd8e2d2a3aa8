import Switchyard
import SwitchyardTesting

/// What the contract (§3 and §6) says of a queue, in plain memory: who is where, who is next, what follows from what.
/// It looks everything up by walking over all tasks; nothing here is an index that could disagree with another.
struct ModelQueue {
    var settings: ModelSettings
    var now = 0
    /// Entries of the line that are no pending tasks: whoever only counts the line counts them.
    var strays = 0
    var isPaused = false
    var tasks: [String: ModelTask] = [:]
    var workers: [String: ModelWorker] = [:]
    /// Who waits for a task that has not ended.
    var dependents: [String: [String]] = [:]
    /// Key → who has it, and until when.
    var unique: [String: (id: String, expires: Int?)] = [:]
    /// Lane → the worker kept free for it.
    var reserved: [String: String] = [:]
    /// Rate key → when its bucket is full again.
    var rates: [String: Int] = [:]
    /// Virtual time, and the finish tags of the tenants, in each level.
    var virtualTime: [TaskPriority: Double] = [:]
    var finishTags: [TaskPriority: [String: Double]] = [:]
    var counts: [String: Int] = [:]
    /// When the task before was submitted, in µs of Redis's places; nil after time has passed.
    var lastTag: Double?
    /// How many calls there were, and how many workers the last one woke.
    private(set) var calls = 0
    private(set) var woken = 0

    // What the present call has done so far.
    private(set) var moved: Set<String> = []
    private var ended: [String] = []
    private var freed: Set<String> = []
    private var stopped: [String: Int] = [:]
    private var takenKeys: [(key: String, id: String)] = []
    private var givenUpKeys: [(key: String, id: String, keepFor: Int?)] = []

    init(settings: ModelSettings) { self.settings = settings }

    func running(_ key: String) -> Int { tasks.values.filter { $0.isLive && $0.concurrencyKey == key }.count }

    /// The tasks of a lane ("": none) in line, first to last.
    func line(_ lane: String) -> [ModelTask] { ordered(tasks.values.filter { $0.isInLine && $0.lane == lane }) }

    private func ordered(_ tasks: [ModelTask]) -> [ModelTask] {
        tasks.sorted { ($0.place, $0.id) < ($1.place, $1.id) }
    }

    var pendingCount: Int { tasks.values.filter { $0.state == .pending }.count }

    /// By their ids, so that a seed repeats a run.
    func held(by worker: String) -> [ModelTask] {
        tasks.values.filter { $0.isLive && $0.worker == worker }.sorted { $0.id < $1.id }
    }

    // MARK: Moves

    mutating func add(_ task: ModelTask, state: TaskState, heldBy: String? = nil) {
        var task = task
        task.state = state
        task.heldBy = heldBy
        tasks[task.id] = task
        moved.insert(task.id)
        if let key = task.uniqueKey { takenKeys.append((key, task.id)) }
        if state.isTerminal { end(task) }
    }

    mutating func move(_ id: String, to state: TaskState, heldBy: String? = nil, due: Int = 0) {
        guard var task = tasks[id] else { return }
        let isLive = state == .assigned || state == .running
        if let key = task.concurrencyKey {
            if task.isLive, !isLive {
                freed.insert(key)
                stopped[key, default: 0] += 1
            } else if task.isInLine, !isLive, heldBy != "concurrency_limit" {
                freed.insert(key)
            }
        }
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

    /// What follows from the moves of a call: dependents and blocked tasks move too, keys change hands.
    /// - Parameter wakes: whether the call wakes workers for what it put in line.
    mutating func endCall(wakes: Bool = false) {
        settleDependents()
        releaseBlocked()
        calls += 1
        woken = wakes ? wake(for: moved.filter { tasks[$0]?.isInLine ?? false }.count) : 0
        for (key, id) in takenKeys { unique[key] = (id, nil) }
        for (key, id, keepFor) in givenUpKeys where unique[key]?.id == id {
            unique[key] = keepFor.map { (id, now + $0) }
        }
        moved = []
        freed = []
        stopped = [:]
        takenKeys = []
        givenUpKeys = []
    }

    private mutating func settleDependents() {
        var waiting: Set<String> = []
        while !ended.isEmpty {
            let id = ended.removeFirst()
            let state = tasks[id]?.state ?? .cancelled
            for dependent in dependents.removeValue(forKey: id) ?? [] {
                guard !moved.contains(dependent), let task = tasks[dependent], task.heldBy == "dependencies"
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

    /// The end of a running task of a key lets the first blocked one back in line: at most one for each that ended, and
    /// one more, for the limits of tasks may differ.
    private mutating func releaseBlocked() {
        for key in freed.sorted() {
            let blocked = ordered(
                tasks.values.filter {
                    $0.concurrencyKey == key && $0.heldBy == "concurrency_limit" && !moved.contains($0.id)
                })
            var running = running(key)
            for task in blocked.prefix((stopped[key] ?? 0) + 1) where running < task.concurrencyLimit {
                running += 1
                move(task.id, to: .pending)
            }
        }
    }
}

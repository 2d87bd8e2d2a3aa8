import Switchyard

/// How attempts begin and end.
extension ModelQueue {
    mutating func start(_ id: String) {
        guard let task = tasks[id], task.state == .assigned else { return }
        move(id, to: .running)
        tasks[id]?.startedAt = now
        tasks[id]?.leaseEnds = now + min(settings.lease, task.timeout)
        endCall()
    }

    mutating func release(_ id: String) {
        returnAssignment(id, counted: false)
        endCall(wakes: true)
    }

    mutating func finish(_ id: String, outcome: String, retryable: Bool) {
        if outcome == "completed" {
            move(id, to: .completed)
        } else {
            endAttempt(id, outcome: outcome, retryable: retryable)
        }
        endCall()
    }

    mutating func endAttempt(_ id: String, outcome: String, retryable: Bool = true, atOnce: Bool = false) {
        guard let task = tasks[id] else { return }
        if retryable, task.retryCount < task.maxRetries {
            record(id, outcome: outcome)
            tasks[id]?.retryCount += 1
            counts["retries", default: 0] += 1
            if atOnce || settings.retryDelay == 0 { return move(id, to: .pending) }
            let delay = settings.retryDelay << task.retryCount
            move(id, to: .pending, heldBy: "retry", due: now + min(delay, 86_400_000))
        } else {
            move(id, to: outcome == "timeout" ? .timeout : .failed)
            tasks[id]?.outcome = outcome
        }
    }

    mutating func returnAssignment(_ id: String, counted: Bool) {
        if counted { tasks[id]?.deliveries += 1 }
        if counted, tasks[id]?.deliveries ?? 0 >= settings.maxDeliveries {
            move(id, to: .failed)
            tasks[id]?.outcome = "lost"
        } else {
            record(id, outcome: counted ? "lost" : "returned")
            move(id, to: .pending)
        }
    }

    /// The latest attempt at a task is over, and the task goes on.
    private mutating func record(_ id: String, outcome: String) {
        guard let task = tasks[id] else { return }
        tasks[id]?.records[task.attempt] = ModelTask.Record(worker: task.worker, outcome: outcome)
    }

    mutating func loseAttempt(_ id: String) {
        counts["lost", default: 0] += 1
        if tasks[id]?.state == .assigned { return returnAssignment(id, counted: true) }
        tasks[id]?.deliveries += 1
        let isLast = (tasks[id]?.deliveries ?? 0) >= settings.maxDeliveries
        // That a worker died says nothing of the task yet: the first time it does not wait.
        endAttempt(id, outcome: "lost", retryable: !isLast, atOnce: tasks[id]?.deliveries == 1)
    }

    // MARK: At a person's request

    mutating func cancel(_ ids: [String]) {
        for id in ids where tasks[id]?.state.isTerminal == false { move(id, to: .cancelled) }
        endCall()
    }

    /// A task that has ended runs again, once those of its dependencies that have not ended have.
    mutating func retry(_ id: String) {
        guard let task = tasks[id] else { return }
        if task.worker != nil { record(id, outcome: task.outcome ?? task.state.rawValue) }
        tasks[id]?.retryCount = 0
        tasks[id]?.deliveries = 0
        let open = task.dependencies.filter { tasks[$0]?.state.isTerminal == false }
        for other in open {
            dependents[other, default: []].removeAll { $0 == id }
            dependents[other, default: []].append(id)
        }
        if !open.isEmpty { tasks[id]?.dependenciesLeft = open.count }
        move(id, to: .pending, heldBy: open.isEmpty ? nil : "dependencies")
        if let key = task.uniqueKey, unique[key] == nil { takeKey(key, id) }
        endCall(wakes: true)
    }

    mutating func prioritize(_ id: String, _ priority: TaskPriority) {
        guard let task = tasks[id] else { return }
        tasks[id]?.place += Double(priority.level - task.priority.level) * settings.width
        tasks[id]?.priority = priority
        move(id, to: .pending, heldBy: task.heldBy, due: task.due)
        endCall()
    }

    // MARK: Workers and time

    mutating func register(_ id: String, slots: Int, className: String) {
        var worker = workers[id] ?? ModelWorker(id: id, slots: slots, className: className, expires: 0)
        worker.slots = slots
        worker.className = className
        worker.expires = now + settings.lease
        workers[id] = worker
        reserved = reserved.filter { $0.value != id }
    }

    mutating func heartbeat(_ id: String) {
        workers[id]?.expires = now + settings.lease
        for task in held(by: id) where task.state == .running {
            tasks[task.id]?.leaseEnds = min(now + settings.lease, (task.startedAt ?? 0) + task.timeout)
        }
    }

    mutating func drain(_ id: String) {
        workers[id]?.draining = true
        workers[id]?.isAsleep = false
        reserved = reserved.filter { $0.value != id }
    }

    mutating func deregister(_ id: String) {
        for task in held(by: id) {
            if task.state == .assigned { returnAssignment(task.id, counted: false) } else { loseAttempt(task.id) }
        }
        forget(id)
        endCall(wakes: true)
    }

    private mutating func forget(_ id: String) {
        workers[id] = nil
        reserved = reserved.filter { $0.value != id }
    }

    /// Time passes; nothing happens before the next tick.
    mutating func age(by milliseconds: Int) {
        now += milliseconds
        lastTag = nil
        let shift = Double(milliseconds) * 1000
        for id in tasks.keys { tasks[id]?.place -= shift }
        virtualTime = virtualTime.mapValues { $0 - shift }
        finishTags = finishTags.mapValues { $0.mapValues { $0 - shift } }
        unique = unique.filter { $0.value.expires.map { $0 > now } ?? true }
    }

    /// - Parameter cleanup: whether it deletes ended tasks whose retention is over.
    mutating func tick(cleanup: Bool) {
        let expired = tasks.values.filter { $0.isLive && $0.leaseEnds <= now }
        let lost = workers.values.filter { $0.expires <= now }
        let due = tasks.values.filter {
            $0.state == .pending && $0.due <= now && ["schedule", "retry", "rate_limit"].contains($0.heldBy ?? "")
        }
        for task in expired {
            if task.state == .running, (task.startedAt ?? 0) + task.timeout <= now {
                endAttempt(task.id, outcome: "timeout")
            } else {
                loseAttempt(task.id)
            }
        }
        for worker in lost {
            for task in held(by: worker.id) { loseAttempt(task.id) }
            forget(worker.id)
        }
        for task in due where !moved.contains(task.id) { move(task.id, to: .pending) }
        endCall()
        wakeForLine()
        guard cleanup else { return }
        tasks = tasks.filter { !$0.value.state.isTerminal || $0.value.finishedAt + settings.retention > now }
    }
}

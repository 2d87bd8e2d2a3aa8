import Switchyard

/// The beginning and the end of attempts.
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
        endCall()
    }

    mutating func finish(_ id: String, outcome: String, retryable: Bool) {
        if outcome == "completed" {
            move(id, to: .completed)
        } else {
            endAttempt(id, outcome: outcome, retryable: retryable)
        }
        endCall()
    }

    mutating func endAttempt(
        _ id: String, outcome: String, retryable: Bool = true, atOnce: Bool = false, isTold: Bool = false
    ) {
        guard let task = tasks[id] else { return }
        if retryable, task.retryCount < task.maxRetries {
            record(id, outcome: outcome)
            tasks[id]?.retryCount += 1
            counts["retries", default: 0] += 1
            if atOnce || settings.retryDelay == 0 { return move(id, to: .pending, isTold: isTold) }
            let delay = settings.retryDelay << task.retryCount
            move(id, to: .pending, heldBy: "retry", due: now + min(delay, 86_400_000), isTold: isTold)
        } else {
            move(id, to: outcome == "timeout" ? .timeout : .failed, isTold: isTold)
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

    /// Records the latest attempt of a task, which is over while the task goes on.
    mutating func record(_ id: String, outcome: String) {
        guard let task = tasks[id] else { return }
        tasks[id]?.records[task.attempt] = ModelTask.Record(worker: task.worker, outcome: outcome)
    }

    mutating func loseAttempt(_ id: String) {
        counts["lost", default: 0] += 1
        if workers[tasks[id]?.worker ?? ""]?.draining == true {
            record(id, outcome: "lost")
            return move(id, to: .pending)
        }
        if tasks[id]?.state == .assigned { return returnAssignment(id, counted: true) }
        tasks[id]?.deliveries += 1
        let isLast = (tasks[id]?.deliveries ?? 0) >= settings.maxDeliveries
        // The death of a worker says nothing about the task yet: the first time, the retry has no backoff.
        endAttempt(id, outcome: "lost", retryable: !isLast, atOnce: tasks[id]?.deliveries == 1)
    }

    /// A worker that drains hands an attempt back.
    mutating func handBack(_ id: String) {
        record(id, outcome: "returned")
        move(id, to: .pending)
        endCall()
    }

    /// The process of an attempt that was told to end is gone, or its time is over.
    mutating func endEnding(_ id: String) {
        tasks[id]?.ending = nil
        if tasks[id]?.heldBy == "ending" { move(id, to: .pending) }
    }

    /// The worker is gone, and with it the processes that were ending.
    mutating func endEndings(of worker: String) {
        for task in occupying(worker) where task.ending != nil { endEnding(task.id) }
    }

    // MARK: At a person's request

    mutating func cancel(_ ids: [String]) {
        for id in ids where tasks[id]?.state.isTerminal == false { move(id, to: .cancelled, isTold: true) }
        endCall()
    }

    /// In a fair queue, a task that changes its level becomes its tenant's next task there.
    mutating func prioritize(_ id: String, _ priority: TaskPriority, found: Double?) {
        guard let task = tasks[id] else { return }
        tasks[id]?.priority = priority
        if tenants.isFair, priority != task.priority {
            tasks[id]?.tag = found ?? 0
            if let moved = tasks[id] { _ = tenants.place(moved, tag: moved.tag, before: nil, after: nil) }
        }
        move(id, to: .pending, heldBy: task.heldBy, due: task.due)
        endCall()
    }
}

import Switchyard

/// Workers that register, drain and leave.
extension ModelQueue {
    /// - Parameter nonce: Nil if the worker process names none.
    mutating func register(
        _ id: String, slots: Int, className: String, nonce: String? = nil, grace: Int? = nil
    ) {
        var worker = workers[id] ?? ModelWorker(id: id, slots: slots, className: className, expires: 0)
        if let nonce, let former = worker.nonce, nonce != former {
            // Another process: the leases of the former one are lost, and the drain does not apply to this one.
            for task in held(by: id) { loseAttempt(task.id) }
            endEndings(of: id)
            workers[id]?.isAsleep = false
            endCall()
            worker.draining = false
        }
        worker.slots = slots
        worker.grace = grace
        worker.className = className
        worker.nonce = nonce ?? worker.nonce
        worker.expires = now + settings.lease
        worker.isAsleep = false
        workers[id] = worker
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
    }

    mutating func cordon(_ id: String) {
        cordoned.insert(id)
        workers[id]?.isAsleep = false
    }

    /// The worker need not be registered. If it is, a wake-up makes it pull.
    mutating func uncordon(_ id: String) {
        cordoned.remove(id)
        if workers[id]?.draining == false { workers[id]?.isWoken = true }
    }

    mutating func deregister(_ id: String) {
        for task in held(by: id) {
            if task.state == .assigned { returnAssignment(task.id, counted: false) } else { loseAttempt(task.id) }
        }
        endEndings(of: id)
        workers[id] = nil
        endCall()
    }
}

import Switchyard

extension Snapshot {
    /// What does not hold between the keys about workers.
    var workerViolations: [String] {
        var found: [String] = []
        let registered = sortedSet("workers")
        let idle = sortedSet("idle")
        for id in Set(registered.keys).union(ids("worker:")).sorted() {
            if registered[id] == nil { found.append("worker \(id) has a hash, and is not in workers") }
            if contents["worker:" + id] == nil { found.append("worker \(id) is in workers, and has no hash") }
        }
        for prefix in ["attempts:", "wake:"] {
            for id in ids(prefix) where registered[id] == nil {
                found.append("\(prefix)\(id) belongs to nobody registered")
            }
        }
        for id in idle.keys where registered[id] == nil { found.append("worker \(id) is idle, and not registered") }
        for id in ids("worker:") {
            let fields = hash("worker:" + id)
            let state = state(ofWorker: id)
            if state["slots"] != Int(fields["slots"] ?? "") || state["draining"] != Int(fields["draining"] ?? "") {
                found.append("worker \(id) says slots and draining otherwise in its hash than in its attempts")
            }
            let wakeUps = listCount("wake:" + id)
            // A wake-up is taken by the pull that answers it, and only who sleeps is woken.
            if wakeUps > 1 { found.append("worker \(id) has \(wakeUps) wake-ups") }
            if wakeUps > 0, idle[id] != nil { found.append("worker \(id) sleeps, and has been woken") }
            if idle[id] != nil, fields["draining"] == "1" { found.append("worker \(id) drains, and waits for work") }
            if idle[id] != nil, state["asleep"] != 1 { found.append("worker \(id) is idle, and asleep is not set") }
            let held = leases(of: id)
            let slots = Int(fields["slots"] ?? "") ?? 0
            if held.count > slots { found.append("worker \(id) holds \(held.count) attempts on \(slots) slots") }
            let unstarted = held.values.filter { LeaseEntry($0)?.deadline == 0 }.count
            // May be more, until the next pull counts again; fewer would keep lost assignments from being sent again.
            if (state["unstarted"] ?? 0) < unstarted {
                found.append("worker \(id) has \(unstarted) unstarted attempts, and unstarted says fewer")
            }
        }
        return found
    }

    /// The counters in `stats` against what can be counted.
    var countViolations: [String] {
        var found: [String] = []
        let stats = hash("stats").compactMapValues(Int.init)
        var byState: [TaskState: Int] = [:]
        for id in taskIDs { if let state = state(id) { byState[state, default: 0] += 1 } }
        func expect(_ name: String, _ value: Int, _ expected: Int) {
            if value != expected { found.append("stats: \(name) is \(value), counted \(expected)") }
        }
        for state in TaskState.allCases where state.isTerminal {
            let kept = (stats[state.rawValue] ?? 0) - (stats["purged_" + state.rawValue] ?? 0)
            expect("\(state.rawValue) − purged_\(state.rawValue)", kept, byState[state] ?? 0)
        }
        let assigned = stats["assigned"] ?? 0
        expect("assigned", assigned, byState[.assigned] ?? 0)
        expect("leases − assigned", sortedSet("leases").count - assigned, byState[.running] ?? 0)
        expect(
            "slots", stats["slots"] ?? 0,
            ids("worker:").reduce(0) { $0 + (Int(hash("worker:" + $1)["slots"] ?? "") ?? 0) })
        for (name, value) in stats where value < 0 { found.append("stats: \(name) is \(value)") }
        if !taskIDs.isEmpty || !ids("worker:").isEmpty, hash("config")["instance"] == nil {
            found.append("the queue has no instance id")
        }
        return found
    }

    /// The counts of each batch against its tasks.
    var batchViolations: [String] {
        ids("batch:").flatMap { id -> [String] in
            let fields = hash("batch:" + id)
            let counts = fields.compactMapValues(Int.init)
            let tasks = taskIDs.filter { task($0)["batch"] == id }
            var found: [String] = []
            var counted = 0
            var ended = 0
            var deleted = 0
            for state in TaskState.allCases {
                let count = counts[state.rawValue] ?? 0
                let there = tasks.filter { self.state($0) == state }.count
                counted += count
                ended += state.isTerminal ? count : 0
                deleted += count - there
                // Deleted tasks stay counted; only ended ones are ever deleted.
                if count < there || (!state.isTerminal && count != there) {
                    found.append("batch \(id): \(state.rawValue) is \(count), counted \(there)")
                }
            }
            let total = counts["total"] ?? -1
            if counted != total { found.append("batch \(id): its counts add up to \(counted) of \(total)") }
            if deleted != counts["purged"] ?? 0 { found.append("batch \(id): purged is not \(deleted)") }
            if (fields["finished_at"] != nil) != (ended == total) {
                found.append(
                    "batch \(id): \(ended) of \(total) ended, finished_at is \(fields["finished_at"] ?? "absent")")
            }
            return found
        }
    }
}

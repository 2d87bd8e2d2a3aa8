import Switchyard

extension Snapshot {
    /// Violations of the keys about workers.
    var workerViolations: [String] {
        var found: [String] = []
        let registered = sortedSet("workers")
        let classes = hash("class")
        for id in Set(registered.keys).union(ids("worker:")).sorted() {
            if registered[id] == nil { found.append("worker \(id) has a hash, and is not in workers") }
            if contents["worker:" + id] == nil { found.append("worker \(id) is in workers, and has no hash") }
        }
        for prefix in ["attempts:", "wake:"] {
            for id in ids(prefix) where registered[id] == nil {
                found.append("\(prefix)\(id) belongs to nobody registered")
            }
        }
        for id in ids("worker:") {
            let fields = hash("worker:" + id)
            guard let state = state(ofWorker: id) else {
                found.append("worker \(id) has no state that can be read")
                continue
            }
            let isCordoned = fields["cordoned_at"] != nil
            let draining = fields["draining"] == "0" && isCordoned ? 2 : Int(fields["draining"] ?? "")
            if state.slots != Int(fields["slots"] ?? "") || state.draining != draining {
                found.append("worker \(id) has other slots or draining in its hash than in its attempts")
            }
            if fields["cordoned_at"] != hash("cordoned")[id] {
                found.append("worker \(id) is cordoned by only one of its hash and cordoned")
            }
            if let name = state.workerClass, name != classes[id] ?? "" {
                found.append("worker \(id) is of class \(classes[id] ?? "") by class, and of \(name) by its state")
            }
            // A worker has at most one wake-up: only sleeping workers are woken, and the next pull consumes the
            // wake-up.
            let wakeUps = listCount("wake:" + id)
            if wakeUps > 1 { found.append("worker \(id) has \(wakeUps) wake-ups") }
            let held = leases(of: id)
            let slots = Int(fields["slots"] ?? "") ?? 0
            if held.count > slots { found.append("worker \(id) holds \(held.count) attempts on \(slots) slots") }
            let unstarted = held.values.filter { LeaseEntry($0)?.deadline == 0 }.count
            // `unstarted` may be too high until the next pull counts again. If it were too low, lost assignments would
            // not be sent again.
            if state.unstarted < unstarted {
                found.append("worker \(id) has \(unstarted) unstarted attempts, and unstarted says fewer")
            }
        }
        return found
    }

    /// Each sleeping worker is in exactly one pool: that of its class and its free capacity.
    var poolViolations: [String] {
        var found: [String] = []
        var pools: [String: [String: Double]] = [:]
        if contents["idle"] != nil { pools[""] = sortedSet("idle") }
        for pool in ids("idle:") { pools[pool] = sortedSet("idle:" + pool) }
        var sleepers: [String: String] = [:]
        for (pool, workers) in pools.sorted(by: { $0.key < $1.key }) {
            for worker in workers.keys.sorted() {
                if let other = sleepers[worker] { found.append("worker \(worker) sleeps in “\(pool)” and “\(other)”") }
                sleepers[worker] = pool
                found += sleeperViolations(worker, in: pool).map { "worker \(worker) sleeps in “\(pool)”, and \($0)" }
            }
        }
        let filed = sortedSet("idle_pools")
        for pool in Set(pools.keys).union(filed.keys).sorted() where !(pool.isEmpty && filed[pool] == nil) {
            let expected = pool.isEmpty ? nil : pools[pool].flatMap { poolScore(pool, $0.values.min()) }
            if filed[pool] != expected {
                found.append("idle_pools has “\(pool)” at \(filed[pool] ?? -1), expected \(expected ?? -1)")
            }
        }
        return found
    }

    private func sleeperViolations(_ worker: String, in pool: String) -> [String] {
        guard sortedSet("workers")[worker] != nil else { return ["is not registered"] }
        guard let state = state(ofWorker: worker) else { return [] }
        var found: [String] = []
        if state.asleep != 1 { found.append("asleep is not set") }
        if state.draining > 0 { found.append("drains, or is cordoned") }
        if state.workerClass == nil || state.pool != pool { found.append("belongs in “\(state.pool)”") }
        if listCount("wake:" + worker) > 0 { found.append("has been woken") }
        var left = LaneName(state.workerClass ?? "").amounts
        var isWhole = true
        for entry in leases(of: worker).values {
            for (name, amount) in LaneName(LeaseEntry(entry)?.lane ?? "").amounts {
                left[name, default: 0] -= amount
                isWhole = false
            }
        }
        let room = state.room.isEmpty ? LaneName(state.workerClass ?? "").amounts : LaneName(state.room).amounts
        let isRight =
            state.room.isEmpty == isWhole
            && Set(room.keys).union(left.keys).allSatisfy {
                // The text of a free capacity has six digits.
                abs((room[$0] ?? 0) - max(0, left[$0] ?? 0)) <= 1e-5 * max(1, left[$0] ?? 0)
            }
        if !isRight { found.append("has \(left) left") }
        return found
    }

    /// The score of a pool in `idle_pools`, which is the order of waking: the capacity and labels of its workers first,
    /// then how long its first worker has slept.
    private func poolScore(_ pool: String, _ longest: Double?) -> Double? {
        guard let longest else { return nil }
        let parts = pool.split(separator: " ", omittingEmptySubsequences: false)
        let left = LaneName(String(parts[parts.count - 1])).amounts
        let labels = LaneName(String(parts[0])).labels.count
        let cores = left["cpu"] ?? (left.isEmpty ? 0 : 1)
        let endowment = Double(min(127, labels) * 64 + min(63, Int(cores)))
        let epoch = 1_704_067_200_000.0
        return endowment * Double(1 << 40) + max(0, (longest / 1000).rounded(.down) - epoch)
    }

    /// The counters in `stats` against the counted tasks, leases and slots.
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

    /// The counts of each batch against its tasks. Tasks that have not entered the queue yet count as pending.
    var batchViolations: [String] {
        let tasksOfBatch = Dictionary(grouping: taskIDs.filter { task($0)["batch"] != nil }) { task($0)["batch"] ?? "" }
        return ids("batch:").flatMap { id -> [String] in
            let fields = hash("batch:" + id)
            let counts = fields.compactMapValues(Int.init)
            let tasks = tasksOfBatch[id] ?? []
            var found: [String] = []
            var counted = 0
            var ended = 0
            var deleted = 0
            for state in TaskState.allCases {
                let count = counts[state.rawValue] ?? 0
                let there = tasks.filter { self.state($0) == state }.count + (state == .pending ? stillOpening(id) : 0)
                counted += count
                ended += state.isTerminal ? count : 0
                deleted += count - there
                // Deleted tasks stay counted; only ended tasks are deleted.
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
            if expiring.contains("batch:" + id) != (total == 0) {
                found.append("batch \(id) of \(total) tasks stays for ever without tasks, or goes with tasks")
            }
            let members = listCount("members:" + id)
            if members != total { found.append("batch \(id) of \(total) tasks has \(members) members") }
            return found
        }
    }
}

import Switchyard

/// What must hold between the keys of lanes, limits, unique keys and workers' capacity.
extension Snapshot {
    /// The tasks in line, neither held nor begun.
    private var inLine: [String] { taskIDs.filter { state($0) == .pending && task($0)["held_by"] == nil } }

    /// `lanes` has exactly the lanes with somebody in line, each at the place of its first; and the counters agree.
    var lineViolations: [String] {
        var found: [String] = []
        let lanes = sortedSet("lanes")
        let names = Set(lines.map { String($0.dropFirst("pending:".count)) })
        for lane in names.union(lanes.keys).sorted() {
            let first = sortedSet("pending:" + lane).values.min()
            if lanes[lane] != first {
                found.append("lanes: \(lane) is at \(lanes[lane] ?? -1), its first is at \(first ?? -1)")
            }
        }
        let isAging = (Int(hash("config")["aging_ms"] ?? "") ?? 0) > 0
        let line = inLine
        for priority in TaskPriority.allCases {
            let counted = line.filter {
                task($0)["priority"] == priority.rawValue && (isAging || task($0)["lane"] != nil)
            }.count
            let name = "in_lanes_" + priority.rawValue
            let count = Int(hash("stats")[name] ?? "0") ?? -1
            if count != counted { found.append("stats: \(name) is \(count), counted \(counted)") }
        }
        return found
    }

    /// The limits by key, and the unique keys.
    var limitViolations: [String] {
        var found: [String] = []
        var live: [String: Set<String>] = [:]
        var blocked: [String: Set<String>] = [:]
        var mostAllowed: [String: Int] = [:]
        var othersInLine: Set<String> = []
        for id in taskIDs {
            let fields = task(id)
            guard let key = fields["concurrency_key"], let state = state(id), !state.isTerminal else { continue }
            if state != .pending {
                live[key, default: []].insert(id)
                let limit = Int(fields["concurrency_limit"] ?? "1") ?? 0
                mostAllowed[key] = max(mostAllowed[key] ?? 0, limit)
            } else if fields["held_by"] == "concurrency_limit" {
                blocked[key, default: []].insert(id)
            } else if fields["held_by"] == nil {
                othersInLine.insert(key)
            }
        }
        for key in Set(live.keys).union(ids("running:")).sorted() {
            let running = set("running:" + key)
            let counted = live[key] ?? []
            if running != counted {
                found.append("running:\(key) is \(running.sorted()), and \(counted.sorted()) are live")
            }
            if counted.count > mostAllowed[key] ?? 0, !counted.isEmpty {
                found.append("\(counted.count) tasks of \(key) run, at most \(mostAllowed[key] ?? 0) may")
            }
        }
        for key in Set(blocked.keys).union(ids("blocked:")).sorted() {
            let line = Set(sortedSet("blocked:" + key).keys)
            let counted = blocked[key] ?? []
            if line != counted {
                found.append("blocked:\(key) is \(line.sorted()), and \(counted.sorted()) are blocked")
            }
            if live[key] == nil, !othersInLine.contains(key) {
                found.append("tasks of concurrency_key \(key) are blocked, and none runs or stands in line")
            }
        }
        for key in ids("unique:") {
            guard case .string(_, let expires)? = contents["unique:" + key] else { continue }
            let id = string("unique:" + key) ?? ""
            if expires, contents["task:" + id] == nil { continue }
            let isRight = task(id)["unique_key"] == key && (state(id)?.isTerminal == false) != expires
            if !isRight { found.append("unique:\(key) is \(id), which is \(state(id)?.rawValue ?? "gone")") }
        }
        return found
    }

    /// Classes, reservations, and what each worker's attempts take of its capacity.
    var capacityViolations: [String] {
        var found: [String] = []
        let classes = hash("class")
        var counted: [String: Int] = [:]
        for (worker, name) in classes {
            counted[name, default: 0] += 1
            if contents["worker:" + worker] == nil { found.append("class has \(worker), which is not registered") }
        }
        let counts = hash("classes").compactMapValues(Int.init)
        if counts != counted { found.append("classes is \(counts), counted \(counted)") }
        for (lane, worker) in hash("reserved") {
            if contents["worker:" + worker] == nil {
                found.append("\(worker) is reserved for \(lane), and not registered")
            } else if !LaneName(classes[worker] ?? "").serves(LaneName(lane)) {
                found.append("\(worker) is reserved for \(lane), which it does not serve")
            }
        }
        for worker in workersWithAttempts {
            let capacity = LaneName(classes[worker] ?? "").amounts
            var taken: [String: Double] = [:]
            for entry in leases(of: worker).values {
                for (name, amount) in LaneName(LeaseEntry(entry)?.lane ?? "").amounts {
                    taken[name, default: 0] += amount
                }
            }
            for (name, amount) in taken where amount > (capacity[name] ?? 0) + 1e-6 {
                found.append("worker \(worker) has \(name)=\(capacity[name] ?? 0), and its attempts take \(amount)")
            }
        }
        return found
    }
}

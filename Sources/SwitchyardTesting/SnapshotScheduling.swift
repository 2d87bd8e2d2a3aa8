import Switchyard

/// Invariants of concurrency limits, unique keys, workers' capacity, reservations, and the flags of the features that a
/// queue uses.
extension Snapshot {
    /// `running:<key>` contains the live tasks of each concurrency key, and those whose process is ending, at most as
    /// many as the limit allows.
    var limitViolations: [String] {
        var found: [String] = []
        var live: [String: Set<String>] = [:]
        var mostAllowed: [String: Int] = [:]
        for id in taskIDs {
            let fields = task(id)
            guard let state = state(id), state == .assigned || state == .running || fields["ending"] != nil
            else { continue }
            // For a task that a library before version 5 started, only its fields name the limit.
            let concurrency =
                LaneName(fields["lane"] ?? "").concurrency
                ?? (isOfThisLayout(fields)
                    ? nil
                    : fields["concurrency_key"].map {
                        LaneName.Concurrency(key: $0, limit: Int(fields["concurrency_limit"] ?? "1") ?? 0)
                    })
            guard let concurrency else { continue }
            live[concurrency.key, default: []].insert(id)
            mostAllowed[concurrency.key] = max(mostAllowed[concurrency.key] ?? 0, concurrency.limit)
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
        return found
    }

    /// `unique:<key>` names the task that holds the key, and expires if that task has ended.
    var uniqueViolations: [String] {
        var found: [String] = []
        for key in ids("unique:") {
            guard case .string(_, let expires)? = contents["unique:" + key] else { continue }
            let id = string("unique:" + key) ?? ""
            if expires, !hasTask(id) { continue }
            let isRight = task(id)["unique_key"] == key && (state(id)?.isTerminal == false) != expires
            if !isRight { found.append("unique:\(key) is \(id), which is \(state(id)?.rawValue ?? "gone")") }
        }
        for id in taskIDs where state(id)?.isTerminal == false {
            if let key = task(id)["unique_key"], string("unique:" + key) != id {
                found.append("task \(id) has the unique key \(key), which says \(string("unique:" + key) ?? "nothing")")
            }
        }
        return found
    }

    /// The classes of workers, and the capacity that each worker's leases use.
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

    /// `reserved` and `stuck` contain lanes whose tasks need resources; a worker is reserved for at most one lane.
    var reservationViolations: [String] {
        var found: [String] = []
        let lanes = sortedSet("lane_names")
        let classes = hash("class")
        var reservedFor: [String: String] = [:]
        for (lane, text) in hash("reserved").sorted(by: { $0.key < $1.key }) {
            guard let (worker, _) = Self.wordAndTime(text) else {
                found.append("reserved says “\(text)” of \(lane)")
                continue
            }
            if lanes[lane] == nil { found.append("\(worker) is reserved for \(lane), which has no tasks") }
            if let other = reservedFor[worker] { found.append("\(worker) is reserved for \(lane) and for \(other)") }
            reservedFor[worker] = lane
            if contents["worker:" + worker] == nil {
                found.append("\(worker) is reserved for \(lane), and not registered")
            } else if !LaneName(classes[worker] ?? "").serves(LaneName(lane)) {
                found.append("\(worker) is reserved for \(lane), which it does not serve")
            } else if hash("worker:" + worker)["draining"] == "1" {
                found.append("\(worker) is reserved for \(lane), and drains")
            }
        }
        for (lane, text) in hash("stuck").sorted(by: { $0.key < $1.key }) {
            if Self.wordAndTime(text) == nil { found.append("stuck says “\(text)” of \(lane)") }
            if lanes[lane] == nil { found.append("\(lane) is stuck, and has no tasks") }
        }
        for lane in Set(hash("reserved").keys).union(hash("stuck").keys) where LaneName(lane).amounts.isEmpty {
            found.append("\(lane) is reserved or stuck, and asks for no resources")
        }
        return found
    }

    /// Parses a text such as `<worker> <ms>`.
    static func wordAndTime(_ text: String) -> (word: String, time: Int)? {
        let words = text.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 2, !words[0].isEmpty, let time = Int(words[1]) else { return nil }
        return (String(words[0]), time)
    }

    /// Functions look for the keys of a feature only if its flag is set, both in its own field of `config` and in the
    /// field `effective`, which holds all settings.
    var flagViolations: [String] {
        var found: [String] = []
        let config = hash("config")
        let words = Set((config["effective"] ?? "").split(separator: " ").map(String.init))
        func expect(_ flag: String, _ keys: [String]) {
            guard let key = keys.first(where: { contents[$0] != nil }) else { return }
            if config[flag] != "1" || !words.contains("\(flag)=1") {
                found.append("there is \(key), and \(flag) is not set")
            }
        }
        expect("has_lanes", ["lanes", "closed", "lane_names", "class", "classes"])
        expect("has_holds", ["waiting", "cascade", "batch_work"])
        expect("has_schedules", ["schedules"])
        expect("is_fair", TaskPriority.allCases.flatMap { ["tenants:" + $0.rawValue, "past_tenants:" + $0.rawValue] })
        for priority in TaskPriority.allCases where contents["tenants:" + priority.rawValue] != nil {
            if hash("virtual_time")[priority.rawValue].flatMap(Int.init) == nil {
                found.append("tenants of \(priority.rawValue) share, and there is no virtual time")
            }
        }
        for name in hash("virtual_time").keys where TaskPriority(rawValue: name) == nil {
            found.append("virtual_time has \(name)")
        }
        return found
    }
}

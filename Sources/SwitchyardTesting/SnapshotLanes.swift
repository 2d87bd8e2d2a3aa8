import Switchyard

/// Invariants of the lanes, and of the indexes by which workers find them.
extension Snapshot {
    /// The names of the lanes that have pending tasks, sorted.
    private var laneNames: [String] { lines.map { String($0.dropFirst("pending:".count)) } }

    /// A lane with pending tasks is either open or closed. If it is open, its score in `lanes` is at most that of its
    /// first task.
    var laneViolations: [String] {
        var found: [String] = []
        let lanes = sortedSet("lanes")
        let closed = sortedSet("closed")
        let names = Set(laneNames)
        for lane in names.union(lanes.keys).union(closed.keys).sorted() {
            guard let first = sortedSet("pending:" + lane).values.min() else {
                found.append("lane \(lane) is open or closed, and has no tasks")
                continue
            }
            switch (lanes[lane], closed[lane]) {
            case (nil, nil): found.append("lane \(lane) is neither open nor closed")
            case (_?, _?): found.append("lane \(lane) is both open and closed")
            case (let bound?, nil):
                if bound > first { found.append("lanes: \(lane) is at \(bound), its first is at \(first)") }
            case (nil, let due?): found += closedViolations(lane, due)
            }
        }
        let named = sortedSet("lane_names")
        for lane in names.symmetricDifference(named.keys).sorted() {
            found.append("lane \(lane) is not in lane_names, or is there without tasks")
        }
        for (lane, score) in named where score != 0 { found.append("lane_names has \(lane) with a score") }
        return found + waiterViolations + lineCountViolations
    }

    /// Checks a closed lane. `due` is the time until which its rate keeps it closed; 0: its concurrency limit does.
    private func closedViolations(_ lane: String, _ due: Double) -> [String] {
        let name = LaneName(lane)
        if due > 0 { return name.rate == nil ? ["closed: \(lane) waits until \(due), and has no rate"] : [] }
        guard let concurrency = name.concurrency else { return ["closed: \(lane) has no concurrency limit"] }
        var found: [String] = []
        if !set("waiters:" + concurrency.key).contains(lane) {
            found.append("closed: \(lane) is not told when a task of \(concurrency.key) ends")
        }
        // If a key has very many lanes, each tick opens only some of them.
        let isOpening = set("reopening").contains(concurrency.key)
        if !isOpening, set("running:" + concurrency.key).count < concurrency.limit {
            found.append("closed: \(lane) waits, and fewer tasks of \(concurrency.key) run than may")
        }
        return found
    }

    private var waiterViolations: [String] {
        let closed = sortedSet("closed")
        return ids("waiters:").flatMap { key in
            set("waiters:" + key).sorted().compactMap { lane in
                closed[lane] == 0 && LaneName(lane).concurrency?.key == key
                    ? nil : "waiters:\(key) has \(lane), which \(key) does not keep closed"
            }
        }
    }

    private var lineCountViolations: [String] {
        var found: [String] = []
        let stats = hash("stats")
        let isAging = (Int(hash("config")["aging_ms"] ?? "") ?? 0) > 0
        // The pending tasks that are not held.
        let line = taskIDs.filter { state($0) == .pending && task($0)["held_by"] == nil }
        for priority in TaskPriority.allCases {
            let counted = line.filter {
                task($0)["priority"] == priority.rawValue && (isAging || task($0)["lane"] != nil)
            }.count
            let name = "in_lanes_" + priority.rawValue
            let count = Int(stats[name] ?? "0") ?? -1
            if count != counted { found.append("stats: \(name) is \(count), counted \(counted)") }
        }
        let blocked = sortedSet("closed").keys.reduce(0) { $0 + sortedSet("pending:" + $1).count }
        let count = Int(stats["blocked"] ?? "0") ?? -1
        if count != blocked { found.append("stats: blocked is \(count), counted \(blocked)") }
        return found
    }

    /// Each open lane is in the group of its requirements and resources, `work:<group>`, and each such group is in
    /// `work`. Both scores are at most that of the lane's first task. Groups without a lane may remain.
    var workViolations: [String] {
        var found: [String] = []
        let lanes = sortedSet("lanes")
        let work = sortedSet("work")
        for group in ids("work:").sorted() {
            let members = sortedSet("work:" + group)
            let least = members.values.min() ?? 0
            if work[group] == nil || work[group]! > least {
                found.append("group “\(group)” is in work at \(work[group] ?? -1), its first lane is at \(least)")
            }
            for lane in members.keys.sorted() {
                if LaneName(lane).base != group { found.append("group “\(group)” has lane \(lane) of another") }
                if lanes[lane] == nil { found.append("group “\(group)” has lane \(lane), which is not open") }
            }
        }
        for lane in lanes.keys.sorted() {
            guard let first = sortedSet("pending:" + lane).values.min() else { continue }
            let bound = sortedSet("work:" + LaneName(lane).base)[lane]
            if bound == nil || bound! > first {
                found.append("lane \(lane) is in its group at \(bound ?? -1), its first task is at \(first)")
            }
        }
        let config = hash("config")
        if config["served_version"] ?? "0" == config["classes_version"] ?? "0" {
            found += unservedViolations(Dictionary(uniqueKeysWithValues: laneNames.map { ($0, LaneName($0)) }))
        }
        return found
    }

    /// `unserved` contains the open lanes that no class of workers serves. It may lack closed lanes.
    private func unservedViolations(_ lanes: [String: LaneName]) -> [String] {
        let classes = hash("classes").keys.map(LaneName.init)
        let laneless = LaneName("")
        let unserved = Set(sortedSet("unserved").keys)
        return Set(lanes.keys).union(unserved).sorted().compactMap { lane in
            guard let asked = lanes[lane] else { return "unserved has \(lane), which has no tasks" }
            // Lanes that class "" serves are never listed: whether it has workers is checked when `unserved` is read.
            if laneless.serves(asked) { return nil }
            let isServed = classes.contains { $0.serves(asked) }
            if isServed, unserved.contains(lane) { return "unserved has \(lane), which is served" }
            if !isServed, sortedSet("lanes")[lane] != nil, !unserved.contains(lane) {
                return "lane \(lane) has no workers, and is not in unserved"
            }
            return nil
        }
    }
}

import Switchyard

/// What must hold between the lines of lanes, and the indexes by which workers find them.
extension Snapshot {
    /// The lanes with tasks in line, in order.
    private var laneNames: [String] { lines.map { String($0.dropFirst("pending:".count)) } }

    /// A lane with somebody in line is either open, at a place not behind its first task, or closed; and the counters
    /// agree.
    var laneViolations: [String] {
        var found: [String] = []
        let lanes = sortedSet("lanes")
        let closed = sortedSet("closed")
        let names = Set(laneNames)
        for lane in names.union(lanes.keys).union(closed.keys).sorted() {
            guard let first = sortedSet("pending:" + lane).values.min() else {
                found.append("lane \(lane) is open or closed, and nobody stands there")
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

    /// A closed lane whose gate is that of `due` (0: its concurrency key's).
    private func closedViolations(_ lane: String, _ due: Double) -> [String] {
        let name = LaneName(lane)
        if due > 0 { return name.rate == nil ? ["closed: \(lane) waits until \(due), and has no rate"] : [] }
        guard let concurrency = name.concurrency else { return ["closed: \(lane) has no concurrency limit"] }
        var found: [String] = []
        if !set("waiters:" + concurrency.key).contains(lane) {
            found.append("closed: \(lane) is not told when a task of \(concurrency.key) ends")
        }
        // Of very many lanes the ticks open some at a time.
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
        // The tasks in line, neither held nor begun.
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

    /// Each class finds each open lane that it serves, in a group and at a bound not behind the lane's first task; also the class
    /// "" of workers without labels and capacity. What it finds besides are groups and lanes that have no task any more.
    var workViolations: [String] {
        var found: [String] = []
        let classes = Set(hash("classes").keys).union([""])
        let steps = list("class_work")
        let appearing = Set(steps.filter { $0.hasPrefix("add ") }.map { String($0.dropFirst(4)) })
        let going = Set(steps.filter { $0.hasPrefix("gone ") }.map { String($0.dropFirst(5)) })
        let parsed = Dictionary(uniqueKeysWithValues: laneNames.map { ($0, LaneName($0)) })
        let work = sortedSet("work")
        var groupsOfLane: [String: [String]] = [:]
        for group in ids("work:").sorted() {
            let lanes = sortedSet("work:" + group)
            let least = lanes.values.min() ?? 0
            if work[group] == nil || work[group]! > least {
                found.append("group \(group) is in work at \(work[group] ?? -1), its first lane is at \(least)")
            }
            let shape = String(group[group.index(after: group.firstIndex(of: "/") ?? group.startIndex)...])
            for lane in lanes.keys.sorted() {
                groupsOfLane[lane, default: []].append(group)
                if LaneName(lane).shape != shape { found.append("group \(group) has lane \(lane), of another shape") }
            }
        }
        for name in classes.subtracting(appearing).sorted() {
            let workers = LaneName(name)
            let groups = sortedSet("serves:" + name)
            for lane in sortedSet("lanes").keys.sorted() {
                guard let asked = parsed[lane], workers.serves(asked),
                    let first = sortedSet("pending:" + lane).values.min()
                else { continue }
                let isFound = groupsOfLane[lane, default: []].contains { group in
                    sortedSet("work:" + group)[lane]! <= first && groups[group].map { $0 <= first } == true
                }
                if !isFound {
                    found.append("class “\(name)” does not find lane \(lane), whose first task is at \(first)")
                }
            }
        }
        for name in ids("serves:").sorted() {
            if !classes.contains(name), !going.contains(name) {
                found.append("serves:\(name) is of a class without workers")
            }
            for (group, bound) in sortedSet("serves:" + name) where work[group].map({ $0 < bound }) == true {
                found.append("class “\(name)” finds group \(group) at \(bound), which is behind \(work[group] ?? -1)")
            }
        }
        // Where classes have come and gone, a lane may have been left behind in a group that is not its own any more.
        if hash("config")["classes_version"] == nil {
            for (lane, groups) in groupsOfLane where sortedSet("lanes")[lane] == nil {
                found.append("groups \(groups) have lane \(lane), which is not open")
            }
        }
        if steps.isEmpty { found += unservedViolations(parsed) }
        return found
    }

    /// `unserved` has the open lanes that no class of workers serves. Of a closed lane it may know nothing.
    private func unservedViolations(_ lanes: [String: LaneName]) -> [String] {
        let classes = hash("classes").keys.map(LaneName.init)
        let plain = LaneName("")
        let unserved = Set(sortedSet("unserved").keys)
        return Set(lanes.keys).union(unserved).sorted().compactMap { lane in
            guard let asked = lanes[lane] else { return "unserved has \(lane), and nobody stands there" }
            // Whether there are workers of the class "" is looked at when it is asked.
            if plain.serves(asked) { return nil }
            let isServed = classes.contains { $0.serves(asked) }
            if isServed, unserved.contains(lane) { return "unserved has \(lane), which is served" }
            if !isServed, sortedSet("lanes")[lane] != nil, !unserved.contains(lane) {
                return "lane \(lane) is served by nobody, and unserved does not say it"
            }
            return nil
        }
    }
}

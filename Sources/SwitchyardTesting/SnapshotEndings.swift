import Switchyard

extension Snapshot {
    /// An attempt whose process is ending is in `ending`, in the field `ending` of its task, and in the worker's
    /// attempts with the mark `!`, each time with the same worker and time. Its task runs nowhere.
    var endingViolations: [String] {
        var found: [String] = []
        var expected: [String: Double] = [:]
        for id in taskIDs {
            guard let text = task(id)["ending"] else {
                if task(id)["held_by"] == "ending" { found.append("task \(id) waits for an ending, and has none") }
                continue
            }
            guard let (worker, time) = Self.wordAndTime(text) else {
                found.append("task \(id) has the ending “\(text)”")
                continue
            }
            expected["\(id) \(worker)"] = Double(time)
            let state = state(id)
            let isHeld = state == .pending && task(id)["held_by"] != nil
            if state?.isTerminal != true, !isHeld { found.append("task \(id) is ending, and may run") }
            let entry = LeaseEntry(
                attempt: Int(task(id)["attempt"] ?? "") ?? 0, deadline: time, mark: "!", batch: nil,
                lane: task(id)["lane"])
            let stored = holders[id]?[worker]
            if stored != entry.text {
                found.append("attempts:\(worker) says \(stored ?? "nothing") of \(id), expected \(entry.text)")
            }
        }
        let index = sortedSet("ending")
        if index != expected { found.append("ending is \(index), expected \(expected)") }
        for (id, entries) in holders {
            for (worker, entry) in entries where LeaseEntry(entry)?.mark == "!" && expected["\(id) \(worker)"] == nil {
                found.append("attempts:\(worker) has the ending \(entry) of \(id), which the task does not know")
            }
        }
        return found
    }
}

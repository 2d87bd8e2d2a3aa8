import Switchyard

/// Invariants of dependencies, and of batches that are opened or cancelled in steps.
extension Snapshot {
    /// A task that waits for dependencies is in `dependents:<id>` of each of these, and `deps_left` is their number.
    var dependencyViolations: [String] {
        var found: [String] = []
        var awaited: [String: Set<String>] = [:]
        let cascade = Set(list("cascade"))
        for id in ids("dependents:") {
            let dependents = sortedSet("dependents:" + id)
            for (dependent, score) in dependents {
                awaited[dependent, default: []].insert(id)
                if score != 0 { found.append("dependents:\(id) has \(dependent) with a score") }
            }
            if !hasTask(id) {
                if !isComingIntoLine(id) { found.append("dependents:\(id) is of a task that is gone") }
            } else if state(id)?.isTerminal == true {
                if !cascade.contains(id) {
                    found.append("task \(id) has ended, and its dependents were not told")
                }
            } else if task(id)["uses"] == nil {
                found.append("task \(id) has dependents, and its end will not be noted")
            }
        }
        for id in taskIDs where task(id)["held_by"] == "dependencies" {
            let fields = task(id)
            let left = Int(fields["deps_left"] ?? "0") ?? -1
            // A set may still contain the task from an earlier time, when it depended on other tasks or had not ended
            // yet.
            let own = Set((fields["depends_on"] ?? "").split(separator: ",").map(String.init))
            let count = own.intersection(awaited[id] ?? []).count
            if left != count || left < 1 { found.append("task \(id) waits for \(left), and is in \(count) sets") }
        }
        return found
    }

    /// Members of batches, and the batches that `batch_work` lists.
    var stepViolations: [String] {
        var found: [String] = []
        for work in list("batch_work") {
            let words = work.split(separator: " ").map(String.init)
            let isWork =
                words.count > 1 && contents["batch:" + words[1]] != nil
                && (words[0] == "cancel" ? words.count == 2 : words[0] == "open" && words.count == 3)
            if !isWork { found.append("batch_work has \(work)") }
        }
        for id in ids("members:") where contents["batch:" + id] == nil {
            found.append("members:\(id) is of a batch that is gone")
        }
        let members = Dictionary(uniqueKeysWithValues: ids("members:").map { ($0, Set(list("members:" + $0))) })
        for id in taskIDs {
            guard let batch = task(id)["batch"] else { continue }
            if members[batch]?.contains(id) != true { found.append("task \(id) is no member of its batch \(batch)") }
        }
        return found
    }

    /// The number of tasks of an opened batch that have not entered the queue yet.
    func stillOpening(_ batch: String) -> Int {
        let fields = hash("batch:" + batch)
        guard fields["stage"] != nil else { return 0 }
        return (Int(fields["total"] ?? "") ?? 0) - (Int(fields["done"] ?? "") ?? 0)
    }

    /// Whether `id` is a task of an opened batch that has not entered the queue yet.
    private func isComingIntoLine(_ id: String) -> Bool {
        guard let token = hash("claims")[id] else { return false }
        return contents["stage:" + token] == nil
    }
}

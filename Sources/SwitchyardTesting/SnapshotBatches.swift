import Switchyard

/// What must hold between tasks that depend on each other, and in batches that come into being step by step.
extension Snapshot {
    /// Whoever waits stands exactly once in the list of each task that it waits for, and counts them.
    var dependencyViolations: [String] {
        var found: [String] = []
        var awaited: [String: Int] = [:]
        let cascade = Set(list("cascade"))
        for id in ids("dependents:") {
            let dependents = list("dependents:" + id)
            for dependent in dependents { awaited[dependent, default: 0] += 1 }
            if contents["task:" + id] == nil {
                found.append("dependents:\(id) is of a task that is gone")
            } else if state(id)?.isTerminal == true, !cascade.contains(id) {
                found.append("task \(id) has ended, and its dependents have not heard of it")
            }
            let waiting = dependents.filter { ["dependencies", "batch"].contains(task($0)["held_by"] ?? "") }
            if Set(waiting).count < waiting.count { found.append("dependents:\(id) has one twice") }
        }
        for id in taskIDs {
            let fields = task(id)
            let left = Int(fields["deps_left"] ?? "0") ?? -1
            switch fields["held_by"] {
            case "dependencies":
                if left != awaited[id] ?? 0 || left < 1 {
                    found.append("task \(id) waits for \(left), and stands in \(awaited[id] ?? 0) lists")
                }
            case "batch":
                if fields["broken"] == nil, left != awaited[id] ?? 0 {
                    found.append("task \(id) is to wait for \(left), and stands in \(awaited[id] ?? 0) lists")
                }
            default: break
            }
        }
        return found
    }

    /// Staged batches, members and the work on batches.
    var stagedViolations: [String] {
        var found: [String] = []
        let staged = Set(ids("batch:").filter { hash("batch:" + $0)["staged"] == "1" })
        for id in staged.symmetricDifference(sortedSet("staged_batches").keys).sorted() {
            found.append("batch \(id) is staged, and not in staged_batches, or the other way round")
        }
        for work in list("batch_work") {
            let words = work.split(separator: " ")
            let isWork = words.count == 2 && ["open", "cancel"].contains(words[0])
            if !isWork || contents["batch:" + words[words.count - 1]] == nil { found.append("batch_work has \(work)") }
        }
        let opening = Set(list("batch_work").filter { $0.hasPrefix("open ") }.map { String($0.dropFirst(5)) })
        var members: [String: Set<String>] = [:]
        for id in ids("members:") {
            members[id] = Set(list("members:" + id))
            if contents["batch:" + id] == nil { found.append("members:\(id) is of a batch that is gone") }
        }
        for id in taskIDs {
            guard let batch = task(id)["batch"] else { continue }
            if members[batch]?.contains(id) != true { found.append("task \(id) is no member of its batch \(batch)") }
            if task(id)["held_by"] == "batch", !staged.contains(batch), !opening.contains(batch) {
                found.append("task \(id) is held by its batch \(batch), which is neither staged nor being opened")
            }
        }
        return found
    }
}

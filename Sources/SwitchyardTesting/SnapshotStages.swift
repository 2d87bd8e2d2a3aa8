import Switchyard

/// Invariants of batches that are submitted in parts: stages that are not opened yet, and opened batches whose tasks
/// have not all entered the queue.
extension Snapshot {
    /// Each stage has a deadline, a batch and its members, and each member has its arguments.
    var stageViolations: [String] {
        var found: [String] = []
        let deadlines = sortedSet("stages")
        let tokens = Set(ids("stage:"))
        for token in tokens.symmetricDifference(deadlines.keys).sorted() {
            found.append("stage \(token) has no deadline, or is gone and has one")
        }
        // Token → the ids of the tasks that have not entered the queue, in order.
        var expected: [String: [String]] = [:]
        for token in tokens.sorted() {
            let fields = hash("stage:" + token)
            let members = list("stage_members:" + token)
            expected[token] = members
            if fields["batch"] == nil { found.append("stage \(token) has no batch") }
            // A stage that is being deleted has fewer members than its total.
            let isGoing = fields["dropping"] != nil
            let total = Int(fields["total"] ?? "") ?? -1
            if isGoing ? total < members.count : total != members.count {
                found.append("stage \(token) has \(members.count) members of \(total)")
            }
        }
        for token in ids("stage_members:") where !tokens.contains(token) {
            found.append("stage_members:\(token) is of a stage that is gone")
        }
        var opening = 0
        for id in ids("batch:") {
            guard let token = hash("batch:" + id)["stage"] else { continue }
            let left = stillOpening(id)
            opening += left
            expected[token] = list("members:" + id).suffix(left)
            if !list("batch_work").contains("open \(id) \(token)") {
                found.append("batch \(id) has not entered the queue as a whole, and is not in batch_work")
            }
        }
        let counted = Int(hash("stats")["opening"] ?? "0") ?? -1
        if counted != opening { found.append("stats: opening is \(counted), counted \(opening)") }

        var there: [String: Set<String>] = [:]
        for name in ids("stage_task:") {
            let parts = name.split(separator: "/", maxSplits: 1).map(String.init)
            guard parts.count == 2 else {
                found.append("stage_task:\(name) is of no stage")
                continue
            }
            there[parts[0], default: []].insert(parts[1])
        }
        for token in Set(expected.keys).union(there.keys).sorted() {
            let ids = expected[token] ?? []
            if Set(ids) != there[token] ?? [] || Set(ids).count != ids.count {
                found.append(
                    "stage \(token) has \(ids.count) ids and the arguments of \((there[token] ?? []).count) tasks")
            }
        }
        return found + claimViolations(expected)
    }

    /// The ids and unique keys that stages claim. A later stage may take a claim over, which breaks the earlier stage.
    private func claimViolations(_ expected: [String: [String]]) -> [String] {
        var found: [String] = []
        let claims = hash("claims")
        let idsOf = expected.mapValues { Set($0) }
        for (name, claim) in claims.sorted(by: { $0.key < $1.key }) {
            let words = claim.split(separator: " ").map(String.init)
            if name.hasPrefix("unique ") {
                let key = String(name.dropFirst(7))
                let isRight =
                    words.count == 2 && idsOf[words[0]]?.contains(words[1]) == true
                    && hash("stage_task:\(words[0])/\(words[1])")["unique_key"] == key
                if !isRight { found.append("claims has \(name) of \(claim), and no task of that stage has the key") }
            } else if idsOf[claim]?.contains(name) != true {
                found.append("claims has \(name) of stage \(claim), which does not have it")
            }
        }
        for (token, ids) in idsOf.sorted(by: { $0.key < $1.key }) {
            let isBroken = hash("stage:" + token)["broken"] != nil
            for id in ids.sorted() where !isBroken {
                if claims[id] != token { found.append("stage \(token) has \(id), and does not claim it") }
                if let key = hash("stage_task:\(token)/\(id)")["unique_key"],
                    claims["unique " + key] != "\(token) \(id)"
                {
                    found.append("stage \(token) has \(id), and does not claim its unique key")
                }
                let isStage = contents["stage:" + token] != nil
                if !isStage, hasTask(id) { found.append("task \(id) is in the queue, and its batch will add it again") }
            }
        }
        return found
    }
}

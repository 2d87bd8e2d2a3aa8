import Switchyard

/// Start-time fair queueing (features/fairness.lua). Redis decides how far a tenant without pending tasks advances
/// virtual time; the model checks the invariants of the tags, which hold in any case.
struct ModelTenants {
    /// Whether the queue has had a tenant since it was last empty; read from Redis, like the virtual times.
    var isFair = false
    var virtualTime: [TaskPriority: Double] = [:]
    /// For each tenant, the tag at which its last task ends.
    private(set) var finishTags: [TaskPriority: [String: Double]] = [:]

    /// A task of a tenant has got its tag.
    /// - Parameters:
    ///   - before: The virtual time before the call; nil: the level had none, or it was not read.
    ///   - after: The virtual time after it.
    /// - Returns: What is wrong with the tag, or nil.
    mutating func place(_ task: ModelTask, tag: Double, before: Double?, after: Double?) -> String? {
        let finish = finishTags[task.priority]?[task.fairnessKey] ?? 0
        let length = max(2, (2000 / task.fairnessWeight).rounded(.down))
        finishTags[task.priority, default: [:]][task.fairnessKey] = tag + length
        let name = "task \(task.id) of tenant \(task.fairnessKey)"
        if tag < finish { return "\(name) has tag \(tag), before the end \(finish) of the tenant's task before" }
        guard let before, let after else { return nil }
        if tag < before { return "\(name) has tag \(tag), before the virtual time \(before)" }
        if tag > max(finish, after) { return "\(name) has tag \(tag), after \(finish) and the virtual time \(after)" }
        if finish == 0, after <= before { return "\(name) comes anew, and the virtual time stays at \(before)" }
        return nil
    }

    mutating func age(by microseconds: Double) {
        virtualTime = virtualTime.mapValues { $0 - microseconds }
        finishTags = finishTags.mapValues { $0.mapValues { $0 - microseconds } }
    }

    /// Takes over Redis's values. Once no task is pending, no tenant is owed a share.
    mutating func adopt(isFair: Bool, _ times: [TaskPriority: Double]) {
        if self.isFair, !isFair { finishTags = [:] }
        self.isFair = isFair
        virtualTime = times
    }

    /// What is wrong with the finish tags of a level; Redis may have forgotten those that virtual time has passed.
    func differences(_ priority: TaskPriority, _ kept: [String: Double]) -> [String] {
        guard isFair else {
            return kept.isEmpty ? [] : ["the queue is not fair, and knows the tenants \(kept.keys.sorted())"]
        }
        let right = finishTags[priority] ?? [:]
        return Set(kept.keys).union(right.keys).sorted().compactMap { tenant in
            guard let finish = right[tenant] else { return "tenant \(tenant) is unknown to the model" }
            if kept[tenant] == finish || (kept[tenant] == nil && finish <= virtualTime[priority] ?? 0) { return nil }
            return "the finish tag of \(tenant) is \(kept[tenant] ?? -1), expected \(finish)"
        }
    }
}

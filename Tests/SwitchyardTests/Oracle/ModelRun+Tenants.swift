import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// The state of a fair queue that only Redis knows: virtual time, and the tags of tasks that have entered the queue
/// with their batch.
extension ModelRun {
    var isFair: Bool { model.settings.isFair }

    mutating func adoptTenants() async throws {
        guard isFair else { return }
        let flag = try await queue.raw("HGET", "{}config", "is_fair").string == "1"
        let times = try await queue.raw("HGETALL", "{}virtual_time").pairs
        var levels: [TaskPriority: Double] = [:]
        for priority in TaskPriority.allCases {
            levels[priority] = times[priority.rawValue]?.string.flatMap(Double.init)
            let before = model.tenants.virtualTime[priority]
            if let before, let after = levels[priority], model.tenants.isFair, after < before {
                throw Disagreement(sentences: ["the virtual time of \(priority) went from \(before) back to \(after)"])
            }
        }
        model.tenants.adopt(isFair: flag, levels)
        guard !model.unplaced.isEmpty else { return }
        let tags = try await tags(of: model.unplaced)
        for id in model.unplaced {
            guard var task = model.tasks[id], let tag = tags[id] else { continue }
            // If the task has changed its level since, it got its tag there.
            try expectNothing(model.tenants.place(task, tag: tag, before: nil, after: nil))
            task.tag = tag
            model.tasks[id] = task
        }
        model.unplaced = []
    }

    /// Virtual time is at least the tag of each task that has started.
    func compareVirtualTime(started ids: [String]) throws {
        for id in ids where model.tenants.isFair {
            guard let task = model.tasks[id], let time = model.tenants.virtualTime[task.priority] else { continue }
            try expect(time >= task.tag, "task \(id) with tag \(task.tag) has started at the virtual time \(time)")
        }
    }
}

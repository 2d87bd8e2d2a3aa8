/// The tasks of a submission in an order in which each comes after those that it depends on; otherwise as they were given.
enum DependencyOrder {
    /// - Returns: positions in `tasks`.
    /// - Throws: `invalidInput` for a cycle, with its tasks by name, or an id that is given twice.
    static func order(of tasks: [QueuedTask]) throws(SchedulerError) -> [Int] {
        var indexes: [String: Int] = [:]
        for (index, task) in tasks.enumerated() where indexes.updateValue(index, forKey: task.id) != nil {
            throw .invalidInput(field: "id", message: "task: \(task.id) is named twice in one submission")
        }
        var order: [Int] = []
        order.reserveCapacity(tasks.count)
        var isDone = Array(repeating: false, count: tasks.count)
        var isOnPath = isDone
        for root in tasks.indices where !isDone[root] {
            // Depth first, with a stack of its own: chains are long.
            var path = [(task: root, next: 0)]
            isOnPath[root] = true
            while let top = path.last {
                let dependencies = tasks[top.task].scheduling.dependsOn
                guard top.next < dependencies.count else {
                    isDone[top.task] = true
                    isOnPath[top.task] = false
                    order.append(top.task)
                    path.removeLast()
                    continue
                }
                path[path.count - 1].next += 1
                guard let dependency = indexes[dependencies[top.next]], !isDone[dependency] else { continue }
                guard !isOnPath[dependency] else {
                    let cycle = path.drop { $0.task != dependency }.map { tasks[$0.task].id } + [tasks[dependency].id]
                    throw .invalidInput(
                        field: "depends_on",
                        message: "depends_on: the tasks form the cycle \(cycle.joined(separator: " → "))")
                }
                isOnPath[dependency] = true
                path.append((dependency, 0))
            }
        }
        return order
    }
}

/// Sorts the tasks of a submission so that each task comes after its dependencies. Otherwise the order is kept.
enum DependencyOrder {
    /// Returns the indices of `tasks` in such an order.
    /// - Throws: `invalidInput` for a cycle, whose tasks the message names, or for an id that occurs twice.
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
            // Depth-first search with an explicit stack, because chains can be long.
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

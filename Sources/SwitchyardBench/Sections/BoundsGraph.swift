import Switchyard

/// A graph of dependent tasks. Every task depends on the first, directly or through others.
struct BoundsGraph: Sendable {
    enum Shape: String, CaseIterable, Sendable { case tree, fan, chain }

    let shape: Shape
    let count: Int

    private static let children = 10

    func tasks(_ prefix: String) -> [QueuedTask] {
        (0..<count).map { index in
            var task = QueuedTask(BenchLoad.request, priority: .normal, id: "\(prefix)-\(index)")
            guard index > 0 else { return task }
            let parent =
                switch shape {
                case .tree: (index - 1) / Self.children
                case .fan: 0
                case .chain: index - 1
                }
            task.scheduling.dependsOn = ["\(prefix)-\(parent)"]
            return task
        }
    }
}

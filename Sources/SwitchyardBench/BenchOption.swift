import Switchyard

/// The scheduling option that the tasks of a measurement have.
enum BenchOption: String, CaseIterable, Sendable {
    case none, classes, requirements, resources, batch, dependencies, fairness, concurrency, unique

    var title: String {
        switch self {
        case .none: "no options"
        case .classes: "no options, workers with labels"
        case .requirements: "requires a label"
        case .resources: "takes a core"
        case .batch: "of a batch of 100"
        case .dependencies: "depends on one task"
        case .fairness: "of a tenant"
        case .concurrency: "under a concurrency limit"
        case .unique: "has a unique key"
        }
    }

    /// The number of tasks in one submission; nil: as many as in the other calls.
    var perSubmission: Int? { self == .batch ? 100 : nil }

    /// Sets the option on `task`.
    /// - Parameter before: a task that was submitted before this one, if there is any.
    func apply(to task: inout QueuedTask, after before: String?) {
        switch self {
        case .none, .classes, .batch: break
        case .requirements: task.scheduling.requires = ["os=linux"]
        case .resources: task.scheduling.resources.cpu = 1
        case .dependencies: task.scheduling.dependsOn = before.map { [$0] } ?? []
        case .fairness: task.scheduling.fairnessKey = "tenant"
        case .concurrency:
            // The limit is never reached: the measurement is of the counting.
            task.scheduling.concurrencyKey = "key"
            task.scheduling.concurrencyLimit = 1_000_000
        case .unique: task.scheduling.uniqueKey = task.id
        }
    }

    /// The registration of a worker that can run the tasks.
    func registration(slots: Int) -> WorkerClient.Registration {
        var registration = WorkerClient.Registration(slots: slots)
        if self == .requirements || self == .classes { registration.labels = ["os=linux"] }
        if self == .resources { registration.resources.cpu = Double(slots) }
        return registration
    }
}

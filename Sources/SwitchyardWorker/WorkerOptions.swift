import Switchyard

/// A worker's settings.
public struct WorkerOptions: Sendable {
    /// How many attempts it runs at once: 1 to 1000.
    public var slots: Int
    /// `label` or `label=value`, for tasks that require some.
    public var labels: [String] = []
    /// Labels of it: it takes only tasks that require one of these, so that generic work leaves it free.
    public var only: [String] = []
    /// What it offers to tasks that ask for some of it; a task that asks for what is not here never comes.
    public var resources = Resources()
    /// By preference takes tasks of one group together.
    public var takesGroupsTogether = false
    public var host: String?
    public var processID: Int?

    public init(slots: Int = 1) {
        self.slots = slots
    }

    /// Cores that it offers.
    public var cpu: Double? {
        get { resources.cpu }
        set { resources.cpu = newValue }
    }

    /// MiB that it offers.
    public var memoryMB: Int? {
        get { resources.memoryMB }
        set { resources.memoryMB = newValue }
    }
}

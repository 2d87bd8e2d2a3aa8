import Switchyard

/// A worker's settings.
public struct WorkerOptions: Sendable {
    /// How many attempts the worker runs at once: 1 to 1000.
    public var slots: Int
    /// The worker's labels, `label` or `label=value`, for tasks that require some.
    public var labels: [String] = []
    /// Names of some of the worker's labels. If not empty, the worker takes only tasks that require one of these, so
    /// that it stays free of other tasks.
    public var only: [String] = []
    /// The resources that the worker offers. It never gets a task that requests a resource that is not among them.
    public var resources = Resources()
    /// Whether a pull prefers tasks of the same `group_key`.
    public var takesGroupsTogether = false
    /// How long the worker takes no tasks when its host could not run five attempts in a row. Doubles while that lasts.
    public var setAsidePause: Duration = .seconds(60)
    /// How long attempts may run on once the worker drains. Those that have not ended by then are told to end, and
    /// handed back. Nil: until they end.
    public var drainTimeout: Duration?
    /// The name of the host, for display.
    public var host: String?
    /// The worker's process id, for display.
    public var processID: Int?

    /// Creates options with nothing but slots.
    public init(slots: Int = 1) {
        self.slots = slots
    }

    /// The number of cores that the worker offers.
    public var cpu: Double? {
        get { resources.cpu }
        set { resources.cpu = newValue }
    }

    /// The memory that the worker offers, in MiB.
    public var memoryMB: Int? {
        get { resources.memoryMB }
        set { resources.memoryMB = newValue }
    }

    /// Checks ``labels`` and ``only`` before a registration, which the queue would refuse.
    func checkLabels() throws(SchedulerError) {
        for label in labels {
            let parts = label.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.allSatisfy({ Self.isWord($0) }) else {
                throw .invalidInput(
                    field: "labels",
                    message: "labels: expected label or label=value, of A-Z a-z 0-9 . _ : -, found \(Name.shown(label))"
                )
            }
        }
        let names = Set(labels.map { $0.prefix { $0 != "=" } })
        if let label = only.first(where: { !names.contains($0[...]) }) {
            throw .invalidInput(
                field: "only",
                message:
                    "only: expected names of labels of the worker, found \(Name.shown(label)), which it does not have")
        }
        let bytes = labels.joined(separator: ",").utf8.count
        guard bytes <= Self.maxLabelBytes else {
            throw .invalidInput(
                field: "labels", message: "labels: expected at most \(Self.maxLabelBytes) bytes in all, found \(bytes)")
        }
    }

    /// The queue accepts no longer list.
    private static let maxLabelBytes = 1000

    private static func isWord(_ text: Substring) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { Name.isAllowed($0) }
    }
}

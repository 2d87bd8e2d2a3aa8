/// When, where and in which order a task may run, besides its priority and its start time. Every option is optional. A
/// task without options does not pay for them.
public struct SchedulingOptions: Sendable, Equatable {
    // MARK: Where

    /// Labels that the worker must have: `key`, `key=value`, `key!=value`, `key=one|other` or `key in (one,other)`. The
    /// last two forms mean the same; a task that is read has the first of them.
    public var requires: [String] = []
    /// Amounts that are reserved on the worker from the assignment to the end of each attempt.
    public var resources = Resources()
    /// Prefers the worker that last ran a task with this key. If the key is a repository's name, its caches are warm.
    public var affinityKey: String?
    /// Relates tasks: a worker that pulls several tasks at once may prefer tasks with one group key.
    public var groupKey: String?

    // MARK: In which order

    /// The tenant. Within a priority, tenants share the workers by weight.
    public var fairnessKey: String?
    /// The tenant's weight, 0.001 to 1000; nil: 1.
    public var fairnessWeight: Double?

    // MARK: When

    /// At most ``concurrencyLimit`` tasks with this key are assigned or running at once.
    public var concurrencyKey: String?
    /// 1 to 1,000,000; nil: 1.
    public var concurrencyLimit: Int?
    /// At most ``ratePerSecond`` tasks with this key start in a second, after a burst of ``rateBurst``.
    public var rateKey: String?
    /// 0.0001 to 100,000; nil: 1.
    public var ratePerSecond: Double?
    /// 1 to 1,000,000; nil: 1.
    public var rateBurst: Int?
    /// Ids of tasks that must complete first. They are in the same submission, or already in the queue.
    public var dependsOn: [String] = []
    /// True: the task also runs if a dependency ends without success. False: it is then cancelled.
    public var runAnyway = false
    /// While a task with this key has not ended, another submission with the key adds nothing, and returns that task.
    public var uniqueKey: String?
    /// How long the key stays taken after its task has completed, so that the result is reused; nil: not at all.
    public var uniqueFor: Duration?

    /// No options.
    public init() {}
}

/// Amounts that a worker offers, or that a task needs.
public struct Resources: Sendable, Equatable {
    /// Cores. Fractions are allowed.
    public var cpu: Double?
    /// Memory in MiB.
    public var memoryMB: Int?
    /// Other countable resources by name, such as `gpu` or `license_x`.
    public var custom: [String: Double] = [:]

    /// Amounts; nil and an empty dictionary mean none.
    public init(cpu: Double? = nil, memoryMB: Int? = nil, custom: [String: Double] = [:]) {
        self.cpu = cpu
        self.memoryMB = memoryMB
        self.custom = custom
    }

    /// Whether no amount is given.
    public var isEmpty: Bool { cpu == nil && memoryMB == nil && custom.isEmpty }
}

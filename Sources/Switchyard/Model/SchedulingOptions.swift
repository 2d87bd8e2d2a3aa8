/// When, where and in which order a task may run, beyond its priority and its time. All of it is optional, and a task that
/// says nothing pays for nothing.
public struct SchedulingOptions: Sendable, Equatable {
    // MARK: Where

    /// Labels that its worker must have: `key`, `key=value`, `key!=value`, `key=one|other` or `key in (one,other)`. The
    /// last two mean the same, and are read back as the former.
    public var requires: [String] = []
    /// Reserved on its worker from the assignment to the end of each attempt.
    public var resources = Resources()
    /// Prefers the worker that ran a task of this key last (say, the repository: its caches are warm).
    public var affinityKey: String?
    /// A worker that takes several tasks at once may take those of one group together.
    public var groupKey: String?

    // MARK: In which order

    /// The tenant: within a priority, tenants share the workers by weight.
    public var fairnessKey: String?
    /// 0.001 to 1000; nil: 1.
    public var fairnessWeight: Double?

    // MARK: When

    /// At most ``concurrencyLimit`` tasks of this key run at once.
    public var concurrencyKey: String?
    /// 1 to 1,000,000; nil: 1.
    public var concurrencyLimit: Int?
    /// Tasks of this key start at most ``ratePerSecond`` times a second, after a burst of ``rateBurst``.
    public var rateKey: String?
    /// 0.0001 to 100,000; nil: 1.
    public var ratePerSecond: Double?
    /// 1 to 1,000,000; nil: 1.
    public var rateBurst: Int?
    /// Ids of tasks that must complete first: of this submission, or of the queue.
    public var dependsOn: [String] = []
    /// Runs also when one of those ends without success; otherwise it is then cancelled.
    public var runAnyway = false
    /// While a task of this key has not ended, an equal submission is answered with it.
    public var uniqueKey: String?
    /// And for this long after it has completed: its result is reused.
    public var uniqueFor: Duration?

    public init() {}
}

/// Amounts of what a worker has and a task needs.
public struct Resources: Sendable, Equatable {
    /// Cores, also fractions.
    public var cpu: Double?
    /// MiB.
    public var memoryMB: Int?
    /// Anything else that can be counted, by name: `gpu`, `license_x`.
    public var custom: [String: Double] = [:]

    public init(cpu: Double? = nil, memoryMB: Int? = nil, custom: [String: Double] = [:]) {
        self.cpu = cpu
        self.memoryMB = memoryMB
        self.custom = custom
    }

    public var isEmpty: Bool { cpu == nil && memoryMB == nil && custom.isEmpty }
}

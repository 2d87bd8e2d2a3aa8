/// How urgent a task is. By default a worker gets a task of the most urgent level and, within the level, the task that
/// was submitted first. Aging makes the levels less strict, and fairness shares a level among tenants.
public enum TaskPriority: String, Sendable, CaseIterable, Codable, Comparable {
    /// Hotfixes, urgent production issues.
    case critical
    /// Important features, releases, core repositories.
    case high
    /// Standard development tasks.
    case normal
    /// Documentation, refactoring, non-critical work.
    case low

    /// The level as a number: 0 (`critical`) is the most urgent, 3 (`low`) the least.
    public var level: Int {
        switch self {
        case .critical: 0
        case .high: 1
        case .normal: 2
        case .low: 3
        }
    }

    /// Orders priorities by level: the more urgent one is less.
    public static func < (left: TaskPriority, right: TaskPriority) -> Bool { left.level < right.level }

    /// One level less urgent; `low` stays `low`.
    public var lowered: TaskPriority { Self.allCases[min(level + 1, Self.allCases.count - 1)] }
    /// One level more urgent; `critical` stays `critical`.
    public var raised: TaskPriority { Self.allCases[max(level - 1, 0)] }
}

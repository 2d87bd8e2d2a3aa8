/// How urgent a task is. Strict: a worker takes the most urgent first, and within a level the one submitted first.
public enum TaskPriority: String, Sendable, CaseIterable, Codable, Comparable {
    /// Hotfixes, urgent production issues.
    case critical
    /// Important features, releases, core repositories.
    case high
    /// Standard development tasks.
    case normal
    /// Documentation, refactoring, non-critical work.
    case low

    /// 0 is the most urgent.
    public var level: Int {
        switch self {
        case .critical: 0
        case .high: 1
        case .normal: 2
        case .low: 3
        }
    }

    public static func < (left: TaskPriority, right: TaskPriority) -> Bool { left.level < right.level }

    /// One level less urgent; `low` stays `low`.
    public var lowered: TaskPriority { Self.allCases[min(level + 1, Self.allCases.count - 1)] }
    /// One level more urgent; `critical` stays `critical`.
    public var raised: TaskPriority { Self.allCases[max(level - 1, 0)] }
}

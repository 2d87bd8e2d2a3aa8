/// The priority of a task whose submitter gave none: a pure function of what was submitted and how busy the queue is.
///
/// The tables are the seed's. The first rule that matches decides, except that load moves the result afterwards.
public struct PriorityPolicy: Sendable, Equatable {
    /// A label of this name makes the task critical.
    public var criticalLabels: Set<String> = ["hotfix", "urgent", "critical"]
    /// A label of this name makes the task low.
    public var lowLabels: Set<String> = ["documentation", "docs", "refactoring", "refactor"]
    /// A word of this name in the repository's name makes the task high.
    public var highRepositoryWords: Set<String> = ["core", "main", "production"]
    /// A build with 1 to this many arguments goes up one level: fast feedback.
    public var fewArguments = 2
    /// A build with this many arguments or more is complex, and goes down one level under high load.
    public var manyArguments = 10
    /// The queue's length over its limit from which load is high, 0 to 1.
    public var highLoad = 0.8

    public init() {}

    public struct Decision: Sendable, Equatable {
        public var priority: TaskPriority
        /// Why, for the person who asks.
        public var reason: String
    }

    /// - Parameter load: the queue's length divided by its limit, 0 to 1.
    public func decide(_ request: BuildRequest, load: Double) -> Decision {
        let decision = decideUnloaded(request)
        guard load >= highLoad, request.args.count >= manyArguments, decision.priority != .critical else {
            return decision
        }
        let percent = Int((load * 100).rounded())
        return Decision(
            priority: decision.priority.lowered,
            reason: "\(decision.reason); lowered: \(request.args.count) arguments while the queue is \(percent) % full")
    }

    private func decideUnloaded(_ request: BuildRequest) -> Decision {
        let labels = request.labels.map { $0.lowercased() }
        if let label = labels.first(where: criticalLabels.contains) {
            return Decision(priority: .critical, reason: "label \(label)")
        }
        if let label = labels.first(where: lowLabels.contains) {
            return Decision(priority: .low, reason: "label \(label)")
        }
        let words = (request.repo ?? "").lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init)
        if let word = words.first(where: highRepositoryWords.contains) {
            return Decision(priority: .high, reason: "repository name has \(word)")
        }
        if (1...fewArguments).contains(request.args.count) {
            return Decision(priority: .high, reason: "few arguments (\(request.args.count)): fast feedback")
        }
        return Decision(priority: .normal, reason: "default")
    }
}

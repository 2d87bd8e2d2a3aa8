/// Chooses the priority of a task that was submitted without one. It is a pure function of the request and of how full
/// the queue is.
///
/// The first rule that matches decides: a critical label, a low label, a word in the repository's name, few arguments.
/// Without a match the priority is normal. In a queue that is nearly full, a build with many arguments is then lowered
/// by one level, unless it is critical.
public struct PriorityPolicy: Sendable, Equatable {
    /// A label of this name makes the task critical.
    public var criticalLabels: Set<String> = ["hotfix", "urgent", "critical"]
    /// A label of this name makes the task low.
    public var lowLabels: Set<String> = ["documentation", "docs", "refactoring", "refactor"]
    /// A word of this name in the repository's name makes the task high.
    public var highRepositoryWords: Set<String> = ["core", "main", "production"]
    /// A build with 1 to this many arguments is high: it gives fast feedback. 0 turns the rule off.
    public var fewArguments = 2
    /// A build with this many arguments or more is complex. It is lowered by one level in a queue that is nearly full.
    public var manyArguments = 10
    /// The queue counts as nearly full from this ratio of its length to its limit on, 0 to 1.
    public var highLoad = 0.8

    /// The default rules.
    public init() {}

    /// A priority, and why it was chosen.
    public struct Decision: Sendable, Equatable {
        /// The chosen priority.
        public var priority: TaskPriority
        /// Why it was chosen, for people.
        public var reason: String
    }

    /// Returns the priority of a request.
    /// - Parameter load: the queue's length divided by its limit. It can exceed 1.
    public func decide(_ request: BuildRequest, load: Double) -> Decision {
        let decision = decideUnloaded(request)
        guard load >= highLoad, request.args.count >= manyArguments, decision.priority != .critical else {
            return decision
        }
        // A limit of 0 makes the load infinite.
        let percent = Int(min((load * 100).rounded(), 1e6))
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
        if !request.args.isEmpty, request.args.count <= fewArguments {
            return Decision(priority: .high, reason: "few arguments (\(request.args.count)): fast feedback")
        }
        return Decision(priority: .normal, reason: "default")
    }
}

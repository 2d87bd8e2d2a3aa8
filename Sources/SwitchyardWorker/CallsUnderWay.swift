/// An attempt of a task, by its number.
struct AttemptID: Hashable, Sendable {
    let taskID: String
    let number: Int
}

/// The calls that may still bring assignments, and the attempts that ended while some were under way.
///
/// The reply to a call may name an attempt that has started, ended and been reported since Redis ran the call: the
/// reply was late, or came on another connection than the assignment. So an attempt is remembered until all calls have
/// ended that were under way when the queue accepted its report. A call made after that cannot bring it. The longest
/// call is a sleep, which ends after 30 s.
struct CallsUnderWay {
    /// The number of a call. Later calls have higher numbers.
    typealias Number = Int

    /// In ascending order: at most two exchanges and a sleep.
    private var numbers: [Number] = []
    private var next: Number = 0
    /// Attempts that are over, oldest first, each with the first call that cannot bring it.
    private var over: [(safeFrom: Number, attempts: [AttemptID])] = []

    /// Begins a call.
    mutating func begin() -> Number {
        defer { next += 1 }
        numbers.append(next)
        return next
    }

    /// Whether the call began after ``mark()`` returned this mark.
    static func began(_ call: Number, after mark: Number) -> Bool { call >= mark }

    /// A mark between the calls made so far and those made from now on.
    func mark() -> Number { next }

    /// Ends a call. Returns the attempts that no call under way can bring any more.
    mutating func end(_ number: Number) -> [AttemptID] {
        numbers.removeAll { $0 == number }
        let oldest = numbers.first ?? next
        let count = over.prefix { $0.safeFrom <= oldest }.count
        defer { over.removeFirst(count) }
        return over.prefix(count).flatMap(\.attempts)
    }

    /// Remembers attempts that are over. Returns false if no call under way can bring them.
    mutating func remember(_ attempts: [AttemptID]) -> Bool {
        if numbers.isEmpty { return false }
        over.append((next, attempts))
        return true
    }
}

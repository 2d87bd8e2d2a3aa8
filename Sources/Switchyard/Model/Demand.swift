/// What today's work asks of the workers of a queue, by class: the workers with the same labels and the same capacity.
///
/// The ready tasks of a lane (those with the same requirements) count for one class: of those that serve it, the one with
/// most free slots, and the first by name among equals.
public struct Demand: Sendable, Equatable {
    public struct Class: Sendable, Equatable {
        /// Labels and capacity in canonical order, `os=linux,+cpu=8`; empty for workers without any.
        public var name: String
        public var workers: Int
        public var slots: Int
        /// Attempts that they hold.
        public var busy: Int
        /// Of the workers, those that take no more.
        public var draining: Int
        /// Tasks in line that count for it.
        public var ready: Int
        /// Slots of one worker: the mean of those there are, or what the caller expects.
        public var slotsPerWorker: Double

        /// The ready tasks and the held attempts, divided by the slots of a worker, rounded up.
        public var desiredWorkers: Int {
            slotsPerWorker > 0 ? Int((Double(ready + busy) / slotsPerWorker).rounded(.up)) : 0
        }
    }

    public var classes: [Class]
    /// Ready tasks that no class serves.
    public var unserved: Int

    /// Of all classes. Where no worker is known, each waiting task asks for one: so that a farm can grow from nothing.
    public var desiredWorkers: Int {
        classes.isEmpty ? unserved : classes.reduce(0) { $0 + $1.desiredWorkers }
    }

    /// Of one class.
    public func desiredWorkers(of name: String) -> Int {
        classes.first { $0.name == name }?.desiredWorkers ?? 0
    }

    /// A class's name in canonical order: labels, then what begins with `+`, each sorted.
    public static func canonicalName(_ name: String) -> String {
        let parts = Set(name.split(separator: ",").map(String.init))
        func sorted(_ isAmount: Bool) -> [String] {
            parts.filter { $0.hasPrefix("+") == isAmount }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
        return (sorted(false) + sorted(true)).joined(separator: ",")
    }
}

/// The demand for workers of a queue, by class. A class is the workers with the same labels and the same capacity.
///
/// The ready tasks of a lane (tasks with the same requirements, resources and limits) count for one of the classes that
/// serve the lane: the class with the most free slots or, among equals, the first by name.
public struct Demand: Sendable, Equatable {
    /// The demand for workers of one class.
    public struct Class: Sendable, Equatable {
        /// Labels and capacity in canonical order, such as `os=linux,+cpu=8`; empty for workers without any.
        public var name: String
        /// Registered workers of the class.
        public var workers: Int
        /// Slots of these workers.
        public var slots: Int
        /// Leased attempts of these workers.
        public var busy: Int
        /// How many of the workers are draining.
        public var draining: Int
        /// Ready tasks that count for the class.
        public var ready: Int
        /// Limit on ``desiredWorkers``. Numbers in Redis that something else has written may ask for more.
        private static let most = 1e9
        /// Slots of one worker: the mean of the registered workers, or the number that the caller expects.
        public var slotsPerWorker: Double

        /// The ready tasks and the leased attempts, divided by the slots of a worker, rounded up.
        public var desiredWorkers: Int {
            guard slotsPerWorker > 0 else { return 0 }
            let workers = (Double(ready + busy) / slotsPerWorker).rounded(.up)
            return Int(min(workers, Self.most))
        }
    }

    /// The classes with registered workers, and the class that the caller named.
    public var classes: [Class]
    /// Ready tasks that no class serves.
    public var unserved: Int

    /// The desired workers of all classes. Without any class it is one worker for each ready task, so that a farm can
    /// grow from zero.
    public var desiredWorkers: Int {
        classes.isEmpty ? unserved : classes.reduce(0) { $0 + $1.desiredWorkers }
    }

    /// The registered workers that drain: they take no more tasks.
    public var drainingWorkers: Int { classes.reduce(0) { $0 + $1.draining } }

    /// The desired workers of one class; 0 for a class that is not in ``classes``.
    public func desiredWorkers(of name: String) -> Int {
        classes.first { $0.name == name }?.desiredWorkers ?? 0
    }

    /// Returns a class's name in canonical order: labels, then resources (which begin with `+`), each sorted.
    public static func canonicalName(_ name: String) -> String {
        let parts = Set(name.split(separator: ",").map(String.init))
        func sorted(_ isAmount: Bool) -> [String] {
            parts.filter { $0.hasPrefix("+") == isAmount }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
        return (sorted(false) + sorted(true)).joined(separator: ",")
    }
}

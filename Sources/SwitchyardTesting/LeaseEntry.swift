/// A lease as `attempts:<worker>` tells it: `<attempt>:<deadline ms>[*|+][@<batch>][ <lane>]`.
struct LeaseEntry: Equatable {
    var attempt: Int
    /// Milliseconds since 1970; 0 while the attempt is not started.
    var deadline: Int
    /// Its task's end concerns more than itself: `*`, or `+` if only tasks that depend on it. Empty: it does not.
    var mark: String
    var batch: String?
    var lane: String?

    init(attempt: Int, deadline: Int, mark: String, batch: String?, lane: String?) {
        self.attempt = attempt
        self.deadline = deadline
        self.mark = mark
        self.batch = batch
        self.lane = lane
    }

    init?(_ text: String) {
        let pattern = /(\d+):(\d+)([*+]?)(?:@([^ ]+))?(?: (.+))?/
        guard let match = text.wholeMatch(of: pattern), let attempt = Int(match.1), let deadline = Int(match.2) else {
            return nil
        }
        self.init(
            attempt: attempt, deadline: deadline, mark: String(match.3), batch: match.4.map(String.init),
            lane: match.5.map(String.init))
    }

    var text: String {
        "\(attempt):\(deadline)\(mark)\(batch.map { "@" + $0 } ?? "")\(lane.map { " " + $0 } ?? "")"
    }
}

extension Snapshot {
    /// The leases of a worker by task id, without what the functions keep of the worker beside them.
    func leases(of worker: String) -> [String: String] {
        hash("attempts:" + worker).filter { !$0.key.hasPrefix("@") }
    }

    /// What the functions keep of a worker: slots, draining, unstarted, asleep.
    func state(ofWorker worker: String) -> [String: Int] {
        let words = (hash("attempts:" + worker)["@state"] ?? "").split(separator: " ")
        return words.reduce(into: [:]) { state, word in
            let parts = word.split(separator: "=")
            if parts.count == 2 { state[String(parts[0])] = Int(parts[1]) }
        }
    }
}

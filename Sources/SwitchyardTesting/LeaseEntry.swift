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

/// What the functions keep of a worker under `@state`, such as
/// `slots=4 draining=0 unstarted=0 asleep=1 nonce=x room=+cpu=2 class=gpu,+cpu=8`.
struct WorkerState: Equatable {
    var slots, draining, unstarted, asleep: Int
    /// Of its process; nil if it gave none.
    var nonce: String?
    /// What is left of its capacity, as the pool has it in which it fell asleep last; empty if it is whole.
    var room: String
    /// Nil: the text does not say it.
    var workerClass: String?

    init?(_ text: String) {
        let numbers = /slots=(\d+) draining=(\d+) unstarted=(\d+) asleep=(\d+)/
        let words = /(?: nonce=([^ ]+))?(?: room=([^ ]+))?(?: class=(.*))?/
        guard let start = text.prefixMatch(of: numbers),
            let rest = text[start.range.upperBound...].wholeMatch(of: words),
            let slots = Int(start.1), let draining = Int(start.2), let unstarted = Int(start.3),
            let asleep = Int(start.4)
        else { return nil }
        (self.slots, self.draining, self.unstarted, self.asleep) = (slots, draining, unstarted, asleep)
        nonce = rest.1.map(String.init)
        room = rest.2.map(String.init) ?? ""
        workerClass = rest.3.map(String.init)
    }

    /// The pool in which it sleeps, if it sleeps.
    var pool: String { (workerClass ?? "") + (room.isEmpty ? "" : " " + room) }
}

extension Snapshot {
    /// The leases of a worker by task id, without what the functions keep of the worker beside them.
    func leases(of worker: String) -> [String: String] {
        hash("attempts:" + worker).filter { !$0.key.hasPrefix("@") }
    }

    /// What the functions keep of a worker; nil if there is nothing, or it cannot be read.
    func state(ofWorker worker: String) -> WorkerState? {
        hash("attempts:" + worker)["@state"].flatMap(WorkerState.init)
    }
}

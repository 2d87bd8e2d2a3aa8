/// A lease as stored in `attempts:<worker>`: `<attempt>:<deadline ms>[*|+|!][@<batch>][ <lane>]`.
struct LeaseEntry: Equatable {
    var attempt: Int
    /// Milliseconds since 1970; 0 until the attempt is started.
    var deadline: Int
    /// What the end of the task affects: `*` anything beyond the task itself, `+` only its dependents; empty: nothing
    /// else. `!`: the attempt has ended, and its process is ending, until the deadline at the latest.
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
        let pattern = /(\d+):(\d+)([*+!]?)(?:@([^ ]+))?(?: (.+))?/
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

/// The state of a worker as stored in the field `@state` of `attempts:<worker>`, such as `slots=4 draining=0
/// unstarted=0 asleep=1 nonce=x room=+cpu=2 class=gpu,+cpu=8`.
struct WorkerState: Equatable {
    var slots, draining, unstarted, asleep: Int
    /// The nonce of the worker process; nil if it gave none.
    var nonce: String?
    /// The worker's free capacity, as named in the pool in which it last fell asleep; empty if none of it is used.
    var room: String
    /// Nil if the text does not name a class.
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

    /// The name of the pool in which the worker sleeps, if it is asleep.
    var pool: String { (workerClass ?? "") + (room.isEmpty ? "" : " " + room) }
}

extension Snapshot {
    /// The leases of a worker by task id, without the worker's own fields (those that begin with `@`).
    func leases(of worker: String) -> [String: String] {
        hash("attempts:" + worker).filter { !$0.key.hasPrefix("@") }
    }

    /// The state of a worker; nil if it is missing or cannot be parsed.
    func state(ofWorker worker: String) -> WorkerState? {
        hash("attempts:" + worker)["@state"].flatMap(WorkerState.init)
    }
}

import Foundation
import Switchyard

extension Snapshot {
    /// What does not hold of one task: its hash against every index.
    func violations(ofTask id: String) -> [String] {
        let fields = task(id)
        guard let state = state(id) else { return ["task \(id) has state \(fields["state"] ?? "none")"] }
        var found: [String] = []
        func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) {
            if !condition { found.append("task \(id) (\(state.rawValue)): \(sentence())") }
        }

        let home = Self.index(of: state, fields)
        for index in Self.indexes + lines {
            let isThere = sortedSet(index)[id] != nil
            expect(isThere == (index == home), isThere ? "stands also in \(index)" : "is missing in \(index)")
        }
        let score = sortedSet(home)[id]
        switch home {
        case "leases": break
        case "held": expect(score == number(fields["due_at"]), "its score is not its due_at")
        case "finished": expect(score == number(fields["finished_at"]), "its score is not its finished_at")
        default: expect(score == number(fields["place"]), "its score is not its place")
        }
        expect(isInBand(fields), "its place \(fields["place"] ?? "") is outside the band of its priority")
        found += shape(id, state, fields).map { "task \(id) (\(state.rawValue)): \($0)" }
        found += lease(id, state, fields).map { "task \(id) (\(state.rawValue)): \($0)" }
        found += records(fields, state).map { "task \(id) (\(state.rawValue)): \($0)" }
        if let batch = fields["batch"] { expect(contents["batch:" + batch] != nil, "its batch \(batch) is gone") }
        return found
    }

    /// Every index of tasks, except the lines of lanes.
    static let indexes = ["pending", "held", "waiting", "blocked", "staged", "leases", "finished"]

    static func index(of state: TaskState, _ fields: [String: String]) -> String {
        switch state {
        case .pending:
            switch fields["held_by"] {
            case nil: fields["lane"].map { "pending:" + $0 } ?? "pending"
            case "dependencies": "waiting"
            case "concurrency_limit": "blocked"
            case "batch": "staged"
            default: "held"
            }
        case .assigned, .running: "leases"
        case .completed, .failed, .timeout, .cancelled: "finished"
        }
    }

    private func number(_ text: String?) -> Double? { text.flatMap(Double.init) }

    /// A setting of the queue, as text.
    private func setting(_ name: String, _ standard: Int) -> String { hash("config")[name] ?? "\(standard)" }

    /// Each level has 2^50 µs of the score for itself.
    private func isInBand(_ fields: [String: String]) -> Bool {
        guard let level = fields["priority"].flatMap(TaskPriority.init)?.level, let place = number(fields["place"])
        else { return false }
        // With aging, a level is worth so much time, and the levels overlap.
        if (Int(hash("config")["aging_ms"] ?? "") ?? 0) > 0 { return true }
        let band = Double(1 << 50)
        return place >= Double(level) * band && place < Double(level + 1) * band
    }

    /// Which fields a task of that state has, and has not.
    private func shape(_ id: String, _ state: TaskState, _ fields: [String: String]) -> [String] {
        var present: Set<String> = ["priority", "place", "submitted_at"]
        var absent: Set<String> = []
        switch state {
        case .pending:
            absent = [
                "worker", "assigned_at", "started_at", "finished_at", "outcome", "result", "progress", "error_code",
            ]
        case .assigned:
            present.formUnion(["attempt", "worker", "assigned_at"])
            absent = ["started_at", "finished_at", "outcome", "result", "error_code"]
        case .running:
            present.formUnion(["attempt", "worker", "started_at"])
            absent = ["finished_at", "outcome", "result", "error_code"]
        case .completed:
            present.formUnion(["attempt", "worker", "started_at", "finished_at"])
        case .failed, .timeout:
            present.formUnion(["attempt", "worker", "finished_at", "outcome"])
        case .cancelled:
            present.formUnion(["finished_at", "outcome"])
        }
        var found = present.filter { fields[$0] == nil }.sorted().map { "has no \($0)" }
        found += absent.filter { fields[$0] != nil }.sorted().map { "has \($0)" }
        let heldBy = fields["held_by"]
        let isTimed = heldBy.map { ["schedule", "retry", "rate_limit"].contains($0) } ?? false
        if isTimed != (fields["due_at"] != nil) { found.append("has one of a hold until a time and due_at") }
        let holds: Set = ["schedule", "retry", "dependencies", "concurrency_limit", "rate_limit", "batch"]
        if let heldBy, !holds.contains(heldBy) || state != .pending { found.append("is held by \(heldBy)") }
        if let retries = number(fields["retry_count"]),
            let most = number(fields["max_retries"] ?? setting("default_max_retries", 2)), retries > most
        {
            found.append("was retried \(retries) times of \(most)")
        }
        return found
    }

    /// The entry in `attempts:<worker>`: exactly one while the task is live, with its attempt and deadline.
    private func lease(_ id: String, _ state: TaskState, _ fields: [String: String]) -> [String] {
        var found: [String] = []
        let isLive = state == .assigned || state == .running
        for worker in workersWithAttempts {
            guard let entry = leases(of: worker)[id] else { continue }
            guard isLive, worker == fields["worker"] else {
                found.append("worker \(worker) still has attempt \(entry)")
                continue
            }
            var deadline = 0.0
            if state == .running {
                deadline =
                    (number(fields["started_at"]) ?? 0)
                    + (number(fields["timeout_ms"] ?? setting("default_timeout_ms", 7_200_000)) ?? 0)
            }
            let marks = ["1": "*", "dependencies": "+"]
            let expected = LeaseEntry(
                attempt: Int(fields["attempt"] ?? "") ?? 0, deadline: Int(deadline),
                mark: fields["uses"].flatMap { marks[$0] } ?? "",
                batch: fields["batch"], lane: fields["lane"]
            ).text
            if entry != expected { found.append("attempts:\(worker) says \(entry), expected \(expected)") }
            if state == .running, let score = sortedSet("leases")[id], score > deadline {
                found.append("its lease ends after its time limit")
            }
        }
        if isLive, leases(of: fields["worker"] ?? "")[id] == nil {
            found.append("worker \(fields["worker"] ?? "") does not have it in its attempts")
        }
        return found
    }

    private struct Record: Decodable {
        let attempt: Int
        let worker: String
        let outcome: String
    }

    /// Every attempt that is over while the task went on has its record.
    private func records(_ fields: [String: String], _ state: TaskState) -> [String] {
        var found: [String] = []
        let attempt = Int(fields["attempt"] ?? "0") ?? -1
        // The latest one is told by the task's own fields, until the task goes back to its queue.
        let recorded = fields["worker"] == nil ? attempt : attempt - 1
        let outcomes: Set = ["failed", "timeout", "lost", "returned", "cancelled"]
        for number in stride(from: 1, through: recorded, by: 1) {
            let text = fields["attempt:\(number)"] ?? ""
            guard let record = try? JSONDecoder().decode(Record.self, from: Data(text.utf8)) else {
                found.append("attempt \(number) has no record, or one that cannot be read: \(text)")
                continue
            }
            if record.attempt != number || record.worker.isEmpty || !outcomes.contains(record.outcome) {
                found.append("the record of attempt \(number) is wrong: \(text)")
            }
        }
        for name in fields.keys where name.hasPrefix("attempt:") {
            if let number = Int(name.dropFirst(8)), number > recorded {
                found.append("has a record of attempt \(number)")
            }
        }
        return found
    }
}

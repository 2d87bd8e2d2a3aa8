import Foundation
import Switchyard

extension Snapshot {
    /// Returns the violations of one task: its hash against every index.
    func violations(ofTask id: String) -> [String] {
        let fields = task(id)
        guard let state = state(id) else { return ["task \(id) has state \(fields["state"] ?? "none")"] }
        var found: [String] = []
        func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) {
            if !condition { found.append("task \(id) (\(state.rawValue)): \(sentence())") }
        }

        let home = Self.index(of: state, fields)
        var homes: Set = [home]
        if let ended = Self.endIndex(of: state) { homes.insert(ended) }
        let indexes = Set(standing[id] ?? [])
        for index in indexes.symmetricDifference(homes).sorted() {
            found.append(
                "task \(id) (\(state.rawValue)): "
                    + (homes.contains(index) ? "is missing in \(index)" : "is also in \(index)"))
        }
        for index in indexes.intersection(homes).sorted() {
            let score = sortedSet(index)[id]
            switch index {
            case "leases": break
            case "held": expect(score == number(fields["due_at"]), "its score is not its due_at")
            case "finished": expect(isFinishedScore(score, fields), "its score is not its finished_at")
            case _ where index.hasPrefix("finished:"):
                expect(score == number(fields["finished_at"]), "its score in \(index) is not its finished_at")
            default: expect(score == place(fields), "its score is not that of its level and its tag")
            }
        }
        expect(isInBand(fields), "its tag \(fields["tag"] ?? "") is outside the band of a level")
        expect(!expiring.contains("task:" + id), "it is deleted by itself after a time")
        found += shape(id, state, fields).map { "task \(id) (\(state.rawValue)): \($0)" }
        found += lease(id, state, fields).map { "task \(id) (\(state.rawValue)): \($0)" }
        found += records(fields, state).map { "task \(id) (\(state.rawValue)): \($0)" }
        if let batch = fields["batch"] { expect(contents["batch:" + batch] != nil, "its batch \(batch) is gone") }
        return found
    }

    /// Every index of tasks, except those of lanes.
    static let indexes = [
        "pending", "held", "waiting", "leases", "finished", "finished:failed", "finished:timeout", "finished:cancelled",
    ]

    static func index(of state: TaskState, _ fields: [String: String]) -> String {
        switch state {
        case .pending:
            switch fields["held_by"] {
            case nil: fields["lane"].map { "pending:" + $0 } ?? "pending"
            case "dependencies": "waiting"
            default: "held"
            }
        case .assigned, .running: "leases"
        case .completed, .failed, .timeout, .cancelled: "finished"
        }
    }

    /// The second index of an ended task; nil if it has none.
    static func endIndex(of state: TaskState) -> String? {
        state.isTerminal && state != .completed ? "finished:" + state.rawValue : nil
    }

    private func number(_ text: String?) -> Double? { text.flatMap(Double.init) }

    /// A setting of the queue, as text.
    private func setting(_ name: String, _ standard: Int) -> String { hash("config")[name] ?? "\(standard)" }

    /// A setting of the queue, as a number.
    private func setting(_ name: String) -> Double { Double(hash("config")[name] ?? "") ?? 0 }

    /// The score of a task in its index of pending tasks. In a hash written by a library before version 5, it is the
    /// field `place`.
    private func place(_ fields: [String: String]) -> Double? {
        guard let level = fields["priority"].flatMap(TaskPriority.init)?.level else { return nil }
        guard let tag = number(fields["tag"]) else { return number(fields["place"]) }
        // With aging, a level is worth `aging_ms`, in µs; without aging, each level has a range of 2^50 µs of its own.
        let width = setting("aging_ms") > 0 ? setting("aging_ms") * 1000 : Double(1 << 50)
        return Double(level) * width + tag
    }

    private func isInBand(_ fields: [String: String]) -> Bool {
        guard let tag = number(fields["tag"]) else { return place(fields) != nil }
        return tag >= 0 && tag < Double(1 << 50)
    }

    /// The score may be later than `finished_at` for a task that keeps its unique key: the clean-up returns to it when
    /// the key expires.
    private func isFinishedScore(_ score: Double?, _ fields: [String: String]) -> Bool {
        guard let score, let end = number(fields["finished_at"]) else { return false }
        if score == end { return true }
        guard let kept = number(fields["unique_for_ms"]), fields["unique_key"] != nil else { return false }
        return score >= end && score <= end + kept + 1000
    }

    /// The fields that a task of this state must have, and those that it must not have.
    private func shape(_ id: String, _ state: TaskState, _ fields: [String: String]) -> [String] {
        var present: Set<String> = ["priority", fields["place"] == nil ? "tag" : "place", "submitted_at"]
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
        let isTimed = ["schedule", "retry", "ending"].contains(heldBy ?? "")
        if isTimed != (fields["due_at"] != nil) { found.append("has one of a hold until a time and due_at") }
        let holds: Set = ["schedule", "retry", "ending", "dependencies"]
        if let heldBy, !holds.contains(heldBy) || state != .pending { found.append("is held by \(heldBy)") }
        if isOfThisLayout(fields) { found += uses(fields) + gates(fields) }
        if let retries = number(fields["retry_count"]),
            let most = number(fields["max_retries"] ?? setting("default_max_retries", 2)), retries > most
        {
            found.append("was retried \(retries) times of \(most)")
        }
        return found
    }

    /// Whether a library of the current layout wrote the task. Tasks of an earlier layout are converted when they are
    /// used.
    func isOfThisLayout(_ fields: [String: String]) -> Bool { fields["place"] == nil }

    /// The field `uses` says what the end of the task affects.
    private func uses(_ fields: [String: String]) -> [String] {
        let uses = fields["uses"]
        if fields["unique_key"] != nil { return uses == "1" ? [] : ["has a unique key, and uses is not 1"] }
        if uses == "1" { return ["has no unique key, and uses is 1"] }
        // Without dependencies of its own, the task has or had dependents.
        if uses != nil && uses != "dependencies" { return ["uses is \(uses ?? "")"] }
        return fields["depends_on"] != nil && uses == nil ? ["has dependencies, and uses does not say it"] : []
    }

    /// The gates in the name of the task's lane are those of the task's fields.
    private func gates(_ fields: [String: String]) -> [String] {
        let lane = LaneName(fields["lane"] ?? "")
        let concurrency = fields["concurrency_key"].map {
            LaneName.Concurrency(key: $0, limit: Int(fields["concurrency_limit"] ?? "1") ?? 0)
        }
        var found: [String] = []
        if lane.concurrency != concurrency { found.append("its lane has another concurrency limit than the task") }
        let perSecond = number(fields["rate_per_second"] ?? "1") ?? 0
        let burst = Int(fields["rate_burst"] ?? "1") ?? 0
        let isRateRight =
            lane.rate?.key == fields["rate_key"]
            && (lane.rate.map { abs($0.perSecond - perSecond) <= 1e-9 * perSecond && $0.burst == burst } ?? true)
        if !isRateRight { found.append("its lane has another rate than the task") }
        return found
    }

    /// The lease in `attempts:<worker>`: exactly one while the task is live, with the task's attempt and deadline.
    private func lease(_ id: String, _ state: TaskState, _ fields: [String: String]) -> [String] {
        var found: [String] = []
        let isLive = state == .assigned || state == .running
        for (worker, entry) in holders[id] ?? [:] where LeaseEntry(entry)?.mark != "!" {
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
        if isLive, holders[id]?[fields["worker"] ?? ""] == nil {
            found.append("worker \(fields["worker"] ?? "") does not have it in its attempts")
        }
        return found
    }

    private struct Record: Decodable {
        let attempt: Int
        let worker: String
        let outcome: String
    }

    /// The last 100 attempts that ended while the task went on have a record each. Attempt numbers go on from those of
    /// an earlier task with the same id, whose records do not exist.
    private func records(_ fields: [String: String], _ state: TaskState) -> [String] {
        var found: [String] = []
        let attempt = Int(fields["attempt"] ?? "0") ?? -1
        // The task's own fields describe the latest attempt until the task is pending again.
        let recorded = fields["worker"] == nil ? attempt : attempt - 1
        let outcomes: Set = ["failed", "timeout", "lost", "returned", "cancelled"]
        let numbers = fields.keys.filter { $0.hasPrefix("attempt:") }.compactMap { Int($0.dropFirst(8)) }.sorted()
        let ended = max(Int(fields["retry_count"] ?? "0") ?? 0, (Int(fields["deliveries"] ?? "0") ?? 0) - 1)
        let expected = min(100, max(numbers.count, ended))
        if numbers != Array((recorded - expected + 1)..<(recorded + 1)) {
            found.append("its attempts have the records \(numbers), and \(recorded) of them are over")
        }
        for number in numbers {
            let text = fields["attempt:\(number)"] ?? ""
            guard let record = try? JSONDecoder().decode(Record.self, from: Data(text.utf8)) else {
                found.append("attempt \(number) has a record that cannot be read: \(text)")
                continue
            }
            if record.attempt != number || record.worker.isEmpty || !outcomes.contains(record.outcome) {
                found.append("the record of attempt \(number) is wrong: \(text)")
            }
        }
        return found
    }

    /// A purged task leaves only its attempt number, in a hash that expires.
    var tombstoneViolations: [String] {
        tombstones.flatMap { id -> [String] in
            var found: [String] = []
            let fields = task(id)
            if Set(fields.keys) != ["state", "attempt"] || (Int(fields["attempt"] ?? "") ?? 0) < 1 {
                found.append("task \(id) was purged, and its hash has \(fields.keys.sorted())")
            }
            if !expiring.contains("task:" + id) { found.append("task \(id) was purged, and its hash does not expire") }
            return found
        }
    }
}

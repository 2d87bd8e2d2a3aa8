import Switchyard

/// State that Redis keeps beside the lanes, that affects a pull, and that depends on the times of earlier calls.
struct ModelView {
    /// Lanes that are closed until their rate is due: the next tick opens them.
    var closedByRate: Set<String> = []
    /// Lane → the worker reserved for it: before the call, and after it.
    var reserved: [String: String] = [:]
    var reservedAfter: [String: String] = [:]
}

/// The reservations that bind a worker in one pull (EASY backfill). The pull may skip tasks of other lanes that are
/// less urgent than the reserved one, and it must not take one that delays the reserved one.
struct ModelReservation {
    let lane: String
    let place: Double
    /// The time at which the worker has room for the reserved task, in ms.
    var at: Double
    /// Whether its limits let the task start: a closed lane is not waited for.
    let isOpen: Bool
}

/// The free capacity of a worker, and when more of it becomes free.
struct ModelRoom {
    var amounts: [String: Double]
    var slots: Int
    /// For each attempt its latest end, and the capacity that it then frees.
    var ends: [(at: Double, amounts: [String: Double])]

    /// Returns the time at which there is room for `needs`; infinity: never.
    func time(for needs: String, now: Double) -> Double {
        var left = amounts
        var slots = slots
        func fits() -> Bool { slots >= 1 && ModelMatch.fits(needs, in: left) }
        if fits() { return now }
        for end in ends.sorted(by: { $0.at < $1.at }) {
            slots += 1
            for (name, amount) in end.amounts { left[name, default: 0] += amount }
            if fits() { return max(now, end.at) }
        }
        return .infinity
    }

    /// Assigns a task to the worker, which ends at `at` at the latest.
    mutating func take(_ task: ModelTask, until at: Double) {
        let taken = ModelMatch.amounts(task.needs)
        for (name, amount) in taken { amounts[name, default: 0] -= amount }
        slots -= 1
        ends.append((at, taken))
    }
}

extension ModelQueue {
    /// The worker's capacity without that of its leases.
    func room(of worker: ModelWorker) -> ModelRoom {
        var room = ModelRoom(amounts: ModelMatch.amounts(worker.className), slots: worker.slots, ends: [])
        for task in occupying(worker.id) {
            let deadline =
                task.ending?.until ?? task.startedAt.map { $0 + task.timeout } ?? now + ModelSettings.defaultTimeout
            room.take(task, until: Double(deadline))
        }
        return room
    }

    /// What is wrong with the reservations of the queue; the pull before made those in `new`.
    func reservationDifferences(_ reserved: [String: String], new: Set<String>) -> [String] {
        var found: [String] = []
        let byWorker = Dictionary(grouping: reserved.keys, by: { reserved[$0] ?? "" })
        for (worker, lanes) in byWorker where lanes.count > 1 {
            found.append("worker \(worker) is reserved for \(lanes.sorted())")
        }
        for lane in new.sorted() {
            guard let worker = workers[reserved[lane] ?? ""], let first = line(lane).first else {
                found.append(
                    "lane \(lane) has reserved \(reserved[lane] ?? "nobody"), and there is no such worker or task")
                continue
            }
            if !ModelMatch.serves(worker.className, first.needs) || worker.draining || cordoned.contains(worker.id) {
                found.append("\(worker.id) is reserved for \(lane), which it does not serve")
            }
            if !line(lane).contains(where: { now - $0.submittedAt >= settings.reserveAfter }) {
                found.append("lane \(lane) has reserved a worker, and nobody has waited long in it")
            }
        }
        return found
    }
}

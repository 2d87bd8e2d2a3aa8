import Switchyard

/// What Redis keeps beside the lines that decides a pull, and that follows from the moments of earlier calls.
struct ModelView {
    /// Lanes that are closed until their rate is due: the next tick opens them.
    var closedByRate: Set<String> = []
    /// Lane → the worker that is kept free for it: before the call, and after it.
    var reserved: [String: String] = [:]
    var reservedAfter: [String: String] = [:]
}

/// The reservations that bind a worker in one pull: EASY backfill. Tasks of other lanes that are less urgent than the
/// reserved one may be passed over; one that is taken does not delay it.
struct ModelReservation {
    let lane: String
    let place: Double
    /// When the reserved task has room, in ms.
    var at: Double
    /// Whether its limits let it start: a closed lane is not waited for.
    let isOpen: Bool
}

/// What a worker has left, and when it gets more.
struct ModelRoom {
    var amounts: [String: Double]
    var slots: Int
    /// When an attempt ends at the latest, and what it then gives back.
    var ends: [(at: Double, amounts: [String: Double])]

    /// When there is room for `needs`; infinity: never.
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

    /// A task goes to the worker, and ends `at` some time.
    mutating func take(_ task: ModelTask, until at: Double) {
        let taken = ModelMatch.amounts(task.needs)
        for (name, amount) in taken { amounts[name, default: 0] -= amount }
        slots -= 1
        ends.append((at, taken))
    }
}

extension ModelQueue {
    /// What a worker has left beside what it holds.
    func room(of worker: ModelWorker) -> ModelRoom {
        var room = ModelRoom(amounts: ModelMatch.amounts(worker.className), slots: worker.slots, ends: [])
        for task in held(by: worker.id) {
            let deadline = task.startedAt.map { $0 + task.timeout } ?? now + ModelSettings.defaultTimeout
            room.take(task, until: Double(deadline))
        }
        return room
    }

    /// What is wrong with the reservations of the queue, of which `new` were made by a pull just now.
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
            if !ModelMatch.serves(worker.className, first.needs) || worker.draining {
                found.append("\(worker.id) is reserved for \(lane), which it does not serve")
            }
            if !line(lane).contains(where: { now - $0.submittedAt >= settings.reserveAfter }) {
                found.append("lane \(lane) has reserved a worker, and nobody has waited long in it")
            }
        }
        return found
    }
}

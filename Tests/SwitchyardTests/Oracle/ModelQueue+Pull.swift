import Switchyard

/// Which task is next: exactly, where the order is defined. Of equally urgent tasks of different lanes any may be next.
/// Redis decides which tasks a reservation keeps back, within its bounds.
extension ModelQueue {
    /// The reply of a pull.
    struct PullReply {
        /// First the assignments that are sent again, in any order: those that the worker has not started, or does not
        /// know of. Then the new ones, in their order.
        var ids: [String]
        var view = ModelView()
    }

    /// `worker` pulls.
    /// - Parameter holding: The number of attempts that the worker knows of; if it has more leases, all are sent again.
    /// - Returns: What is wrong with the reply, or nil.
    mutating func pull(
        _ id: String, max most: Int, start: Bool, holding: Int? = nil, reply: PullReply
    ) -> String? {
        guard let worker = workers[id] else { return reply.ids.isEmpty ? nil : "\(id) is not registered" }
        let held = held(by: id)
        let used = occupying(id).count
        let isUnaware = holding.map { used > $0 } ?? false
        let again = Set(held.filter { isUnaware || $0.state == .assigned }.map(\.id))
        let new = Array(reply.ids.dropFirst(again.count))
        let found = Set(reply.ids.prefix(again.count))
        if again != found { return "sent again: \(found.sorted()), expected \(again.sorted())" }
        let want = min(most, Swift.max(0, worker.slots - used))
        let isCordoned = cordoned.contains(id) && !worker.draining
        guard want > 0, !isPaused, !worker.draining, !isCordoned else {
            settle(id, got: 0, sleeps: want > 0 && !worker.draining && !isCordoned)
            // The worker was woken, and has no free slot or was cordoned since: another is woken in its place.
            if most == 0 || isCordoned, !isPaused { _ = wake(for: min(1, line("").count + strays)) }
            return new.isEmpty ? nil : "pulled: \(new), expected nothing"
        }
        if let problem = take(new, want: want, worker, start: start, reply.view) {
            return problem + " (pulled: \(new))"
        }
        endCall()
        settle(id, got: new.count, sleeps: new.count < want)
        let before = reply.view.reserved
        let made = reply.view.reservedAfter.filter { before[$0.key] != $0.value }
        let wrong = reservationDifferences(reply.view.reservedAfter, new: Set(made.keys))
        return wrong.isEmpty ? nil : wrong.joined(separator: "; ") + " (before: \(before))"
    }

    /// Takes the new tasks out of their lanes, and checks that each was the next.
    private mutating func take(
        _ new: [String], want: Int, _ worker: ModelWorker, start: Bool, _ view: ModelView
    ) -> String? {
        if new.count > want { return "it wanted only \(want)" }
        var room = room(of: worker)
        var reservations = reservations(of: worker, room, view)
        for id in new {
            let heads = heads(for: worker, room)
            guard let task = tasks[id], let head = heads.first(where: { $0.id == id }) else {
                return "\(id) is not next: \(tasks[id].map { "\($0)" } ?? "unknown"); next may be \(heads.map(\.id))"
            }
            let passed = heads.filter { place($0) < place(head) && !mayPass($0, reservations, view) }
            if let better = passed.first { return "\(id) was pulled before \(better.id)" }
            var behind = room
            behind.take(task, until: Double(now + task.timeout))
            // The end of an attempt that is not started is an estimate.
            room.take(task, until: Double(now + (start ? task.timeout : ModelSettings.defaultTimeout)))
            assign(id, to: worker.id, start: start)
            reservations.removeAll { $0.lane == task.lane }
            for index in reservations.indices {
                let reservation = reservations[index]
                // A more urgent task may delay the reserved one.
                if place(head) < reservation.place {
                    let at = room.time(for: needs(of: reservation.lane), now: Double(now))
                    reservations[index].at = Swift.max(at, reservation.at)
                    continue
                }
                let at = behind.time(for: needs(of: reservation.lane), now: Double(now))
                if reservation.isOpen, at > reservation.at + 1 {
                    return "\(id) delays the first of \(reservation.lane) from \(reservation.at) to \(at), now \(now)"
                }
            }
        }
        guard new.count < want else { return nil }
        let left = heads(for: worker, room).filter { !mayPass($0, reservations, view) }
        if let first = left.first { return "\(first.id) was not pulled, and could be" }
        return nil
    }

    /// Whether a pull may skip the task: a reservation keeps it back, or its lane is closed until the next tick
    /// although its rate is due. A class that has not noticed that the lane closed may still find the task.
    private func mayPass(_ task: ModelTask, _ reservations: [ModelReservation], _ view: ModelView) -> Bool {
        view.closedByRate.contains(task.lane)
            || reservations.contains { $0.lane != task.lane && place(task) > $0.place }
    }

    private func needs(of lane: String) -> String {
        lane.split(separator: ",").filter { !$0.hasPrefix("@") && !$0.hasPrefix("~") }.joined(separator: ",")
    }

    /// The lanes for which the worker is reserved in this pull.
    private func reservations(of worker: ModelWorker, _ room: ModelRoom, _ view: ModelView) -> [ModelReservation] {
        let lanes = Set(view.reserved.merging(view.reservedAfter) { $1 }.keys).filter {
            view.reserved[$0] == worker.id || view.reservedAfter[$0] == worker.id
        }
        return lanes.sorted().compactMap { lane in
            guard let first = line(lane).first else { return nil }
            let at = room.time(for: first.needs, now: Double(now))
            return ModelReservation(lane: lane, place: place(first), at: at, isOpen: isOpen(first))
        }
    }

    /// The first task of each lane from which the worker may take a task now.
    private func heads(for worker: ModelWorker, _ room: ModelRoom) -> [ModelTask] {
        var first: [String: ModelTask] = [:]
        for task in tasks.values where task.isInLine {
            let lane = task.lane
            if let other = first[lane], isBefore(other, task) { continue }
            first[lane] = task
        }
        return first.filter { _, task in
            ModelMatch.serves(worker.className, task.needs) && ModelMatch.fits(task.needs, in: room.amounts)
                && isOpen(task)
        }.values.sorted(by: isBefore)
    }

    private mutating func assign(_ id: String, to worker: String, start: Bool) {
        move(id, to: start ? .running : .assigned)
        guard let task = tasks[id] else { return }
        tasks[id]?.attempt += 1
        tasks[id]?.worker = worker
        tasks[id]?.startedAt = start ? now : nil
        tasks[id]?.leaseEnds = now + (start ? min(settings.lease, task.timeout) : settings.assignTimeout)
        takeTurn(task)
    }
}

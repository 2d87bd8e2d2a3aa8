import Switchyard
import SwitchyardTesting

/// Who is next: exactly, for the order is defined.
extension ModelQueue {
    /// A line that a worker may take from, and how far it has.
    private struct Source {
        let lane: String
        let tasks: [ModelTask]
        var next = 0
        var isPassedOver = false
        var head: ModelTask? { isPassedOver || next >= tasks.count ? nil : tasks[next] }
    }

    /// What `worker` gets: the assignments that it has not started, and the new ones in their order.
    /// - Parameter holding: how many attempts the worker knows of; if it holds more, it gets all of them again.
    mutating func pull(
        _ id: String, max most: Int, start: Bool, holding: Int? = nil
    ) -> (again: Set<String>, new: [String]) {
        guard let worker = workers[id] else { return ([], []) }
        let held = held(by: id)
        let isUnaware = holding.map { held.count > $0 } ?? false
        let again = Set(held.filter { isUnaware || $0.state == .assigned }.map(\.id))
        let want = min(most, max(0, worker.slots - held.count))
        guard want > 0, !isPaused, !worker.draining else {
            settle(id, got: 0, sleeps: want > 0 && !worker.draining)
            // It was woken and has no room: another is woken in its place.
            if most == 0, !isPaused { _ = wake(for: min(1, line("").count + strays)) }
            return (again, [])
        }

        // Nobody waits for it any more.
        for (lane, reserver) in reserved where reserver == id && line(lane).isEmpty { reserved[lane] = nil }
        let workerClass = LaneName(worker.className)
        var room = workerClass.amounts
        func take(_ lane: String) {
            for (name, amount) in LaneName(lane).amounts { room[name, default: 0] -= amount }
        }
        func fits(_ lane: String) -> Bool {
            LaneName(lane).amounts.allSatisfy { $0.value <= (room[$0.key] ?? 0) + 1e-9 }
        }
        for task in held { take(task.lane) }
        var sources = sources(for: workerClass, id)
        var got: [String] = []
        var newlyReserved: String?
        search: while got.count < want {
            guard let index = first(of: sources), let head = sources[index].head else { break }
            let lane = head.lane
            if !fits(lane) {
                if reserved[lane] == id { break search }
                if reserved[lane] == nil, now - sources[index].tasks[0].submittedAt >= settings.reserveAfter {
                    newlyReserved = lane
                    break search
                }
                sources[index].isPassedOver = true
                continue
            }
            sources[index].next += 1
            guard mayStart(head) else { continue }
            assign(head.id, to: id, start: start)
            take(lane)
            if !lane.isEmpty { reserved[lane] = nil }
            got.append(head.id)
        }
        if let newlyReserved { reserved[newlyReserved] = id }
        endCall()
        settle(id, got: got.count, sleeps: got.count < want)
        return (again, got)
    }

    /// The lines that the class serves; only the one for which the worker is reserved, while somebody stands in it.
    private func sources(for workerClass: LaneName, _ id: String) -> [Source] {
        var sources: [Source] = []
        for lane in Set(tasks.values.filter(\.isInLine).map(\.lane)) where workerClass.serves(LaneName(lane)) {
            sources.append(Source(lane: lane, tasks: line(lane)))
        }
        sources.sort {
            if $0.lane.isEmpty != $1.lane.isEmpty { return $0.lane.isEmpty }
            return ($0.tasks[0].place, $0.lane) < ($1.tasks[0].place, $1.lane)
        }
        return sources.first { reserved[$0.lane] == id }.map { [$0] } ?? sources
    }

    private func first(of sources: [Source]) -> Int? {
        var first: Int?
        for (index, source) in sources.enumerated() {
            guard let head = source.head else { continue }
            if let best = first, let other = sources[best].head, other.place <= head.place { continue }
            first = index
        }
        return first
    }

    /// Whether its limits let a task start now; if not, it leaves the line.
    private mutating func mayStart(_ task: ModelTask) -> Bool {
        if let key = task.concurrencyKey, running(key) >= task.concurrencyLimit {
            move(task.id, to: .pending, heldBy: "concurrency_limit")
            return false
        }
        guard let key = task.rateKey, !task.rateGranted else { return true }
        // GCRA: a start is due once the bucket lacks no more than its burst.
        let full = max(now, rates[key] ?? 0)
        let due = (rates[key] ?? 0) - (task.rateBurst - 1) * task.rateInterval
        rates[key] = full + task.rateInterval
        if due <= now { return true }
        move(task.id, to: .pending, heldBy: "rate_limit", due: due)
        tasks[task.id]?.rateGranted = true
        return false
    }

    private mutating func assign(_ id: String, to worker: String, start: Bool) {
        move(id, to: start ? .running : .assigned)
        guard let task = tasks[id] else { return }
        tasks[id]?.attempt += 1
        tasks[id]?.worker = worker
        tasks[id]?.rateGranted = false
        tasks[id]?.startedAt = start ? now : nil
        tasks[id]?.leaseEnds = now + (start ? min(settings.lease, task.timeout) : settings.assignTimeout)
        guard settings.isFair else { return }
        let tag = task.place - Double(task.priority.level) * settings.width
        virtualTime[task.priority] = max(virtualTime[task.priority] ?? 0, tag)
    }
}

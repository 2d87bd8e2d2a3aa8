import Switchyard

/// What a failover explains.
extension Evidence {
    /// When it was noticed that another server has the queue because of a fault, in order.
    func changes(by fault: FaultRecord) -> [Uptime] {
        guard fault.kind.movesQueue else { return [] }
        return changes.filter { fault.from < $0 && $0 < fault.to + 1 }
    }

    /// The failovers that nobody ordered: on a busy machine servers take each other for dead.
    func unordered(on redis: RedisKind) -> [FaultRecord] {
        let ordered = Set(faults.flatMap { changes(by: $0).map(\.seconds) })
        return changes.filter { !ordered.contains($0.seconds) }.map { change in
            FaultRecord(
                kind: redis == .sentinel ? .sentinelFailover : .clusterFailover, targets: [],
                from: change + -Self.unorderedTakes, to: change, isPart: true,
                forgets: .untilChange)
        }
    }

    /// How long before the change a failover may have begun that nobody ordered, in seconds.
    private static let unorderedTakes = 4.0
    /// How much earlier than the failover the first change may be that no Redis replica had, and how much later than
    /// the last forgotten one its consequence may be noted, on a busy machine. In seconds.
    private static let lag = 1.0

    /// When changes may have been made that were acknowledged and are forgotten. Redis replicates after it has replied,
    /// and a failover loses what was not replicated (Operations). Submissions that wait for all Redis replicas are not
    /// among these changes.
    private var forgetfulTimes: [ClosedRange<Uptime>] {
        faults.compactMap { fault in
            let from = fault.from + -Self.lag
            return switch fault.forgets {
            case .nothing: nil
            case .before: from...fault.from + Self.lag
            case .untilChange: from...(changes(by: fault).last ?? fault.to) + Self.lag
            }
        }
    }

    /// Whether the queue has ended the attempt for a lease whose renewals a failover has made it forget. The worker
    /// hears of it at its next heartbeat.
    func hasForgottenRenewal(of execution: Execution, before next: Uptime) -> Bool {
        guard outcome(of: execution) == "lost", let end = execution.to, end < next + Self.lag else { return false }
        let lease = TorturePlan.lease / .seconds(1) + Self.lag
        return forgetfulTimes.contains { $0.lowerBound < next && next < $0.upperBound + lease }
    }

    /// The evidence without what a failover has made the queue forget. Each part is tied to the time of a failover
    /// that may forget, and is dropped whole, so that every rule holds for the rest:
    ///
    /// - An execution that began then, if its attempt is not in the task's list with its worker: the queue has
    ///   forgotten that a worker took the task. The worker ends it at its next heartbeat; until then it may overlap
    ///   with another.
    /// - An execution that began or ended then, if the attempt or one before it was given again, with the same number:
    ///   the queue has forgotten that a worker took the task, or that the attempt ended.
    /// - An end that was told or seen then: the task may run again.
    ///
    /// The renewals of leases are forgotten too, see ``hasForgottenRenewal(of:before:)``.
    ///
    /// What is submitted with `replicated: true` stays, whenever that was.
    func withoutForgotten() -> Evidence {
        let times = forgetfulTimes
        if times.isEmpty { return self }
        func isForgetful(_ time: Uptime?) -> Bool {
            guard let time else { return false }
            return times.contains { $0.contains(time) }
        }
        var rest = self
        rest.executions = executionsByTask.flatMap { id, executions in
            let listed = tasks[id]?.attempts ?? []
            return executions.enumerated().filter { index, execution in
                let began = isForgetful(execution.from)
                guard began || isForgetful(execution.to) else { return true }
                if executions[(index + 1)...].contains(where: { $0.attempt <= execution.attempt }) { return false }
                // The list has the last attempts only.
                if !began || execution.attempt < listed.first?.attempt ?? 0 { return true }
                return listed.contains { $0.attempt == execution.attempt && $0.worker == execution.worker }
            }.map(\.element)
        }
        rest.told.removeAll { isForgetful($0.at) }
        rest.calls.removeAll { $0.kind == .get && (isForgetful($0.from) || isForgetful($0.to)) }
        return rest
    }
}

import Foundation
import SwitchyardTesting

/// Makes faults happen, one after another, by the plan's seed, until it is cancelled.
struct Nemesis: Sendable {
    let farm: Farm
    /// Says what happens.
    let progress: @Sendable (String) -> Void

    /// Longer than a lease and the times that its end may take.
    static let longerThanLease: Duration = TorturePlan.lease * 2

    /// What a fault has struck.
    struct Blow {
        /// The names of the processes; none: all.
        var targets: [String] = []
        /// The faults that it consists of.
        var parts: [FaultRecord] = []
        /// What else to say of it.
        var remark = ""
        /// When its cause was gone; nil: at its end.
        var to: Uptime?
        var forgets = FaultRecord.Forgetting.nothing
    }

    /// - Returns: the faults that struck, each with its cause gone.
    /// - Throws: if a fault cannot be made or undone, which says nothing about Switchyard.
    func run(until end: ContinuousClock.Instant) async throws -> [FaultRecord] {
        var random = SeededGenerator(seed: farm.plan.seed ^ 0xFA_17)
        var records: [FaultRecord] = []
        var round: [FaultKind] = []
        for excuse in farm.excuses { progress(excuse) }
        while ContinuousClock.now < end {
            if round.isEmpty { round = farm.faults.shuffled(using: &random) }
            guard let kind = round.popLast() else {
                try await Task.sleep(until: end)
                break
            }
            guard try await isPrepared(for: kind, before: end) else { break }
            try await Task.sleep(for: .milliseconds(Int.random(in: 300...1500, using: &random)))
            let from = Uptime.now
            let blow = try await strike(kind, &random)
            records.append(
                FaultRecord(
                    kind: kind, targets: blow.targets, from: from, to: blow.to ?? .now, forgets: blow.forgets))
            records += blow.parts
            let time = String(format: "from %.2f to %.2f s", from.seconds, Uptime.now.seconds)
            progress(([kind.rawValue] + blow.targets + [blow.remark, time]).joined(separator: " "))
            try await farm.heal()
        }
        return records
    }

    /// Waits until the fault can be made: another server may need many seconds until it can take the queue.
    /// - Returns: whether that is so before `end`.
    private func isPrepared(for kind: FaultKind, before end: ContinuousClock.Instant) async throws -> Bool {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await farm.redis.prepare(for: kind)
                return true
            }
            group.addTask {
                try await Task.sleep(until: end)
                return false
            }
            defer { group.cancelAll() }
            return try await group.next() ?? false
        }
    }

    /// Makes a fault happen and undoes its cause.
    private func strike(_ kind: FaultKind, _ random: inout SeededGenerator) async throws -> Blow {
        let worker = farm.workers.randomElement(using: &random)
        let replica = farm.replicas.randomElement(using: &random)
        let aWhile = Duration.milliseconds(Int.random(in: 200...3000, using: &random))
        switch kind {
        case .killWorker: return try await kill([worker], restartAfter: .milliseconds(200))
        case .suspendWorker: return try await suspend([worker], for: Self.longerThanLease)
        case .killReplica: return try await kill([replica], restartAfter: aWhile)
        case .killReplicas: return try await kill(farm.replicas, restartAfter: aWhile)
        case .suspendReplica: return try await suspend([replica], for: Self.longerThanLease)
        case .rollingUpgrade: return try await upgrade(mixedFor: aWhile)
        case .lostReplies: return try await weather(.init(lostReplies: 40, lostRequests: 40), for: .seconds(3))
        case .latency: return try await weather(.init(delay: .milliseconds(150)), for: .seconds(3))
        case .halfOpen:
            worker?.link.stall()
            return try await wait(worker)
        case .refusedWorker:
            worker?.link.refuse()
            return try await wait(worker)
        case .cutRequests: return try await cut(.requests)
        case .cutReplies: return try await cut(.replies)
        case .packetLoss: return try await losePackets(&random)
        case .killSubscribers: try await farm.redis.closeConnections("TYPE", "pubsub")
        case .killConnections: try await farm.redis.closeConnections("TYPE", "normal", "SKIPME", "yes")
        case .flushFunctions:
            try await farm.redis.flushFunctions()
            // Meanwhile a process may have loaded its own.
            try await Task.sleep(for: .milliseconds(500))
            try await farm.redis.loadLibrary()
        case .sentinelFailover, .clusterFailover, .reshard: return try await moveQueue(kind, aWhile, &random)
        case .allAtOnce: return try await allAtOnce(&random)
        default: return try await strikeRedis(kind, aWhile, &random)
        }
        return Blow()
    }

    // MARK: Processes

    func kill(_ targets: [FarmProcess?], restartAfter pause: Duration) async throws -> Blow {
        let targets = targets.compactMap(\.self)
        for target in targets { await target.kill() }
        try await Task.sleep(for: pause)
        return Blow(targets: targets.map(\.name))
    }

    func suspend(_ targets: [FarmProcess?], for pause: Duration) async throws -> Blow {
        let targets = targets.compactMap(\.self)
        for target in targets { target.suspend() }
        defer { for target in targets { target.resume() } }
        try await Task.sleep(for: pause)
        return Blow(targets: targets.map(\.name))
    }

    /// All replicas go back to the version before, whose library is then in Redis, and forward again one by one.
    private func upgrade(mixedFor pause: Duration) async throws -> Blow {
        guard let older = farm.olderProgram else { throw TortureError("rolling-upgrade: there is no older program") }
        for replica in farm.replicas { try await restart(replica, with: older) }
        try await farm.redis.server(for: .rollingUpgrade).loadOlderLibrary()
        try await Task.sleep(for: pause)
        for replica in farm.replicas {
            try await restart(replica, with: farm.program)
            try await Task.sleep(for: pause)
        }
        try await farm.redis.loadLibrary()
        return Blow(targets: farm.replicas.map(\.name))
    }

    private func restart(_ process: FarmProcess, with program: String) async throws {
        await process.stop()
        process.use(program: program)
        try await process.start()
    }

    // MARK: The network

    private func weather(_ weather: Link.Weather, for pause: Duration) async throws -> Blow {
        for process in farm.processes { process.link.set(weather) }
        try await Task.sleep(for: pause)
        return Blow()
    }

    private func wait(_ worker: FarmProcess?) async throws -> Blow {
        try await Task.sleep(for: Self.longerThanLease)
        return Blow(targets: [worker].compactMap { $0?.name })
    }

    /// Cuts one direction of the way between a worker and Redis: by its network, or in the proxy.
    private func cut(_ direction: NetworkNamespace.Direction) async throws -> Blow {
        let worker = farm.farWorker
        if let network = worker?.network {
            try await network.cut(direction)
        } else {
            worker?.link.set(
                .init(held: (direction == .requests ? .request : .reply, .now + Self.longerThanLease)))
        }
        return try await wait(worker)
    }

    /// Loses packets of a worker in bursts. Without a network of its own its messages are late, which is what TCP makes
    /// of losses.
    private func losePackets(_ random: inout SeededGenerator) async throws -> Blow {
        let worker = farm.farWorker
        guard let network = worker?.network else {
            worker?.link.set(.init(delay: .milliseconds(500)))
            return try await wait(worker)
        }
        let end = ContinuousClock.now + Self.longerThanLease
        while ContinuousClock.now < end {
            try await network.cut(random.oneIn(2) ? .requests : .replies)
            try await Task.sleep(for: .milliseconds(Int.random(in: 5...60, using: &random)))
            try await network.mend()
            try await Task.sleep(for: .milliseconds(Int.random(in: 20...150, using: &random)))
        }
        return Blow(targets: [worker].compactMap { $0?.name })
    }
}

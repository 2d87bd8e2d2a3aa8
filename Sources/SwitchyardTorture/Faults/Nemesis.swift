import Foundation
import RedisClient

/// Makes faults happen, one after another, by the plan's seed, until it is cancelled.
struct Nemesis: Sendable {
    let farm: Farm
    /// Says what happens.
    let progress: @Sendable (String) -> Void

    /// Longer than a lease and the times that its end may take.
    private static let longerThanLease: Duration = TorturePlan.lease * 2

    /// - Returns: the faults that struck, each with its cause gone.
    /// - Throws: if a fault cannot be made or undone, which says nothing about Switchyard.
    func run(until end: ContinuousClock.Instant) async throws -> [FaultRecord] {
        var random = SeededGenerator(seed: farm.plan.seed ^ 0xFA_17)
        var records: [FaultRecord] = []
        var round: [FaultKind] = []
        while ContinuousClock.now < end {
            if round.isEmpty { round = farm.plan.faults.shuffled(using: &random) }
            guard let kind = round.popLast() else { break }
            try await Task.sleep(for: .milliseconds(Int.random(in: 300...1500, using: &random)))
            let from = Uptime.now
            let targets = try await strike(kind, &random)
            records.append(FaultRecord(kind: kind, targets: targets, from: from, to: .now))
            progress("\(kind.rawValue) \(targets.joined(separator: " "))")
            try await farm.heal()
        }
        return records
    }

    /// Makes a fault happen and undoes its cause.
    /// - Returns: the names of the processes that it struck; none: it struck all.
    private func strike(_ kind: FaultKind, _ random: inout SeededGenerator) async throws -> [String] {
        let worker = farm.workers.randomElement(using: &random)
        let replica = farm.replicas.randomElement(using: &random)
        let aWhile = Duration.milliseconds(Int.random(in: 200...3000, using: &random))
        switch kind {
        case .killWorker: return try await kill([worker], restartAfter: .milliseconds(200))
        case .suspendWorker: return try await suspend([worker], for: Self.longerThanLease)
        case .killReplica: return try await kill([replica], restartAfter: aWhile)
        case .killReplicas: return try await kill(farm.replicas, restartAfter: aWhile)
        case .suspendReplica: return try await suspend([replica], for: Self.longerThanLease)
        case .suspendAll:
            let redis = await farm.redis.processID
            signal(redis, SIGSTOP)
            defer { signal(redis, SIGCONT) }
            _ = try await suspend(farm.processes, for: Self.longerThanLease)
            return []
        case .killRedis:
            await farm.redis.kill()
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...1500, using: &random)))
            try await farm.redis.restart()
            return []
        case .suspendRedis:
            let redis = await farm.redis.processID
            signal(redis, SIGSTOP)
            defer { signal(redis, SIGCONT) }
            try await Task.sleep(for: Self.longerThanLease)
            return []
        case .lostReplies: return try await weather(.init(lostReplies: 40, lostRequests: 40), for: .seconds(3))
        case .latency: return try await weather(.init(delay: .milliseconds(150)), for: .seconds(3))
        case .halfOpen:
            worker?.link.stall()
            try await Task.sleep(for: Self.longerThanLease)
            return [worker].compactMap { $0?.name }
        case .refusedWorker:
            worker?.link.refuse()
            try await Task.sleep(for: Self.longerThanLease)
            return [worker].compactMap { $0?.name }
        case .killSubscribers: return try await send("CLIENT", "KILL", "TYPE", "pubsub")
        case .killConnections: return try await send("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        case .flushFunctions: return try await send("FUNCTION", "FLUSH")
        case .busyRedis:
            return try await send(
                "EVAL",
                """
                local start = redis.call('TIME')
                repeat local now = redis.call('TIME') until now[1] - start[1] >= 4
                """, "0")
        case .fullMemory:
            _ = try await send("CONFIG", "SET", "maxmemory", "1mb")
            try await Task.sleep(for: aWhile)
            return try await send("CONFIG", "SET", "maxmemory", "0")
        }
    }

    private func kill(_ targets: [FarmProcess?], restartAfter pause: Duration) async throws -> [String] {
        let targets = targets.compactMap(\.self)
        for target in targets { await target.kill() }
        try await Task.sleep(for: pause)
        return targets.map(\.name)
    }

    private func suspend(_ targets: [FarmProcess?], for pause: Duration) async throws -> [String] {
        let targets = targets.compactMap(\.self)
        for target in targets { target.suspend() }
        defer { for target in targets { target.resume() } }
        try await Task.sleep(for: pause)
        return targets.map(\.name)
    }

    private func weather(_ weather: Link.Weather, for pause: Duration) async throws -> [String] {
        for process in farm.processes { process.link.set(weather) }
        try await Task.sleep(for: pause)
        return []
    }

    private func send(_ name: String, _ arguments: String...) async throws -> [String] {
        _ = try await farm.client.send(RedisCommand(name, arguments.map { .string($0) }))
        return []
    }

    private func signal(_ process: Int32?, _ signal: Int32) {
        guard let process else { return }
        // It fails only for a process that has ended, which the next command on Redis tells.
        _ = Foundation.kill(process, signal)
    }
}

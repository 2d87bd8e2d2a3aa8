import Foundation
import SwitchyardTesting

extension Nemesis {
    /// How far the clock is set: more than all leases.
    private static let clockSteps = 5...20

    func strikeRedis(
        _ kind: FaultKind, _ aWhile: Duration, _ random: inout SeededGenerator
    ) async throws -> Blow {
        let redis = try farm.redis.server(for: kind)
        switch kind {
        case .killRedis:
            await redis.kill()
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...1500, using: &random)))
            try await redis.restart()
        case .suspendRedis: try await redis.suspend(for: Self.longerThanLease)
        case .suspendAll:
            async let server: Void = redis.suspend(for: Self.longerThanLease)
            _ = try await suspend(farm.processes, for: Self.longerThanLease)
            try await server
        case .busyRedis:
            try await redis.send(
                "EVAL",
                """
                local start = redis.call('TIME')
                repeat local now = redis.call('TIME') until now[1] - start[1] >= 4
                """, "0")
        case .fullMemory:
            try await redis.send("CONFIG", "SET", "maxmemory", "1mb")
            try await Task.sleep(for: aWhile)
            try await redis.send("CONFIG", "SET", "maxmemory", "0")
        case .tornFile: return try await tearFile(redis, &random)
        case .slowLoad: return try await loadSlowly(redis)
        case .diskFull: try await redis.fillDisk(for: aWhile + .seconds(1))
        case .flushAll: try await redis.send("FLUSHALL")
        case .clockForward: return try await setClock(redis, Int.random(in: Self.clockSteps, using: &random), aWhile)
        case .clockBack: return try await setClock(redis, -Int.random(in: Self.clockSteps, using: &random), aWhile)
        default: throw TortureError("\(kind.rawValue) is no fault of a redis-server")
        }
        return Blow()
    }

    /// Redis ends while it writes, starts, and ends once more: what the first start left is loaded by the second.
    private func tearFile(_ redis: FarmServer, _ random: inout SeededGenerator) async throws -> Blow {
        await redis.kill()
        let bytes = try redis.tearFile(&random)
        try await redis.restart()
        try await Task.sleep(for: .milliseconds(Int.random(in: 200...1500, using: &random)))
        await redis.kill()
        try await redis.restart()
        return Blow(remark: "(\(bytes) bytes of a transaction)")
    }

    private func loadSlowly(_ redis: FarmServer) async throws -> Blow {
        await redis.kill()
        let from = Uptime.now
        async let restarted: Void = redis.restart(loadingFor: .seconds(4))
        var replies = 0
        while Uptime.now - from < 3 {
            if try await redis.isLoading() { replies += 1 }
            try await Task.sleep(for: .milliseconds(100))
        }
        try await restarted
        let seconds = ((Uptime.now - from) * 10).rounded() / 10
        return Blow(remark: "(\(seconds) s, LOADING \(replies) times)")
    }

    private func setClock(_ redis: FarmServer, _ seconds: Int, _ pause: Duration) async throws -> Blow {
        try await redis.setClock(ahead: seconds)
        try await Task.sleep(for: pause)
        try await redis.setClock(ahead: 0)
        return Blow(remark: "(\(seconds) s)")
    }

    /// One fault of each part, all at the same time.
    func allAtOnce(_ random: inout SeededGenerator) async throws -> Blow {
        let workers = farm.workers.shuffled(using: &random)
        let replica = farm.replicas.randomElement(using: &random)
        let kind =
            [FaultKind.killRedis, .suspendRedis, .busyRedis, .slowLoad].randomElement(using: &random)
            ?? .killRedis
        let seed = random.next()
        for process in farm.processes { process.link.set(.init(lostReplies: 60, lostRequests: 60)) }
        workers.dropFirst(2).first?.link.stall()
        return try await withThrowingTaskGroup(of: FaultRecord.self) { group in
            func add(_ kind: FaultKind, _ body: @escaping @Sendable () async throws -> Blow) {
                group.addTask {
                    let from = Uptime.now
                    let blow = try await body()
                    return FaultRecord(kind: kind, targets: blow.targets, from: from, to: .now, isPart: true)
                }
            }
            add(kind) {
                var random = SeededGenerator(seed: seed)
                return try await strikeRedis(kind, .seconds(1), &random)
            }
            add(.killWorker) { try await kill([workers.first], restartAfter: .seconds(1)) }
            add(.suspendWorker) { try await suspend([workers.dropFirst().first], for: Self.longerThanLease) }
            add(.killReplica) { try await kill([replica], restartAfter: .seconds(1)) }
            var blow = Blow(remark: "(with \(kind.rawValue))")
            for try await part in group { blow.parts.append(part) }
            if let stalled = workers.dropFirst(2).first, let first = blow.parts.map(\.from).min() {
                blow.parts.append(
                    FaultRecord(kind: .halfOpen, targets: [stalled.name], from: first, to: .now, isPart: true))
            }
            return blow
        }
    }
}

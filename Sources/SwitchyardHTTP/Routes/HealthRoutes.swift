import Hummingbird
import JSON
import RedisClient
import Switchyard

// Whether tasks are being run. Unhealthy (503): no Redis server replies, or tasks wait and no worker takes them (all
// drain, or none is registered). Degraded: tasks are served, but something needs attention. `/livez` and `/readyz`
// are for what restarts this process and routes requests to it: the first always succeeds, the second while at least
// one Redis server replies.

extension API {
    /// From this share of its limit on, a queue is reported as backing up.
    private static let backingUp = 0.8
    /// A health probe usually times out after a second or two; Redis must reply sooner.
    private static let pingTimeout: Duration = .milliseconds(800)

    func addHealth(to routes: inout Routes) {
        routes.on(.get, "/v2/health") { request, _ in
            _ = try Query(request)
            return try await health()
        }
        routes.on(.get, "/livez") { _, _ in .json(["status": "ok"]) }
        routes.on(.get, "/readyz") { _, _ in
            let (problems, servers) = await redisProblems()
            if problems.count == servers, let problem = problems.first { throw problem }
            if let failure = scheduler.health.replicaFailure {
                throw Problem(.internal(message: failure, redisAway: true))
            }
            if let finding = scheduler.health.serverFindings.first(where: { $0.subject == "rights" }) {
                throw Problem(
                    .serviceUnavailable, code: "Internal", "\(finding.message); \(finding.advice ?? "")")
            }
            return .json(["status": "ok"])
        }
    }

    private struct Reason {
        var code: String
        var message: String
        var isUnhealthy = false
    }

    /// The registered workers and the logs of all queues.
    private struct Counts {
        var total = 0
        var idle = 0
        var draining = 0
        var logBytes = 0
        var logBudget = 0
        var logsRemoved = 0

        var logs: JSONValue {
            ["bytes": JSONValue(logBytes), "budget_bytes": JSONValue(logBudget), "removed": JSONValue(logsRemoved)]
        }

        var workers: JSONValue {
            ["total": JSONValue(total), "idle": JSONValue(idle), "draining": JSONValue(draining)]
        }
    }

    private func health() async throws -> Response {
        let (problems, servers) = await redisProblems()
        // While some of several Redis servers reply, the tasks in their partitions are served.
        var reasons = problems.map {
            Reason(code: "redis_away", message: $0.message, isUnhealthy: problems.count == servers)
        }
        if let failure = scheduler.health.replicaFailure {
            reasons.append(Reason(code: "redis_role", message: failure, isUnhealthy: true))
        }
        var counts: Counts?
        if reasons.isEmpty {
            do {
                (reasons, counts) = try await queueReasons()
                reasons += movingQueues.map {
                    Reason(
                        code: "slot_moving",
                        message:
                            "the hash slot of queue \($0) is being moved to another node of the Redis Cluster: its "
                            + "calls wait until it has moved")
                }
            } catch let error as SchedulerError {
                let isAway = if case .internal(_, redisAway: true) = error { true } else { false }
                let code =
                    if error.isFromReplica {
                        "redis_role"
                    } else if error.isForLackOfReplicas {
                        "redis_replicas"
                    } else {
                        isAway ? "redis_away" : "redis_error"
                    }
                reasons.append(
                    Reason(
                        code: code,
                        message: isAway ? error.message : "the queues cannot be read: \(error.message)",
                        isUnhealthy: true))
            }
        }
        // What does not harm the tasks is for `doctor`: persistence may be off on purpose.
        for finding in scheduler.health.serverFindings
        where finding.level == .fail || ["memory", "spread", "replicas"].contains(finding.subject) {
            reasons.append(
                Reason(code: "redis_\(finding.subject)", message: "Redis: \(finding.message); \(finding.advice ?? "")"))
        }
        if let failure = scheduler.health.submissionFailure {
            reasons.append(
                Reason(
                    code: "submissions_fail", message: "the latest submission through this replica failed: \(failure)"))
        }
        for (queue, health) in scheduler.health.current.sorted(by: { $0.key < $1.key }) {
            if let failure = health.failure, problems.isEmpty || !health.isRedisAway {
                reasons.append(
                    Reason(code: "not_served", message: "this replica does not serve queue \(queue): \(failure)"))
            }
            if let failure = health.deafness, problems.isEmpty {
                reasons.append(
                    Reason(
                        code: "reports_unheard",
                        message: "this replica does not hear the reports that workers publish for queue \(queue): "
                            + failure))
            }
            if let loss = health.loss(of: queue) { reasons.append(Reason(code: "data_lost", message: loss)) }
        }
        let isUnhealthy = reasons.contains(where: \.isUnhealthy)
        let status = isUnhealthy ? "unhealthy" : reasons.isEmpty ? "healthy" : "degraded"
        var json: JSONValue = [
            "status": .string(status),
            "reasons": .array(reasons.map { ["code": .string($0.code), "message": .string($0.message)] }),
        ]
        if let counts {
            json.add("workers", counts.workers)
            json.add("logs", counts.logs)
        }
        return .json(
            json,
            status: isUnhealthy ? .serviceUnavailable : .ok)
    }

    private func queueReasons() async throws -> ([Reason], Counts) {
        let cache = settings
        let moving = Set(movingQueues)
        let names = scheduler.queues.filter { !moving.contains($0) }
        let queues = try await forEach(try names.map { try scheduler.handle(queue: $0) }) { handle in
            (
                stats: try await handle.getStats(), demand: try await handle.demand(),
                limit: try await cache.settings(of: handle)["max_queue_length"] ?? 0
            )
        }
        var reasons: [Reason] = []
        let waiting = queues.reduce(0) { $0 + $1.stats.ready }
        var counts = Counts()
        for queue in queues {
            counts.total += queue.stats.totalWorkers
            counts.idle += queue.stats.idleWorkers
            counts.draining += queue.demand.drainingWorkers
            counts.logBytes += queue.stats.logBytes
            counts.logBudget += queue.stats.logBudget
            counts.logsRemoved += queue.stats.logsRemoved
        }
        let hasWorkers = counts.total > 0
        if !hasWorkers {
            reasons.append(
                Reason(
                    code: "no_workers", message: "no worker is registered; \(Self.tasks(waiting)) in line",
                    isUnhealthy: waiting > 0))
        } else if counts.draining >= counts.total {
            reasons.append(
                Reason(
                    code: "workers_draining",
                    message: "all \(counts.total) registered workers are draining; \(Self.tasks(waiting)) in line",
                    isUnhealthy: waiting > 0))
        }
        for (stats, _, limit) in queues {
            if limit > 0, Double(stats.pending) >= Self.backingUp * Double(limit) {
                reasons.append(
                    Reason(
                        code: "queue_backing_up",
                        message: "queue \(stats.queue) holds \(stats.pending) of at most \(limit) tasks"))
            }
            if stats.logBytes > stats.logBudget {
                reasons.append(
                    Reason(
                        code: "logs_over_budget",
                        message:
                            "the logs of queue \(stats.queue) take \(stats.logBytes) bytes, beyond its log_budget of "
                            + "\(stats.logBudget): those of tasks that have not ended are not removed"))
            }
            if hasWorkers, stats.unroutable > 0 {
                reasons.append(
                    Reason(
                        code: "unroutable",
                        message:
                            "queue \(stats.queue) has \(Self.tasks(stats.unroutable)) that no registered worker serves")
                )
            }
        }
        return (reasons, counts)
    }

    private static func tasks(_ count: Int) -> String { count == 1 ? "1 task" : "\(count) tasks" }

    /// The queues whose calls wait for the move of a hash slot.
    private var movingQueues: [String] {
        guard scheduler.partitions.areInCluster else { return [] }
        return scheduler.queues.filter { queue in
            scheduler.partitions.functions(queue: queue, logger: logger).contains { $0.client.isMoving($0.keys.prefix) }
        }
    }

    /// The Redis servers that have queues: with a Redis Cluster its primaries, as far as it is known.
    private func redisServers() async -> [(client: RedisClient, presence: RedisPresence?)] {
        let partitions = scheduler.partitions
        guard partitions.areInCluster else {
            return partitions.instances.indices.map { index in
                (partitions.instances[index], partitions.presences?.presence(of: index, key: ""))
            }
        }
        var servers: [RedisClient] = []
        for client in partitions.instances {
            // A Cluster that cannot be read does not reply to PING either.
            servers += (try? await client.primaries(deadline: Self.pingTimeout)) ?? [client]
        }
        return servers.map { ($0, nil) }
    }

    /// Returns one problem for each Redis server that does not reply to PING, and how many servers there are.
    private func redisProblems() async -> (problems: [Problem], servers: Int) {
        let servers = await redisServers()
        let problems = await withTaskGroup(of: Problem?.self) { group in
            for (client, presence) in servers {
                group.addTask {
                    if let absence = presence?.absence { return Self.away(absence) }
                    do {
                        _ = try await client.send(
                            RedisCommand("PING"), deadline: Self.pingTimeout, traffic: .urgent)
                        return nil
                    } catch {
                        return Self.away("\(error)")
                    }
                }
            }
            return await group.reduce(into: [Problem]()) { problems, problem in
                if let problem { problems.append(problem) }
            }
        }
        return (problems, servers.count)
    }

    private static func away(_ reason: String) -> Problem {
        var problem = Problem(.serviceUnavailable, code: "Internal", "Redis does not reply: \(reason)")
        problem.retryAfter = Problem.retryAfterOutage
        return problem
    }
}

import Foundation
import RedisClient

extension SchedulerError {
    /// Maps an error of the Redis client. This is the only place that reads the codes of Redis's error replies.
    package init(_ error: RedisError) {
        guard error.kind == .server else {
            self = .internal(message: error.description, redisAway: error.kind != .invalidConfiguration)
            return
        }
        let text = String(error.message.drop { $0 != " " }.dropFirst())
        switch error.code {
        case "QUEUEFULL": self = .queueFull(message: text)
        case "QUEUEDRAINING": self = .queueDraining(message: text)
        case "TASKNOTFOUND": self = .taskNotFound(message: text)
        case "TASKEXISTS": self = .taskExists(message: text)
        case "NOWORKERS": self = .noWorkers(message: text)
        case "WORKERNOTFOUND": self = .workerNotFound(message: text)
        case "INVALIDSTATE": self = .invalidStateTransition(message: text, leaseLost: false)
        case "LEASELOST": self = .invalidStateTransition(message: text, leaseLost: true)
        case "BADREQUEST": self = .invalidInput(field: Self.field(in: text), message: text)
        case "MOVED":
            self = .internal(
                message: "the Redis server at \(error.endpoint) is a node of a Redis Cluster: use "
                    + "redis-cluster://\(error.endpoint) instead of redis://",
                redisAway: false)
        case "TRYAGAIN" where error.message.contains("rehashing of slot"):
            self = .internal(
                message: "the hash slot of the queue is being moved to another node of the Redis Cluster; its calls "
                    + "wait until it has moved",
                redisAway: true)
        case "READONLY", "NOREPLICAS":
            let reason = error.code == "READONLY" ? Self.isReplica : Self.hasTooFewReplicas
            let hadNoEffect = error.refusesWrites && !error.mayHaveBeenApplied
            self = .internal(
                message: "Redis at \(error.endpoint) \(reason)\(hadNoEffect ? Self.withoutEffect : "")", redisAway: true
            )
        case "WRONGPASS", "NOAUTH": self = Self.loginRefused(error)
        case "ERR" where text.hasPrefix("AUTH "): self = Self.loginRefused(error)
        case "OOM":
            let hadNoEffect = !error.mayHaveBeenApplied
            self = .internal(message: Self.noMemory + (hadNoEffect ? Self.withoutEffect : ""), redisAway: true)
        case "ERR" where text.hasPrefix("unknown command"):
            // What follows has the arguments, and so a task's.
            let command = text.prefix { $0 != "," }
            self = .invalidInput(
                field: "redis",
                message: "redis: expected Redis 7.0 or Valkey 7.2, or later, with its commands not renamed; "
                    + "\(error.endpoint) replied: \(command)")
        default:
            let transient: Set = [
                "LOADING", "BUSY", "MASTERDOWN", "MISCONF", "CLUSTERDOWN", "TRYAGAIN",
            ]
            self = .internal(message: error.description, redisAway: transient.contains(error.code))
        }
    }

    private static let isReplica =
        "is a Redis replica, which refuses writes: use the URL of its primary, or redis-sentinel://"
    private static let hasTooFewReplicas =
        "has fewer Redis replicas than its min-replicas-to-write, and refuses writes: start them, or lower that setting"
    private static let withoutEffect = "; nothing was changed"
    private static let refusesLogin = "refuses the login"

    private static func loginRefused(_ error: RedisError) -> SchedulerError {
        .internal(
            message: "Redis at \(error.endpoint) \(refusesLogin): \(error.message); check the user and the password "
                + "(in its URL, SWITCHYARD_REDIS_PASSWORD or SWITCHYARD_REDIS_PASSWORD_FILE)",
            redisAway: false)
    }

    private func says(_ text: String) -> Bool {
        if case .internal(let message, _) = self { message.contains(text) } else { false }
    }

    /// True if Redis is a Redis replica, which takes no writes.
    package var isFromReplica: Bool { says(Self.isReplica) }

    /// True if Redis takes no writes because it has too few Redis replicas.
    package var isForLackOfReplicas: Bool { says(Self.hasTooFewReplicas) }

    /// True if it is certain that the call changed nothing, although Redis did not do what it was to.
    package var hadNoEffect: Bool { says(Self.withoutEffect) }

    /// The same error, of a call that had no effect after others that had one.
    package var afterAnEffect: SchedulerError {
        guard case .internal(let message, let redisAway) = self else { return self }
        return .internal(message: message.replacing(Self.withoutEffect, with: ""), redisAway: redisAway)
    }

    /// True if the user or the password is wrong.
    package var isLoginRefused: Bool { says(Self.refusesLogin) }

    private static let noMemory = "Redis has no memory left for new tasks (maxmemory); existing tasks are still served"

    /// True if Redis refuses what takes memory, for as long as nobody makes room.
    package var isOutOfMemory: Bool { says(Self.noMemory) }

    /// Returns the field that a message names: `timeout_ms` for `task t1: timeout_ms: expected…`.
    private static func field(in text: String) -> String? {
        let parts = text.components(separatedBy: ": ").filter { !$0.hasPrefix("task ") }
        guard parts.count > 1, let name = parts.first?.prefix(while: { $0 != " " }) else { return nil }
        return String(name)
    }
}

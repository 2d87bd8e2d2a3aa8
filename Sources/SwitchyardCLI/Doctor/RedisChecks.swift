import Foundation
import Logging
import RedisClient
import Switchyard

/// Checks a Redis server, or the primaries of a Redis Cluster. It only reads, and does not load the function library.
struct RedisChecks: Sendable {
    let client: RedisClient
    /// The queue on whose keys the rights are checked.
    let queue: String

    private static let deadline: Duration = .seconds(5)
    /// Shorter: several nodes may be away, one after the other.
    private static let nodeDeadline: Duration = .seconds(2)
    /// Seconds. A smaller skew is not visible in ages and times.
    private static let toleratedSkew = 0.5

    /// Runs all checks.
    /// - Returns: the findings, and whether the queues on the server can be read.
    func findings() async throws -> (findings: [Finding], isReadable: Bool) {
        var findings: [Finding]
        var isReadable: Bool
        do {
            if let problem = try await ServerKind.problem(of: client) {
                return ([.fail("redis", problem, "correct its URL (--redis, SWITCHYARD_REDIS)")], false)
            }
            (findings, isReadable) = client.isCluster ? try await ofCluster() : try await ofServer()
        } catch let error as RedisError {
            let advice = "check its URL (--redis, SWITCHYARD_REDIS), and whether it runs"
            return ([.fail("redis", "\(error)", advice)], false)
        }
        if isReadable {
            let logger = Logger(label: "switchyard.doctor")
            do {
                if client.isCluster {
                    findings += try await ClusterReview(client).rights(on: queue, logger: logger)
                } else {
                    findings.append(
                        try await ServerReview.rights(QueueFunctions(queue: queue, client: client, logger: logger)))
                }
            } catch let error as SchedulerError {
                findings.append(Self.unreadable(queue, error))
                isReadable = false
            }
        }
        return (findings, isReadable)
    }

    /// What the servers themselves say may tell why.
    static func unreadable(_ queue: String, _ error: SchedulerError) -> Finding {
        .fail("queue", "\(queue) cannot be read: \(error)", "try again once that has passed")
    }

    private func ofServer() async throws -> (findings: [Finding], isReadable: Bool) {
        let library = await library()
        return (try await ServerReview(client).findings() + clock() + [library.finding], library.isLoaded)
    }

    private func ofCluster() async throws -> (findings: [Finding], isReadable: Bool) {
        let primaries = try await client.primaries()
        let review = ClusterReview(client)
        var findings = [try await review.slots(primaries)]
        var isReadable = true
        for primary in primaries {
            let found = try await Self.ofNode(primary, queue, review)
            isReadable = isReadable && found.isReadable
            for var finding in found.findings {
                finding.subject += " \(primary.configuration.endpoint)"
                findings.append(finding)
            }
        }
        return (findings, isReadable)
    }

    /// A node that does not reply must not hide what the others say.
    private static func ofNode(
        _ primary: RedisClient, _ queue: String, _ review: ClusterReview
    ) async throws -> (findings: [Finding], isReadable: Bool) {
        do {
            _ = try await primary.send(RedisCommand("PING"), deadline: nodeDeadline)
            var found = try await RedisChecks(client: primary, queue: queue).ofServer()
            found.findings += try await review.replicas(of: primary)
            return found
        } catch let error as RedisError {
            let advice = "check whether it runs; redis-cli --cluster check HOST:PORT shows what the other nodes say"
            return ([.fail("redis", "\(error)", advice)], false)
        }
    }

    /// Compares this machine's clock, at the middle of the call, with Redis's, which alone decides about scheduling.
    private func clock() async -> [Finding] {
        let before = Date()
        guard let time = try? await client.send(RedisCommand("TIME"), deadline: Self.deadline).array, time.count == 2,
            let seconds = time[0].string.flatMap(Double.init), let micros = time[1].string.flatMap(Double.init)
        else { return [] }
        let middle = before.timeIntervalSince1970 + Date().timeIntervalSince(before) / 2
        return [Self.clock(skew: middle - (seconds + micros / 1e6))]
    }

    static func clock(skew: Double) -> Finding {
        let size = HumanTime.duration(abs(skew))
        guard abs(skew) >= toleratedSkew else { return .ok("clock", "within \(size) of Redis's") }
        return .warn(
            "clock", "this machine is \(size) \(skew > 0 ? "ahead of" : "behind") Redis",
            "set the clocks (NTP); scheduling uses Redis's clock, but ages and run_at are off by as much")
    }

    private func library() async -> (finding: Finding, isLoaded: Bool) {
        let ours = FunctionLibrary.version
        do {
            let library = FunctionLibrary(client: client, logger: Logger(label: "switchyard.doctor"))
            guard let loaded = try await library.loadedVersion() else {
                // A user who may not list the functions is told the rest.
                if let strangers = try? await library.strangers() {
                    let advice = "look at it with FUNCTION LIST WITHCODE, and ask whose it is"
                    return (.fail("library", strangers.message, advice), false)
                }
                return (
                    .warn("library", "the functions are not loaded", "the first replica or worker loads them"), false
                )
            }
            if loaded == ours { return (.ok("library", "version \(loaded)"), true) }
            return (
                .warn(
                    "library", "version \(loaded), and this program has \(ours)",
                    loaded < ours ? "a replica of this version replaces it" : "update this program"), true
            )
        } catch {
            return (.fail("library", "cannot be called: \(error)", "check that this user may call FCALL"), false)
        }
    }
}

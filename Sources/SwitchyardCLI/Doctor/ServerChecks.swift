import Foundation
import JSON

/// Checks a server and its queue, over HTTP.
struct ServerChecks: Sendable {
    let api: APIClient
    let queue: String

    private struct Health: Decodable {
        struct Reason: Decodable { var message: String }
        var status: String
        var reasons: [Reason]
    }

    private struct Numbers: Decodable {
        var totalWorkers, readyTasks, unroutableTasks, queueFullErrors, repaired, cordonedWorkers: Int?
        var queues: [String: JSONValue]?
    }

    func findings() async throws -> [Finding] {
        let health: Health
        do {
            health = try APIClient.decode(Health.self, try await api.probe(["v2", "health"]))
        } catch let failure as Failure {
            return [
                .fail("server", failure.firstLine, "start one with switchyard serve or dev, or name it with --server")
            ]
        }
        let reasons = health.reasons.map(\.message).joined(separator: "; ")
        let message = "\(api.shown) is \(health.status)" + (reasons.isEmpty ? "" : ": \(reasons)")
        let advice = "the lines below say what to do"
        var findings: [Finding] = []
        switch health.status {
        case "healthy": findings.append(.ok("server", message))
        case "degraded": findings.append(.warn("server", message, advice))
        default: findings.append(.fail("server", message, advice))
        }
        do {
            let stats = try await api.withoutRepetition.send(
                Numbers.self, .GET, ["scheduler", "stats"], query: [("queue", queue)])
            findings += QueueChecks.findings(
                .init(
                    workers: stats.totalWorkers ?? 0, waiting: stats.readyTasks ?? 0,
                    unroutable: stats.unroutableTasks ?? 0, queueFullErrors: stats.queueFullErrors ?? 0,
                    isPaused: stats.queues?[queue]?["paused"] == .bool(true), repaired: stats.repaired ?? 0,
                    cordoned: stats.cordonedWorkers ?? 0),
                queue: queue)
        } catch let failure as Failure {
            findings.append(.fail("queue", failure.firstLine, "the server cannot read it: check its Redis"))
        }
        return findings
    }
}

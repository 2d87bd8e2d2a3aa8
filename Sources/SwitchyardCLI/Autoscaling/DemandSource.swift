import Foundation

/// What the server says about the workers that a queue needs.
struct DemandSource: Sendable {
    let api: APIClient
    let queue: String
    /// Nil: the queue as a whole.
    let workerClass: String?
    /// Of a worker of that class, should there be none yet.
    let slots: Int

    private struct Answer: Decodable {
        var desiredWorkers: Int
    }

    /// - Throws: ``Failure``.
    func desiredWorkers() async throws -> Int {
        try await api.send(
            Answer.self, .GET, ["scheduler", "autoscale"],
            query: [("queue", queue), ("class", workerClass), ("slots", workerClass.map { _ in "\(slots)" })]
        ).desiredWorkers
    }

    /// The process ids of this machine's workers that hold tasks. A hint for whom to drain first: empty when the server
    /// does not say.
    func busyProcesses() async -> Set<Int32> {
        struct Answer: Decodable {
            struct Worker: Decodable {
                var busySlots: Int?
                var host: String?
                var pid: Int?
            }
            var workers: [Worker]
        }
        let answer = try? await api.send(Answer.self, .GET, ["scheduler", "workers"], query: [("queue", queue)])
        let host = ProcessInfo.processInfo.hostName
        return Set(
            (answer?.workers ?? []).filter { $0.host == host && ($0.busySlots ?? 0) > 0 }
                .compactMap { $0.pid.flatMap(Int32.init(exactly:)) })
    }
}

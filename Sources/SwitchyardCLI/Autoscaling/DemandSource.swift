import Foundation

/// Asks the server how many workers a queue needs.
struct DemandSource: Sendable {
    let api: APIClient
    let queue: String
    /// The class of workers; nil: the queue as a whole.
    let workerClass: String?
    /// The slots of a worker of the class, used while none is registered.
    let slots: Int

    private struct Demand: Decodable {
        var desiredWorkers: Int
    }

    /// The number of workers that the current demand could use.
    /// - Throws: ``Failure``, `CancellationError`.
    func desiredWorkers() async throws -> Int {
        try await api.withoutRepetition.send(
            Demand.self, .GET, ["scheduler", "autoscale"],
            query: [("queue", queue), ("class", workerClass), ("slots", workerClass.map { _ in "\(slots)" })]
        ).desiredWorkers
    }

    /// The process ids of this machine's workers that have tasks. It only helps to select the workers to drain: it is
    /// empty if the request fails.
    func busyProcesses() async -> Set<Int32> {
        struct Response: Decodable {
            struct Worker: Decodable {
                var busySlots: Int?
                var host: String?
                var pid: Int?
            }
            var workers: [Worker]
        }
        let response = try? await api.withoutRepetition.send(
            Response.self, .GET, ["scheduler", "workers"], query: [("queue", queue)])
        let host = ProcessInfo.processInfo.hostName
        return Set(
            (response?.workers ?? []).filter { $0.host == host && ($0.busySlots ?? 0) > 0 }
                .compactMap { $0.pid.flatMap(Int32.init(exactly:)) })
    }
}

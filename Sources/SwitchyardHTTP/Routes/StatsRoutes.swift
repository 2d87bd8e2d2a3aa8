import Hummingbird
import Switchyard

// The queues in numbers.

extension API {
    func addStats(to routes: inout Routes) {
        routes.on(.get, "/scheduler/stats") { request, _ in
            let handles = try handles(try Query(request, ["queue"]))
            return .json(StatsJSON.json(try await forEach(handles) { try await $0.getStats() }))
        }
    }

    /// The answers of all the queues, in their order: asked at once, so that the calls share a trip to Redis.
    func forEach<Answer: Sendable>(
        _ handles: [SchedulerHandle], _ ask: @escaping @Sendable (SchedulerHandle) async throws -> Answer
    ) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
            for (index, handle) in handles.enumerated() {
                group.addTask { (index, try await ask(handle)) }
            }
            var answers: [(Int, Answer)] = []
            for try await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}

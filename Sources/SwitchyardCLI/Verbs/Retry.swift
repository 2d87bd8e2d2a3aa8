import ArgumentParser
import Foundation

struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make tasks that failed, timed out or were cancelled pending again.",
        discussion: """
            Their positions follow from their first submission, and they get all their retries again. A task whose \
            dependency did not succeed is refused, unless that dependency is retried too: by the same command, in any \
            order. A task is also refused while another task has its unique key.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The tasks' ids.", valueName: "task-id"))
    var ids: [String]

    func run() async throws {
        let (api, queue) = try await server.connect()
        // A refused task may depend on one that comes later in the command, which is retried in the same round.
        var outcomes: [String: Result<Data, Failure>] = [:]
        var round = ids
        while !round.isEmpty {
            for id in round {
                if case .success = outcomes[id] { continue }
                outcomes[id] = try await retry(id, api, queue)
                if case .failure(let failure) = outcomes[id], failure.status == .unavailable { break }
            }
            let refused = round.filter { id in
                if case .failure(let failure) = outcomes[id] { failure.status == .conflict } else { false }
            }
            round = refused.count < round.count ? refused : []
        }
        try await TaskAction.perform(on: ids, output: output) { id in
            try (outcomes[id] ?? .failure(Failure(.unavailable))).get()
        }
    }

    private func retry(_ id: String, _ api: APIClient, _ queue: String) async throws -> Result<Data, Failure> {
        do {
            return .success(
                try await api.send(.POST, ["scheduler", "task", id, "retry"], query: [("queue", queue)]))
        } catch let failure as Failure {
            return .failure(failure)
        }
    }
}

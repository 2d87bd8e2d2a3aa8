import ArgumentParser

struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make tasks that failed, timed out or were cancelled pending again.",
        discussion: "Their positions follow from their first submission, and they get all their retries again.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The tasks' ids.", valueName: "task-id"))
    var ids: [String]

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await TaskAction.perform(on: ids, output: output) { id in
            try await api.send(.POST, ["scheduler", "task", id, "retry"], query: [("queue", queue)])
        }
    }
}

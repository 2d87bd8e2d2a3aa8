import ArgumentParser

struct Retry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put tasks that failed, timed out or were cancelled back in line.",
        discussion: "They keep their place in line and get all their retries again.")

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

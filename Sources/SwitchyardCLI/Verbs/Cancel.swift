import ArgumentParser
import Foundation

struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Cancel tasks that have not ended, or a whole batch.",
        discussion: "The processes of a running task get SIGTERM, and SIGKILL after a grace period.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The tasks' ids.", valueName: "task-id"))
    var ids: [String] = []

    @Option(help: ArgumentHelp("Cancel every task of this batch that has not ended.", valueName: "batch-id"))
    var batch: String?

    func validate() throws {
        guard ids.isEmpty != (batch == nil) else { throw ValidationError("expected task ids, or --batch ID") }
    }

    func run() async throws {
        let (api, queue) = try await server.connect()
        if let batch {
            let data = try await Patience.retrying {
                try await api.send(.DELETE, ["scheduler", "batch", batch], query: [("queue", queue)])
            }
            if output.isJSON { return try output.writeJSON(data) }
            return try Console.out.line("batch \(batch)  cancelled")
        }
        try await TaskAction.perform(on: ids, output: output) { id in
            try await Self.cancel(id, api, queue)
        }
    }

    /// Cancels a task, again while the server is unreachable. If an earlier try took effect and only its response was
    /// lost, the task is cancelled already.
    private static func cancel(_ id: String, _ api: APIClient, _ queue: String) async throws -> Data {
        let path = ["scheduler", "task", id]
        var tries = 0
        do {
            return try await Patience.retrying {
                tries += 1
                return try await api.send(.DELETE, path, query: [("queue", queue)])
            }
        } catch let failure as Failure where failure.status == .conflict && tries > 1 {
            let data = try await api.send(.GET, path, query: [("queue", queue)])
            guard try APIClient.decode(TaskView.self, data).taskState == .cancelled else { throw failure }
            return data
        }
    }
}

/// Performs the same request for several tasks. A failure is reported and the remaining tasks are still tried; the
/// command exits with the code of the first failure.
enum TaskAction {
    static func perform(on ids: [String], output: OutputOptions, _ body: (String) async throws -> Data) async throws {
        var first: Failure?
        for id in ids {
            do {
                let data = try await body(id)
                if output.isJSON {
                    try output.writeJSON(data)
                } else {
                    let task = try APIClient.decode(TaskView.self, data)
                    let state = task.stateCell.text(colour: Console.out.hasColour)
                    try Console.out.write("\(TerminalText.line(task.taskId))  \(state)\n")
                }
            } catch let failure as Failure {
                // An unreachable server or a broken pipe would fail for the other tasks too.
                if ids.count == 1 || failure.status == .unavailable || failure.status == .brokenPipe { throw failure }
                try Console.error.line("switchyard: \(failure)")
                first = first ?? Failure(failure.status)
            }
        }
        if let first { throw first }
    }
}

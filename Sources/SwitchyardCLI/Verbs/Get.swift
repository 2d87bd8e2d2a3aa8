import ArgumentParser
import Foundation
import JSON

struct Get: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show everything known about a task.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The task's id.", valueName: "task-id"))
    var id: String

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.GET, ["scheduler", "task", id], query: [("queue", queue)])
        if output.isJSON { return try output.writeJSON(data) }
        let task = try APIClient.decode(TaskView.self, data)
        try output.write(TaskTables.details(task, fields: APIClient.decode([String: JSONValue].self, data)))
        if let attempts = task.attempts, attempts.count > 1 {
            try Console.out.line("")
            try output.write(TaskTables.attempts(attempts))
        }
    }
}

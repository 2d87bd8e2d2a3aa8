import ArgumentParser
import JSON
import Switchyard

struct PrioritizeTask: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prioritize", abstract: "Give a pending task another priority.",
        discussion: "Within its new priority level its position follows from the time of its submission.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The task's id.", valueName: "task-id"))
    var id: String

    @Argument(help: "critical, high, normal or low.")
    var priority: TaskPriority

    func run() async throws {
        let (api, queue) = try await server.connect()
        let body: JSONValue = ["priority": .string(priority.rawValue)]
        let data = try await api.send(
            .PATCH, ["scheduler", "task", id], query: [("queue", queue)], body: .json(body.text))
        if output.isJSON { return try output.writeJSON(data) }
        let task = try APIClient.decode(TaskView.self, data)
        let position = task.queuePosition.map { ", position \($0)" } ?? ""
        try Console.out.line("\(task.taskId)  \(task.priority ?? priority.rawValue)\(position)")
    }
}

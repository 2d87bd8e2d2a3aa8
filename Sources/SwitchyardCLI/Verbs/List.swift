import ArgumentParser
import Foundation
import JSON
import Switchyard

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List tasks: running, then pending, then ended, the latest first.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var watching: WatchOptions

    @Option(help: "Only tasks in this state.")
    var state: TaskState?

    @Option(help: "Only tasks of this priority.")
    var priority: TaskPriority?

    @Option(help: "Only tasks of this kind.")
    var kind: String?

    @Option(help: "Only tasks of this repository.")
    var repo: String?

    @Option(help: "Only tasks of this worker.")
    var worker: String?

    @Option(help: "Only tasks of this batch.")
    var batch: String?

    @Option(help: "The most tasks to list.")
    var limit = 50

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit: expected 1 or more, found \(limit)") }
    }

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await watching.run(isJSON: output.isJSON) {
            let (tasks, hasMore) = try await TaskPages.fetch(
                api, queue: queue, limit: limit,
                filter: [
                    ("state", state?.rawValue), ("priority", priority?.rawValue), ("kind", kind), ("repo", repo),
                    ("worker", worker),
                    ("batch_id", batch),
                ])
            if output.isJSON {
                return TerminalText.json(JSONValue.object([.init(name: "tasks", value: .array(tasks))]).text) + "\n"
            }
            if tasks.isEmpty { return watching.watch ? "no tasks\n" : try Self.nothing() }
            let views = try tasks.map { try APIClient.decode(TaskView.self, Data($0.bytes)) }
            let more = hasMore ? "…and more; raise --limit\n" : ""
            return TaskTables.list(views).render(colour: Console.out.hasColour) + more
        }
    }

    /// Writes "no tasks" to stderr. stdout stays empty, so that a script reads no line.
    private static func nothing() throws -> String {
        try Console.error.line("no tasks")
        return ""
    }
}

extension TaskState: ExpressibleByArgument {}
extension TaskPriority: ExpressibleByArgument {}

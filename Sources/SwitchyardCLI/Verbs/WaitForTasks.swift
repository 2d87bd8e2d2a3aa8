import ArgumentParser
import Foundation

struct WaitForTasks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait",
        abstract: "Wait until tasks have ended; exit by how they ended.",
        discussion: """
            Exits 0 if all completed; else 2 if one failed, 3 if one timed out, 4 if one was cancelled, in this order. \
            Changes are told on stderr.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The tasks' ids.", valueName: "task-id"))
    var ids: [String]

    func run() async throws {
        let (api, queue) = try await server.connect()
        let follower = TaskFollower(api: api, queue: queue)
        // One that does not exist is told before anything is waited for.
        for id in ids where ids.count > 1 {
            _ = try await api.send(.GET, ["scheduler", "task", id], query: [("queue", queue)])
        }
        // One after the other takes as long as the longest.
        let ended = try await Interruption.saying("interrupted; the tasks go on") {
            var ended: [TaskFollower.Ended] = []
            for id in ids { ended.append(try await follower.follow(id)) }
            return ended
        }
        if output.isJSON {
            for task in ended { try output.writeJSON(task.json) }
        } else {
            try output.write(TaskTables.list(ended.map(\.task)))
        }
        let status = ExitStatus.worst(ended.map(\.task.exitStatus))
        if status != .ok { throw Failure(status) }
    }
}

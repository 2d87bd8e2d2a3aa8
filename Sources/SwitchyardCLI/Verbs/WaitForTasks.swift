import ArgumentParser
import Foundation

struct WaitForTasks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait",
        abstract: "Wait until tasks have ended; the exit code says how they ended.",
        discussion: """
            Exits with 0 if all completed; else with 2 if one failed, 3 if one timed out, 4 if one was cancelled, in \
            this order. Changes of state are written to stderr.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Argument(help: ArgumentHelp("The tasks' ids.", valueName: "task-id"))
    var ids: [String]

    func run() async throws {
        let (api, queue) = try await server.connect()
        let follower = TaskFollower(api: api, queue: queue)
        // A task that does not exist is reported before the wait begins.
        for id in ids where ids.count > 1 {
            _ = try await api.send(.GET, ["scheduler", "task", id], query: [("queue", queue)])
        }
        // Waiting for one task after the other takes no longer than waiting for the last to end.
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

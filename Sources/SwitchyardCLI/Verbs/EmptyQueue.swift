import ArgumentParser
import Foundation

// Two ways to empty a queue: drain it, or delete its tasks.

struct DrainQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Refuse new tasks; the pending ones still run.",
        discussion: "Submissions are refused until `switchyard queue resume`.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (api, queue) = try await server.connect()
        let data = try await api.send(.POST, ["scheduler", "queue", queue, "drain"])
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("queue \(queue)  draining")
    }
}

struct PurgeQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge", abstract: "Cancel the tasks that have not ended, and delete every task of the queue.",
        discussion: """
            This cannot be undone. The queue must be named twice, by --queue (unless it is the default queue) and by \
            --confirm. New tasks are accepted meanwhile: to prevent that, drain the queue first.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Option(help: ArgumentHelp("The queue's name, again.", valueName: "name"))
    var confirm: String

    func run() async throws {
        let (api, queue) = try await server.connect()
        guard confirm == queue else {
            throw Failure(.usage, "--confirm: the queue is \(queue), found \"\(confirm)\"; nothing was deleted")
        }
        let data = try await api.send(
            .DELETE, ["scheduler", "queue", queue], query: [("confirm", confirm)], waiting: Self.patience)
        if output.isJSON { return try output.writeJSON(data) }
        try Console.out.line("queue \(queue)  purged")
    }

    /// How long the server may take: the purge of a million tasks takes minutes.
    private static let patience: Duration = .seconds(600)
}

import ArgumentParser
import Foundation

// Two ways to an empty queue: let it run dry, or throw away what is in it.

struct DrainQueue: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Take no new tasks; those in line are still run.",
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
        commandName: "purge", abstract: "Cancel what has not ended, and delete every task of the queue.",
        discussion: """
            Nothing brings them back. The queue must be named twice, by --queue (unless it is the default one) and \
            by --confirm. New tasks are still accepted meanwhile: drain or pause the queue first.
            """)

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions

    @Option(help: ArgumentHelp("The queue's name once more.", valueName: "name"))
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

    /// A million tasks take minutes.
    private static let patience: Duration = .seconds(600)
}

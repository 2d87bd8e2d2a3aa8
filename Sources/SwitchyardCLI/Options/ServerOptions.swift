import ArgumentParser
import Foundation

/// The server and the queue, for the subcommands that use the HTTP interface.
struct ServerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The server (SWITCHYARD_SERVER; default http://127.0.0.1:8080).", valueName: "url"))
    var server: String?

    @Option(help: ArgumentHelp("The queue (SWITCHYARD_QUEUE; default default).", valueName: "name"))
    var queue: String?

    /// Returns a client and the queue's name, from flags, the environment and the file of SWITCHYARD_CONFIG.
    func connect() async throws -> (api: APIClient, queue: String) {
        let (api, queue, _) = try await connectNotingDefault()
        return (api, queue)
    }

    /// As ``connect()``. `isDefault` is true if neither flags, environment nor file name the queue.
    func connectNotingDefault() async throws -> (api: APIClient, queue: String, isDefault: Bool) {
        var flags: [String: String] = [:]
        if let server { flags[Setting.server.name] = server }
        if let queue { flags[Setting.queue.name] = queue }
        let settings = try await EffectiveSettings(flags: flags)
        return (
            try APIClient(server: settings.text(.server)), settings.text(.queue),
            settings.values[.queue]?.origin == .byDefault
        )
    }
}

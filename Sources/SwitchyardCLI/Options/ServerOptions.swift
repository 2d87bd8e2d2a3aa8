import ArgumentParser
import Foundation

/// Which queue, and where the server is: for the verbs that talk HTTP.
struct ServerOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The server (SWITCHYARD_SERVER; default http://127.0.0.1:8080).", valueName: "url"))
    var server: String?

    @Option(help: ArgumentHelp("The queue (SWITCHYARD_QUEUE; default default).", valueName: "name"))
    var queue: String?

    /// The client and the queue's name, after flags, environment and SWITCHYARD_CONFIG.
    func connect() async throws -> (api: APIClient, queue: String) {
        let (api, queue, _) = try await connectNotingDefault()
        return (api, queue)
    }

    /// As ``connect()``; `isDefault`: nobody named the queue.
    func connectNotingDefault() async throws -> (api: APIClient, queue: String, isDefault: Bool) {
        var flags: [Setting: Setting.Value] = [:]
        if let server { flags[.server] = .text(server) }
        if let queue { flags[.queue] = .text(queue) }
        let settings = try await EffectiveSettings(flags: flags)
        return (
            try APIClient(server: settings.text(.server)), settings.text(.queue),
            settings.values[.queue]?.origin == .byDefault
        )
    }
}

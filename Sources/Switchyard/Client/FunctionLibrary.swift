import Logging
import RedisClient

/// Loads the function library into Redis if it is missing or older than this one. A newer library is never replaced, so
/// old and new replicas can run side by side during a rollout.
package struct FunctionLibrary: Sendable {
    let client: RedisClient
    let logger: Logger

    /// The library of the server that `client` is connected to, or of all primaries of its Redis Cluster.
    package init(client: RedisClient, logger: Logger) {
        self.client = client
        self.logger = logger
    }

    /// The Lua source of the whole library.
    package static var source: String { FunctionLibrarySource.text }

    /// The line of the source with the longest value, in bytes, that keeps a small hash compact.
    private static let shortValueLine = "local SHORT_VALUE = "

    /// The line of the source with the command that publishes.
    private static let publishLine = "local PUBLISH = "

    /// Returns the source for a server whose `hash-max-listpack-value` is `shortValue`. In a Redis Cluster it publishes
    /// to the subscribers on the node of the channel's slot: PUBLISH would send each message to every node.
    static func source(shortValue: Int, inCluster: Bool) -> String {
        source.split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                if line.hasPrefix(shortValueLine) { return shortValueLine + "\(shortValue)" }
                if line.hasPrefix(publishLine), inCluster { return publishLine + "'SPUBLISH'" }
                return String(line)
            }
            .joined(separator: "\n")
    }

    /// Reads `hash-max-listpack-value`. Returns Redis's default if the login may not read the server's settings.
    private func longestListpackValue() async -> Int {
        let reply = try? await client.send(RedisCommand("CONFIG", "GET", "hash-max-listpack-value"))
        return reply?.array?.last?.string.flatMap(Int.init) ?? 64
    }

    /// The version of the source (`local VERSION = n`).
    package static let version: Int64 = {
        let line = source.split(separator: "\n").first { $0.hasPrefix("local VERSION = ") }
        return line.flatMap { Int64($0.dropFirst("local VERSION = ".count)) } ?? 0
    }()

    /// Loads the library unless the server has this version or a newer one; in a Redis Cluster, into every primary.
    /// - Throws: `RedisError`, also if the login may not load functions; ``SchedulerError`` if the server has somebody
    ///   else's functions of the same names, which are never replaced.
    package func ensureLoaded() async throws {
        for server in try await client.primaries() {
            try await FunctionLibrary(client: server, logger: logger).ensureLoadedHere()
        }
    }

    private func ensureLoadedHere() async throws {
        guard let loaded = try await loadedVersion() else { return try await loadFirst() }
        if loaded > Self.version {
            logger.debug(
                "Redis has a newer function library, which is kept",
                metadata: ["loaded": "\(loaded)", "ours": "\(Self.version)"])
        }
        if try await shouldReplace(loaded) { try await load("REPLACE") }
    }

    /// Loads the library into a server that seems to have none. Without REPLACE, because another replica, perhaps a
    /// newer one, may load its library at this moment.
    private func loadFirst() async throws {
        for _ in 0..<Self.triesToLoad {
            do {
                return try await load()
            } catch let error as RedisError where error.message.contains("already exists") {
                if try await loadedVersion() != nil { return try await ensureLoadedHere() }
                if let strangers = try await strangers() { throw strangers }
            }
            try await Task.sleep(for: Self.pauseBeforeLoading)
        }
        throw SchedulerError.internal(
            message: "the function library is deleted again and again while it is loaded", redisAway: false)
    }

    /// Between two calls another replica may load the library, and somebody may delete it.
    private static let triesToLoad = 50
    private static let pauseBeforeLoading: Duration = .milliseconds(20)

    /// Returns what to say of a server without our library that has somebody else's functions of the same names; nil if
    /// it has none.
    package func strangers() async throws -> SchedulerError? {
        let reply = try await client.send(RedisCommand("FUNCTION", "LIST"))
        for library in reply.array ?? [] {
            let fields = try ReplyFields(library)
            let functions = (fields["functions"]?.array ?? []).compactMap { try? ReplyFields($0).string("name") }
            let name = fields.string("library_name") ?? ""
            guard name == Self.name || functions.contains(where: { $0.hasPrefix(Self.name + "_") }) else { continue }
            // Ours, which another replica has loaded since the version was asked for.
            if name == Self.name, Self.known.isSubset(of: functions) { continue }
            let shown = functions.sorted().prefix(5).map { Name.shown($0) }.joined(separator: ", ")
            return .internal(
                message: """
                    Redis has a function library \(Name.shown(name)) with functions of its own (\(functions.count): \
                    \(shown)), and no switchyard_version that returns a number: it is not Switchyard's, and is not \
                    replaced. If nobody needs it, delete it: FUNCTION DELETE \(name); otherwise use another Redis \
                    server, because all databases of a server share the functions
                    """,
                redisAway: false)
        }
        return nil
    }

    private static let name = "switchyard"
    /// Functions that each version of our library has.
    private static let known: Set = ["switchyard_version", "switchyard_submit", "switchyard_pull"]

    private func load(_ options: RedisArgument...) async throws {
        let text = Self.source(shortValue: await longestListpackValue(), inCluster: client.isCluster)
        _ = try await client.send(RedisCommand("FUNCTION", ["LOAD"] + options + [.string(text)]))
        logger.debug("loaded the function library", metadata: ["version": "\(Self.version)"])
    }

    /// Returns the version of the loaded library, or nil if there is none.
    /// - Throws: `RedisError`; `invalidInput` if the server has no functions.
    package func loadedVersion() async throws -> Int64? {
        do {
            return try await client.send(RedisCommand("FCALL", "switchyard_version", 0)).int
        } catch let error as RedisError where Self.isMissing(error) {
            return nil
        } catch let error as RedisError where SchedulerError(error).isInvalidInput {
            throw SchedulerError(error)
        }
    }

    /// Whether to replace a library of version `loaded`: if it is older, or has the same version and another text (a
    /// developer's next build).
    private func shouldReplace(_ loaded: Int64) async throws -> Bool {
        if loaded != Self.version { return loaded < Self.version }
        let reply = try await client.send(
            RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", "switchyard", "WITHCODE"))
        let fields = reply.array?.first?.array ?? []
        guard let index = fields.firstIndex(where: { $0.string == "library_code" }), index + 1 < fields.count else {
            return true
        }
        // The line with the short value is not compared. A replica whose login may not read the server's settings has
        // another number in it, and replicas would replace each other's library for ever.
        let ours = Self.withoutShortValueLine(Self.source(shortValue: 0, inCluster: client.isCluster))
        return fields[index + 1].string.map { Self.withoutShortValueLine($0) != ours } ?? true
    }

    private static func withoutShortValueLine(_ text: String) -> [Substring] {
        text.split(separator: "\n").filter { !$0.hasPrefix(shortValueLine) }
    }

    /// Whether the error says that the library is missing (after `FUNCTION FLUSH`, or on an empty primary).
    static func isMissing(_ error: RedisError) -> Bool {
        error.kind == .server && error.message.contains("Function not found")
    }
}

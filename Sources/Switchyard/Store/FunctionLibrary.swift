import Logging
import RedisClient

/// The function library in Redis: loaded where it is missing or older, restored when it has gone, and never put over
/// a newer one, so that old and new replicas can run side by side during a rollout.
public struct FunctionLibrary: Sendable {
    let client: RedisClient
    let logger: Logger

    public init(client: RedisClient, logger: Logger) {
        self.client = client
        self.logger = logger
    }

    /// The whole library as Lua source, as it is loaded.
    public static var source: String { FunctionLibrarySource.text }

    /// The line of the source that says which values are short enough for a small hash, in bytes.
    private static let shortValueLine = "local SHORT_VALUE = "

    /// The source as it is loaded into a server whose `hash-max-listpack-value` is `shortValue`.
    static func source(shortValue: Int) -> String {
        source.split(separator: "\n", omittingEmptySubsequences: false)
            .map { $0.hasPrefix(shortValueLine) ? shortValueLine + "\(shortValue)" : String($0) }
            .joined(separator: "\n")
    }

    /// Redis's default where the server does not say.
    private func longestListpackValue() async -> Int {
        let reply = try? await client.send(RedisCommand("CONFIG", "GET", "hash-max-listpack-value"))
        return reply?.array?.last?.string.flatMap(Int.init) ?? 64
    }

    /// The version in the source (`local VERSION = n`).
    public static let version: Int64 = {
        let line = source.split(separator: "\n").first { $0.hasPrefix("local VERSION = ") }
        return line.flatMap { Int64($0.dropFirst("local VERSION = ".count)) } ?? 0
    }()

    /// Loads the library unless the server has this version or a newer one.
    /// - Throws: `RedisError`, also when the login may not load functions.
    public func ensureLoaded() async throws {
        guard let loaded = try await loadedVersion() else {
            do {
                // Without REPLACE: another replica, perhaps a newer one, may load its own at this moment.
                return try await load()
            } catch let error as RedisError where error.message.contains("already exists") {
                return try await ensureLoaded()
            }
        }
        if loaded > Self.version {
            logger.debug(
                "Redis has a newer function library, which is left alone",
                metadata: ["loaded": "\(loaded)", "ours": "\(Self.version)"])
        }
        if try await shouldReplace(loaded) { try await load("REPLACE") }
    }

    private func load(_ options: RedisArgument...) async throws {
        let text = Self.source(shortValue: await longestListpackValue())
        _ = try await client.send(RedisCommand("FUNCTION", ["LOAD"] + options + [.string(text)]))
        logger.debug("loaded the function library", metadata: ["version": "\(Self.version)"])
    }

    /// Nil when the library is not there.
    public func loadedVersion() async throws -> Int64? {
        do {
            return try await client.send(RedisCommand("FCALL", "switchyard_version", 0)).int
        } catch let error as RedisError where Self.isMissing(error) {
            return nil
        }
    }

    /// An older version is replaced; so is the same version with another text, which is a developer's next build.
    private func shouldReplace(_ loaded: Int64) async throws -> Bool {
        if loaded != Self.version { return loaded < Self.version }
        let reply = try await client.send(
            RedisCommand("FUNCTION", "LIST", "LIBRARYNAME", "switchyard", "WITHCODE"))
        let fields = reply.array?.first?.array ?? []
        guard let index = fields.firstIndex(where: { $0.string == "library_code" }), index + 1 < fields.count else {
            return true
        }
        // Who may not ask for the server's settings would load another number: no reason to replace each other's.
        let ours = Self.withoutShortValueLine(Self.source)
        return fields[index + 1].string.map { Self.withoutShortValueLine($0) != ours } ?? true
    }

    private static func withoutShortValueLine(_ text: String) -> [Substring] {
        text.split(separator: "\n").filter { !$0.hasPrefix(shortValueLine) }
    }

    /// Whether the reply says that the library is gone (a `FUNCTION FLUSH`, an empty primary).
    static func isMissing(_ error: RedisError) -> Bool {
        error.kind == .server && error.message.contains("Function not found")
    }
}

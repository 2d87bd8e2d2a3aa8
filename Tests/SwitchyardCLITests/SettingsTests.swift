import Foundation
import Switchyard
import Testing

@testable import SwitchyardCLI

extension Setting {
    /// A setting of the table; a test that names another fails.
    static func named(_ name: String) -> Setting { ofReplicas.first { $0.name == name } ?? .redis }

    fileprivate static let maxQueueLength = named("max_queue_length")
    fileprivate static let defaultMaxRetries = named("default_max_retries")
    fileprivate static let lease = named("lease")
    fileprivate static let heartbeat = named("heartbeat")
}

@Suite struct SettingsTests {
    /// Runs `body` with a JSON file, which is then removed.
    private func withFile<Value>(_ text: String, _ body: (String) async throws -> Value) async throws -> Value {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("switchyard-\(UUID().uuidString).json")
        try Data(text.utf8).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        return try await body(path.path)
    }

    private func failure(
        flags: [String: String] = [:], file: String? = nil, environment: [String: String] = [:]
    ) async -> Failure? {
        do {
            _ = try await EffectiveSettings(flags: flags, file: file, environment: environment)
            return nil
        } catch {
            return error as? Failure
        }
    }

    @Test func flagsComeBeforeTheEnvironmentBeforeTheFileBeforeTheDefaults() async throws {
        try await withFile(
            #"{"max_queue_length":3,"lease":30,"default_max_retries":7,"listen":"127.0.0.1:1"}"#
        ) { path in
            let settings = try await EffectiveSettings(
                flags: ["max_queue_length": "1"], file: path,
                environment: ["SWITCHYARD_MAX_QUEUE_LENGTH": "2", "SWITCHYARD_LEASE": "20.5", "SWITCHYARD_DATA": ""])
            #expect(settings.count(.maxQueueLength) == 1)
            #expect(settings.values[.maxQueueLength]?.origin == .flag("--max-queue-length"))
            #expect(settings.values[.lease]?.value == .duration(20_500))
            #expect(settings.values[.lease]?.origin == .environment("SWITCHYARD_LEASE"))
            #expect(settings.count(.defaultMaxRetries) == 7)
            #expect(settings.values[.defaultMaxRetries]?.origin == .file(path))
            #expect(settings.text(.data) == "./.switchyard")
            #expect(settings.values[.data]?.origin == .byDefault)
            #expect(settings.schedulerConfig.lease == .milliseconds(20_500))
        }
    }

    @Test func theFileMayBeNamedByTheEnvironment() async throws {
        try await withFile(#"{"queue":"builds"}"#) { path in
            let settings = try await EffectiveSettings(flags: [:], environment: ["SWITCHYARD_CONFIG": path])
            #expect(settings.text(.queue) == "builds")
        }
    }

    @Test func withoutAnythingTheDefaultsOfTheSchedulerHold() async throws {
        let settings = try await EffectiveSettings(flags: [:], environment: [:])
        #expect(settings.schedulerConfig == SchedulerConfig())
        #expect(settings.optionalText(.redis) == nil)
    }

    @Test func everySettingThatDiffersReachesTheScheduler() async throws {
        var environment: [String: String] = [:]
        for setting in Setting.all where setting.range != nil {
            environment[setting.variable] = setting == .heartbeat ? "3" : "50"
        }
        let config = try await EffectiveSettings(flags: [:], environment: environment).schedulerConfig
        #expect(config.maxQueueLength == 50)
        #expect(config.defaultTaskTimeout == .seconds(50))
        #expect(config.defaultMaxRetries == 50)
        #expect(config.schedulerInterval == .seconds(50))
        #expect(config.cleanupInterval == .seconds(50))
        #expect(config.completedTaskRetention == .seconds(50))
        #expect(config.lease == .seconds(50))
        #expect(config.heartbeat == .seconds(3))
        #expect(config.assignTimeout == .seconds(50))
        #expect(config.maxDeliveries == 50)
        #expect(config.retryDelay == .seconds(50))
        #expect(config.retryDelayMax == .seconds(50))
        #expect(config.retryJitterPercent == 50)
        #expect(config.logMaxEntries == 50)
        #expect(config.maxFinished == 50)
        #expect(config.reserveAfter == .seconds(50))
    }

    @Test(arguments: [
        ["SWITCHYARD_MAX_QUEUE_LENGTH": "many"], ["SWITCHYARD_MAX_QUEUE_LENGTH": "0"],
        ["SWITCHYARD_LEASE": "nan"], ["SWITCHYARD_LEASE": "5", "SWITCHYARD_HEARTBEAT": "4"],
        ["SWITCHYARD_LOG_LEVEL": "loud"], ["SWITCHYARD_LOG_FORMAT": "xml"], ["SWITCHYARD_QUEUE": "a b"],
        ["SWITCHYARD_INSECURE_PUBLIC": "maybe"], ["SWITCHYARD_CONFIG": "/nonexistent.json"],
    ])
    func aBadValueIsRefusedByName(environment: [String: String]) async {
        let failure = await failure(environment: environment)
        #expect(failure?.status == .usage)
        let names = environment.keys.map { $0.dropFirst("SWITCHYARD_".count).lowercased() }
        #expect(
            names.contains { failure?.message?.contains($0) == true }
                || failure?.message?.contains("/nonexistent.json") == true)
    }

    @Test(arguments: [#"{"max_queue_lenght":1}"#, #"{"lease":"soon"}"#, "[1]", "{", ""])
    func aBadFileIsRefused(text: String) async throws {
        try await withFile(text) { path in
            #expect(await failure(file: path)?.status == .usage)
        }
    }

    @Test(arguments: [
        ("127.0.0.1:8080", "127.0.0.1", 8080), ("localhost:0", "localhost", 0), ("[::1]:9", "::1", 9),
        (":8080", "127.0.0.1", 8080), ("127.9.9.9:1", "127.9.9.9", 1),
    ])
    func loopbackAddressesAreListenedOn(text: String, host: String, port: Int) throws {
        let address = try ListenAddress(text, allowPublic: false)
        #expect(address.host == host)
        #expect(address.port == port)
    }

    @Test(arguments: ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:80", "example.org:80", "127.0.0.1.evil.org:80"])
    func anAddressThatOthersReachIsRefusedUnlessAccepted(text: String) throws {
        let failure = #expect(throws: Failure.self) { try ListenAddress(text, allowPublic: false) }
        #expect(failure?.status == .usage)
        #expect(failure?.message?.contains("--insecure-public") == true)
        _ = try ListenAddress(text, allowPublic: true)
    }

    @Test(arguments: ["8080", "localhost", "::1:8080", "h:99999", "h:x", ""])
    func whatIsNoAddressIsRefused(text: String) {
        #expect(throws: Failure.self) { try ListenAddress(text, allowPublic: true) }
    }

    @Test(arguments: ["", "localhost:8080", "ftp://h", "http://", "redis://h:1"])
    func aServerMustBeAnHTTPURL(text: String) {
        #expect(throws: Failure.self) { try APIClient(server: text) }
    }

    @Test func redisInstancesAreSplitWhereASchemeBegins() async throws {
        let text = "redis://a,unix:///run/r.sock?name=x,redis-sentinel://h1,h2:26379/name,rediss://b"
        #expect(
            EffectiveSettings.urls(in: text) == [
                "redis://a", "unix:///run/r.sock?name=x", "redis-sentinel://h1,h2:26379/name", "rediss://b",
            ])
        let settings = try await EffectiveSettings(
            flags: [:], environment: ["SWITCHYARD_REDIS": "redis://a,redis://b", "SWITCHYARD_PARTITIONS": "4"])
        #expect(try settings.redisInstances().map(\.description) == ["redis://a:6379", "redis://b:6379"])
        #expect(settings.count(.partitions) == 4)
        #expect(throws: Failure.self) { try settings.redis() }
        let twice = try await EffectiveSettings(flags: ["redis": "redis://a,redis://a"], environment: [:])
        #expect(throws: Failure.self) { try twice.redisInstances() }
        #expect(await failure(environment: ["SWITCHYARD_PARTITIONS": "65"])?.message?.contains("partitions") == true)
    }
}

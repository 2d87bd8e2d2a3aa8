import Foundation
import Testing

@testable import SwitchyardCLI

/// The settings redis_password and redis_password_file.
@Suite struct RedisPasswordTests {
    /// Runs `body` with the path of a file with this text.
    private func withFile<Value>(_ text: String, _ body: (String) async throws -> Value) async throws -> Value {
        let path = FileManager.default.temporaryDirectory.appending(path: "sw-\(UUID().uuidString.prefix(8))").path
        try Data(text.utf8).write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }

    private func passwords(_ environment: [String: String], file: String? = nil) async throws -> [String?] {
        try await EffectiveSettings(flags: [:], file: file, environment: environment).redisInstances().map(\.password)
    }

    private func failure(_ environment: [String: String], file: String? = nil) async -> String {
        do {
            return "accepted: \(try await passwords(environment, file: file))"
        } catch {
            return (error as? Failure).map { "\($0.status.rawValue) \($0.description)" } ?? "\(error)"
        }
    }

    @Test(arguments: [
        "redis://h", "redis://h:1/2", "rediss://h?timeout=3", "unix:///s", "redis://user@h", "unix:///s?user=u",
    ])
    func itIsForURLsWithoutAPassword(url: String) async throws {
        for password in ["a", "s/e?c@r:e%t", "ü ", "%41"] {
            let environment = ["SWITCHYARD_REDIS": url, "SWITCHYARD_REDIS_PASSWORD": password]
            #expect(try await passwords(environment) == [password])
        }
    }

    @Test func aPasswordInAURLComesFirst() async throws {
        let environment = [
            "SWITCHYARD_REDIS": "redis://:own@a,redis://b,unix:///s?password=p", "SWITCHYARD_REDIS_PASSWORD": "common",
        ]
        #expect(try await passwords(environment) == ["own", "common", "p"])
    }

    @Test(arguments: [("a", "a"), ("a\n", "a"), ("a b\r\n", "a b"), ("a\nb\n", "a"), (" %41/\n\n", " %41/")])
    func theFirstLineOfTheFileIsThePassword(text: String, password: String) async throws {
        try await withFile(text) { path in
            let environment = ["SWITCHYARD_REDIS": "redis://u@h", "SWITCHYARD_REDIS_PASSWORD_FILE": path]
            let found = try await passwords(environment)
            #expect(found == [password])
        }
    }

    @Test func aBadFileIsRefusedByName() async throws {
        let url = ["SWITCHYARD_REDIS": "redis://h"]
        let missing = await failure(url.merging(["SWITCHYARD_REDIS_PASSWORD_FILE": "/no/such"]) { $1 })
        #expect(missing.hasPrefix("64 redis_password_file (environment SWITCHYARD_REDIS_PASSWORD_FILE)"), "\(missing)")
        #expect(missing.contains("/no/such"))
        for text in ["", "\n", "\nlate"] {
            try await withFile(text) { path in
                let empty = await failure(url.merging(["SWITCHYARD_REDIS_PASSWORD_FILE": path]) { $1 })
                #expect(empty.contains("expected a password in the first line of \(path)"), "\(empty)")
            }
        }
    }

    @Test func bothInOnePlaceAreRefusedAndOtherwiseTheEnvironmentComesFirst() async throws {
        try await withFile("of the file") { path in
            let url = ["SWITCHYARD_REDIS": "redis://h"]
            let both = url.merging(["SWITCHYARD_REDIS_PASSWORD": "v", "SWITCHYARD_REDIS_PASSWORD_FILE": path]) { $1 }
            #expect(await failure(both).contains("found both"))
            try await withFile(#"{"redis_password": "of the settings"}"#) { settings in
                let first = url.merging(["SWITCHYARD_REDIS_PASSWORD_FILE": path]) { $1 }
                let found = [try await passwords(first, file: settings), try await passwords(url, file: settings)]
                #expect(found == [["of the file"], ["of the settings"]])
            }
            try await withFile("{\"redis_password_file\": \"\(path)\"}") { settings in
                let first = url.merging(["SWITCHYARD_REDIS_PASSWORD": "v"]) { $1 }
                let found = [try await passwords(url, file: settings), try await passwords(first, file: settings)]
                #expect(found == [["of the file"], ["v"]])
            }
        }
    }

    /// Otherwise a forgotten SWITCHYARD_REDIS would start a private redis-server, and nobody would notice.
    @Test func aPasswordWithoutARedisIsRefused() async throws {
        for verb in ["serve", "dev"] {
            let output = try await Tool.run(
                [verb, "--listen", "127.0.0.1:0"], environment: ["SWITCHYARD_REDIS_PASSWORD": "s3cr3t"])
            #expect(output.exitCode == 64)
            #expect(output.stderr.contains("set SWITCHYARD_REDIS too") && !output.stderr.contains("s3cr3t"))
        }
    }
}

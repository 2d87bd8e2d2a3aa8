import ChildProcess
import Foundation
import JSON
import RedisClient
import SwitchyardTesting
import Testing

@testable import SwitchyardCLI

/// Redis servers of which a managed service, a careful operator or an ACL has taken CLIENT and CONFIG away.
@Suite("A Redis without CLIENT and CONFIG", .serialized)
struct RestrictedRedisTests {
    enum Restriction: String, CaseIterable, CustomTestStringConvertible {
        case disabled, renamed, forbidden
        var testDescription: String { rawValue }

        /// Arguments of redis-server.
        var arguments: [String] {
            switch self {
            case .disabled: ["--rename-command", "CLIENT", "", "--rename-command", "CONFIG", ""]
            case .renamed: ["--rename-command", "CLIENT", "c-1", "--rename-command", "CONFIG", "c-2"]
            case .forbidden: []
            }
        }
    }

    private func url(_ redis: TestRedis, _ restriction: Restriction) async throws -> String {
        guard restriction == .forbidden else { return redis.url }
        let rules = "on >secret ~switchyard:* &switchyard:* +@all -client -config -acl"
        let words = rules.split(separator: " ").map { RedisArgument.string(String($0)) }
        _ = try await redis.client.send(RedisCommand("ACL", ["SETUSER", "limited"] + words))
        return redis.url + "?user=limited&password=secret"
    }

    /// Somebody else's library of our name.
    @Test func aForeignLibraryIsShownByTheDoctor() async throws {
        try await TestRedis.run { redis in
            _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
            let foreign = "#!lua name=switchyard\nredis.register_function('relay_set', function() return 1 end)"
            _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", .string(foreign)))
            let doctor = try await Tool.run(["doctor", "--redis", redis.url])
            #expect(doctor.exitCode == 1)
            #expect(doctor.stdout.contains("fail  library") && doctor.stdout.contains("relay_set"), "\(doctor.stdout)")
        }
    }

    @Test(arguments: Restriction.allCases)
    func everythingWorks(restriction: Restriction) async throws {
        try await TestRedis.run(arguments: restriction.arguments) { redis in
            let url = try await url(redis, restriction)
            _ = try await redis.client.send(RedisCommand("FUNCTION", "FLUSH"))
            let replica = try await Tool.start(["serve", "--redis", url, "--listen", "127.0.0.1:0"])
            let server = try await Tool.eventually("serve prints its URL: \(replica.stderr)") {
                (replica.stdout + replica.stderr).firstMatch(of: #/(127\.0\.0\.1:\d+)/#).map { "http://\($0.1)" }
            }
            let worker = try await Tool.start(["worker", "--redis", url, "--id", "w1"])
            let task = try await Tool.run(["submit", "--wait", "--", "true"], server: server)
            #expect(task.exitCode == 0, "\(task.stderr)\(worker.stderr)\(replica.stderr)")

            let doctor = try await Tool.run(["doctor", "--redis", url, "--server", server, "-o", "json"])
            let findings = try #require(try doctor.json()["findings"]?.array)
            let config = try #require(findings.first { $0["subject"]?.plainText == "config" })
            #expect(config["level"]?.plainText == "warn")
            #expect(config["message"]?.plainText.contains("cannot be read") == true)
            #expect(!findings.contains { $0["level"]?.plainText == "fail" }, "\(doctor.stdout)")
            #expect(doctor.exitCode == 0)
            let health = try await Tool.run(["doctor"], server: server)
            #expect(health.stdout.contains("ok    server"), "\(health.stdout)")

            // What is optional is not worth a line in the log.
            let lines = (replica.stderr + replica.stdout + worker.stderr).split(separator: "\n")
            #expect(!lines.contains { $0.contains("CONFIG GET") || $0.contains("CLIENT") }, "\(lines)")
            for process in [worker, replica] {
                process.process.signalGroup(SIGTERM)
                #expect(try await process.end().exitCode == 0)
            }
        }
    }
}

import Foundation
import JSON
import RedisClient
import Testing

@testable import SwitchyardCLI

/// Tasks with odd numbers and texts, which must not harm who looks at the queue.
@Suite(.serialized) struct OddTaskTests {
    private static let big = "12345678901234567890123"

    private func client(_ dev: DevServer) throws -> RedisClient {
        let socket = try #require(dev.running.stdout.firstMatch(of: #/-s (\S+redis\.sock)/#)?.1)
        return RedisClient(try RedisConfiguration(url: "unix://\(socket)"))
    }

    @Test func numbersKeepTheirDigitsAndInfiniteOnesAreRefused() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        for number in ["1e999", "-1e309", "1" + String(repeating: "0", count: 309), "[[1e400]]", #"{"a":1E+9999}"#] {
            let refused = try await dev.run(["submit", "--payload", number])
            #expect(refused.exitCode == 64, "\(number): \(refused.stderr)")
            let file = try await dev.run(["submit", "--file", "-"], input: "{\"payload\":\(number)}\n")
            #expect(file.exitCode == 64, "\(number): \(file.stderr)")
        }
        let payload = #"{"n":\#(Self.big),"z":1.10,"a":-0,"e":1e308,"tiny":1e-999}"#
        let id = try await dev.run(["submit", "--payload", payload]).line
        #expect(try await dev.run(["get", id, "-o", "json"]).stdout.contains(payload))
        #expect(try await dev.run(["get", id]).stdout.contains(Self.big))
        #expect(try await dev.run(["list", "-o", "json"]).stdout.contains(payload))
        #expect(try await dev.stop().exitCode == 0)
    }

    private static let reports = [
        #"{"a":1e999}"#, big, "[", "\u{1B}[2J\r\nforged", #""\ud800""#,
        String(repeating: "[", count: 128) + String(repeating: "]", count: 128),
    ]

    /// A worker that speaks to Redis itself may report any text.
    @Test func aReportOfAnyTextIsShown() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let redis = try client(dev)
        func call(_ name: String, _ arguments: [RedisArgument]) async throws -> RESPValue {
            try await redis.send(
                RedisCommand(
                    "FCALL",
                    [
                        .string("switchyard_\(name)"), "2", "switchyard:{default}:", "switchyard:{default}:config",
                        "worker", "w",
                    ]
                        + arguments))
        }
        var ids: [String] = []
        for _ in Self.reports { ids.append(try await dev.run(["submit", "--", "true"]).line) }
        _ = try await call("register", ["slots", "10"])
        let pulled = try await call("pull", ["max", "10", "start", "1"])
        #expect(pulled.array?.count == ids.count, "\(pulled)")
        for (id, report) in zip(ids, Self.reports) {
            let beat = try await call("heartbeat", ["task", .string(id), "attempt", "1", "progress", .string(report)])
            #expect(beat.array != nil, "\(beat)")
            try await expectShown(dev, [["get", id]])
        }
        try await expectShown(dev, [["list"], ["list", "-o", "json"], ["stats"]])
        for (id, report) in zip(ids, Self.reports) {
            let end = try await call(
                "finish", ["task", .string(id), "attempt", "1", "outcome", "completed", "result", .string(report)])
            #expect(end.array != nil, "\(end)")
            try await expectShown(dev, [["get", id], ["wait", id]])
            let shown = try await dev.run(["get", id, "-o", "json"]).stdout
            let result = try JSONReader.read(Array(shown.utf8), maxDepth: 200)["result"]
            #expect(result?.plainText == report, "\(shown)")
        }
        try await expectShown(dev, [["list"], ["list", "-o", "json"]])
        await redis.shutdown()
        #expect(try await dev.stop().exitCode == 0)
    }

    private func expectShown(_ dev: DevServer, _ commands: [[String]]) async throws {
        for arguments in commands {
            let shown = try await dev.run(arguments)
            #expect(shown.exitCode == 0, "\(arguments): \(shown.stderr)")
            #expect(!shown.stdout.contains("\u{1B}"), "\(arguments)")
            #expect(!shown.stdout.split(separator: "\n").contains { $0.hasPrefix("forged") }, "\(shown.stdout)")
        }
    }

    @Test func aTargetIsOneCellOfOneRow() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let forged = "//a\r\nforged  running\u{2028}\u{202E}\u{9B}2J\u{85}x"
        let id = try await dev.run(["submit", "--repo", "r", "--target", forged]).line
        for arguments in [["list"], ["get", id], ["explain", id]] {
            let shown = try await dev.run(arguments).stdout
            let rows = shown.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            #expect(!rows.contains { $0.hasPrefix("forged") || $0.isEmpty }, "\(shown)")
            let unsafe = shown.unicodeScalars.filter { TerminalText.isUnsafe($0) && $0 != "\n" }
            #expect(unsafe.isEmpty, "\(arguments): \(unsafe)")
        }
        #expect(try await dev.run(["list"]).stdout.split(separator: "\n").count == 2)
        #expect(try await dev.run(["get", id, "-o", "json"]).json()["target"]?.string == forged)
        #expect(try await dev.stop().exitCode == 0)
    }
}

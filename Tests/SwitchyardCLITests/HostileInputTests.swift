import ArgumentParser
import Foundation
import JSON
import RedisClient
import Switchyard
import Testing

@testable import SwitchyardCLI

/// No argument, variable, file or URL ends the command by a signal. A trap in a parser ends this test process.
@Suite(.serialized) struct HostileInputTests {
    static let values = [
        "99999999999999999999", "-99999999999999999999", "9223372036854775807", "-9223372036854775808", "-1", "0",
        "nan",
        "inf", "-inf", "1e308", "1e-308", "0x7fffffffffffffff", "", " ", "٣", "١٢٣", "½", "1\u{301}", "99999999999d",
        "9223372036854775807ms", "1e999s", "36500d", "0.0001", ".", "1.", "-0", "99999999999999999999G", "a\u{0}b",
        "\r\n", "\u{202E}7", String(repeating: "9", count: 5000), "=", "k=", "=v", "k=99999999999999999999", "k=nan",
    ]

    /// A verb, and the arguments that it needs.
    struct Verb: Sendable {
        var path: [String]
        var flags: [String]
        var needed: [String] { Self.needs[path.joined(separator: " ")] ?? [] }

        static let needs: [String: [String]] = [
            "submit": ["--", "true"], "get": ["t"], "wait": ["t"], "logs": ["t"], "cancel": ["t"], "retry": ["t"],
            "explain": ["t"], "workers drain": ["w"], "workers cordon": ["w"], "workers uncordon": ["w"],
            "queue prioritize": ["t", "high"], "queue purge": ["--confirm", "default"], "schedule remove": ["s"],
            "schedule put": ["s", "--cron", "* * * * *", "--", "true"], "autoscale": ["--max", "1", "--", "true"],
        ]

        func arguments(_ flag: String, _ value: String) -> [String] {
            let dashes = needed.firstIndex(of: "--") ?? needed.endIndex
            return path + needed[..<dashes] + [flag, value] + needed[dashes...]
        }
    }

    /// Every verb with its options, as `--help` has them.
    static func verbs() async throws -> [Verb] {
        func verbs(_ command: JSONValue, _ path: [String]) -> [Verb] {
            let flags = (command["arguments"]?.array ?? []).filter { $0["kind"]?.string == "option" }.compactMap {
                $0["names"]?.array?.first { $0["kind"]?.string == "long" }?["name"]?.string.map { "--\($0)" }
            }
            let below = (command["subcommands"]?.array ?? []).filter { $0["commandName"]?.string != "help" }
            return [Verb(path: path, flags: flags)]
                + below.flatMap { verbs($0, path + [$0["commandName"]?.string ?? ""]) }
        }
        let dump = try await Tool.run(["--experimental-dump-help"])
        let command = try #require(try JSONReader.read(Array(dump.stdout.utf8))["command"])
        return verbs(command, []).filter { !$0.flags.isEmpty }
    }

    /// Verbs that serve, measure or watch until they are stopped. Their options are parsed only.
    private static let long: Set<String> = ["serve", "dev", "worker", "autoscale", "bench", "top"]

    /// A value is parsed for each option of each verb: one at random, or with `SWITCHYARD_TEST_INPUTS` above 10,000
    /// each of them, which takes minutes. The numbers that a verb accepts are also run, against a server that is there.
    @Test func noOptionEndsTheCommandByASignal() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0", "--max-queue-length", "1000000"])
        let isLong = (ProcessInfo.processInfo.environment["SWITCHYARD_TEST_INPUTS"].flatMap(Int.init) ?? 0) > 10_000
        var accepted: [[String]] = []
        var seen: [String: Int] = [:]
        for verb in try await Self.verbs() {
            for flag in verb.flags {
                let count = seen[flag, default: 0]
                seen[flag] = count + 1
                // Several verbs may have an option; they declare it once.
                guard isLong || count < 1 else { continue }
                let chosen = [Self.values.randomElement() ?? "", Self.numbers.randomElement() ?? ""]
                for value in isLong ? Self.values : Self.isNumeric(flag) ? chosen : [chosen[0]] {
                    // A refusal is as good as a value: only a trap is not.
                    guard (try? SwitchyardCommand.parseAsRoot(verb.arguments(flag, value))) != nil,
                        !Self.long.contains(verb.path[0]), Self.isNumeric(flag), !value.utf8.contains(0)
                    else { continue }
                    accepted.append(verb.arguments(flag, value))
                }
            }
        }
        #expect(seen.count > 80, "the options were found: \(seen.count)")
        // What is accepted although it is large.
        accepted += [
            ["list", "--limit", "9223372036854775807"], ["logs", "t", "--attempt", "-9223372036854775808"],
            ["submit", "--max-retries", "9223372036854775807", "--", "true"],
            ["submit", "--delay", "36500d", "--", "true"], ["submit", "--timeout", "36500d", "--", "true"],
            ["submit", "--cpu", "1e308", "--", "true"], ["submit", "--memory-mb", "9223372036854775807", "--", "true"],
            ["schedule", "put", "s", "--cron", "0 0 30 2 *", "--", "true"], ["worker", "--slots", "0"],
            ["worker", "--grace", "36500d"], ["autoscale", "--max", "1", "--interval", "0", "--", "true"],
        ]
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (index, arguments) in accepted.enumerated() {
                if index >= 4 { try await group.next() }
                group.addTask {
                    let end = try await Tool.run(arguments, server: dev.url)
                    #expect(end.exitCode != nil, "\(arguments): \(end.stderr)")
                }
            }
            try await group.waitForAll()
        }
        #expect(try await dev.stop().exitCode == 0)
    }

    private static let numbers = ["9223372036854775807", "-9223372036854775808", "0", "36500d", "1e308", "nan", "-1"]

    /// Texts reach the server as they are; its tests try them.
    private static func isNumeric(_ flag: String) -> Bool {
        [
            "--interval", "--limit", "--attempt", "--timeout", "--max-retries", "--delay", "--cpu", "--memory",
            "--memory-mb", "--fairness-weight", "--concurrency-limit", "--rate-per-second", "--rate-burst",
            "--resource", "--unique-for", "--run-at", "--port", "--partitions", "--slots", "--grace", "--linger",
        ].contains(flag)
    }

    @Test func noSettingTrapsWhereverItComesFrom() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("hostile-\(UUID().uuidString).json")
        defer { try? FileManager.default.removeItem(at: file) }
        for setting in Setting.all {
            for value in Self.values {
                // A refusal is as good as a value: only a trap is not.
                _ = try? await EffectiveSettings(flags: [setting.name: value], environment: [:])
                _ = try? await EffectiveSettings(flags: [:], environment: [setting.variable: value])
            }
            let texts = Self.values.shuffled().prefix(5).map { JSONValue.string($0).text }
            for value in texts + ["1e999", "-1", "1e300", "99999999999999999999", "[]"] {
                try Data("{\"\(setting.name)\":\(value)}".utf8).write(to: file)
                _ = try? await EffectiveSettings(flags: [:], file: file.path, environment: [:])
            }
        }
    }

    @Test func noDurationSizeURLOrCronExpressionTraps() throws {
        for value in Self.values {
            _ = try? DurationText.duration(value)
            _ = try? SizeText.mebibytes(value)
            _ = Amount(argument: "gpu=" + value)
            _ = try? ListenAddress("127.0.0.1:" + value, allowPublic: true)
            _ = try? ListenAddress(value, allowPublic: true)
            _ = try? APIClient(server: value)
            _ = try? APIClient(server: "http://h:\(value)/")
            for form in [
                "redis://h:%", "redis://h/%", "redis://h?timeout=%", "redis-sentinel://h:%/m", "unix://%", "%",
            ] {
                _ = try? RedisConfiguration(url: form.replacing("%", with: value))
            }
            for form in ["% * * * *", "* * * * %", "*/% * * * *", "1-% * * * *", "%", "%,% * * * *", "0 0 31 2 %"] {
                guard let cron = try? CronExpression(form.replacing("%", with: value)) else { continue }
                _ = try? cron.next(after: .distantPast, in: .gmt)
                _ = try? cron.next(after: .distantFuture, in: .gmt)
            }
        }
        for seconds in [Double.infinity, -.infinity, .nan, 1e308, -1e308, .greatestFiniteMagnitude] {
            _ = try? DurationText.duration(seconds)
            _ = HumanTime.duration(seconds)
            _ = Seconds(value: seconds).duration
        }
    }

    @Test(arguments: [0, -1, .min, .max]) func aPolicyOfAnyNumbersDecides(few: Int) {
        var request = BuildRequest()
        request.args = ["a"]
        var policy = PriorityPolicy()
        policy.fewArguments = few
        policy.manyArguments = few
        for load in [0, 1, .infinity, .nan, -1] {
            _ = policy.decide(request, load: load)
        }
        #expect(policy.decide(request, load: 0).priority == (few == .max ? .high : .normal))
    }

    /// A lone byte of Latin-1, an overlong form, a surrogate, and the beginning of a character.
    @Test(arguments: ["\\351", "\\300\\200", "\\355\\240\\200", "\\342\\202"])
    func anArgumentThatIsNotUTF8IsRefused(bytes: String) async throws {
        for verb in ["submit --", "get", "logs", "cancel", "queue set", "worker --id", "submit --payload"] {
            let end = try await Tool.shell("exec \"$0\" \(verb) \"$(printf 'f\(bytes)x')\"")
            #expect(end.exitCode == 64, "\(verb): \(end.stderr)")
            #expect(end.stderr.contains("is not UTF-8"), "\(verb): \(end.stderr)")
        }
    }

    @Test func aFileThatIsNotUTF8IsRefused() async throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("latin-\(UUID().uuidString)")
        try Data(Array(#"{"args":["f"#.utf8) + [0xE9] + Array(#""]}"#.utf8)).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        for flags in [
            ["--file", file.path], ["--file", file.path, "--batch-id", "b"], ["--payload", "@\(file.path)"],
        ] {
            let end = try await Tool.run(["submit"] + flags, server: "http://127.0.0.1:1")
            #expect(end.exitCode == 64, "\(flags): \(end.stderr)")
            #expect(end.stderr.contains("UTF-8"), "\(flags): \(end.stderr)")
        }
    }

    /// By Character it has no "=": the combining mark belongs to it.
    @Test func aVariableIsSplitAtTheScalar() throws {
        #expect(EnvironmentPair.split("A=\u{301}x")?.name == "A")
        #expect(EnvironmentPair.split("A=\u{301}x")?.value == "\u{301}x")
        #expect(EnvironmentPair.split("=\u{301}x") == nil)
        #expect(EnvironmentPair.split("A") == nil)
        let error = #expect(throws: (any Error).self) {
            try SwitchyardCommand.parseAsRoot(["worker", "--pass-env", "A=\u{301}"])
        }
        #expect(error.map { SwitchyardCommand.exitCode(for: $0).rawValue } == 64)
    }
}

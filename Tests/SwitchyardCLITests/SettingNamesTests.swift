import Foundation
import JSON
import Switchyard
import Testing

@testable import SwitchyardCLI

/// The names of a setting and the forms of its value, as a flag, in the environment, in the file and for `queue set`.
@Suite struct SettingNamesTests {
    enum Place: CaseIterable, Sendable { case flag, environment, file }

    /// The settings with the given texts in one place; numbers of the file are JSON numbers.
    private func settings(_ given: [(name: String, text: String)], in place: Place) async throws -> EffectiveSettings {
        switch place {
        case .flag:
            let arguments = given.map { "--\($0.name.replacing("_", with: "-"))=\($0.text)" }
            let serve = try #require(try SwitchyardCommand.parseAsRoot(["serve"] + arguments) as? Serve)
            return try await EffectiveSettings(flags: serve.scheduler.flags, environment: [:])
        case .environment:
            let variables = given.map { ("SWITCHYARD_\($0.name.uppercased())", $0.text) }
            return try await EffectiveSettings(
                flags: [:], environment: Dictionary(uniqueKeysWithValues: variables))
        case .file:
            let members = given.map { name, text in
                "\"\(name)\":" + (JSONReader.isValid(text) ? text : JSONValue.string(text).text)
            }
            return try await withFile("{\(members.joined(separator: ","))}") {
                try await EffectiveSettings(flags: [:], file: $0, environment: [:])
            }
        }
    }

    private func withFile<Value>(_ text: String, _ body: (String) async throws -> Value) async throws -> Value {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("switchyard-\(UUID().uuidString).json")
        try Data(text.utf8).write(to: path)
        defer { try? FileManager.default.removeItem(at: path) }
        return try await body(path.path)
    }

    private func refusal(_ given: [(String, String)], in place: Place) async -> String? {
        do {
            _ = try await settings(given, in: place)
            return nil
        } catch {
            return (error as? Failure)?.message ?? "\(error)"
        }
    }

    @Test(arguments: Place.allCases)
    func everyNameOfEverySettingIsRead(place: Place) async throws {
        for setting in Setting.ofReplicas {
            // Heartbeat stays below half of lease.
            let number =
                setting.name == "heartbeat"
                ? 1000 : setting.kind == .duration ? 12_000 : setting.kind == .size ? 7 << 20 : 7
            for name in setting.names {
                let unit = setting.kind == .count || name.hasSuffix("_ms") ? 1 : setting.kind == .size ? 1 << 20 : 1000
                let text = "\(number / unit)"
                let found = try #require(try await settings([(name, text)], in: place).values[setting])
                #expect(found.value.number == number, "\(name)")
                switch place {
                case .flag: #expect(found.origin == .flag("--" + name.replacing("_", with: "-")))
                case .environment: #expect(found.origin == .environment("SWITCHYARD_" + name.uppercased()))
                case .file: #expect("\(found.origin)".hasPrefix("file "))
                }
            }
        }
    }

    /// The names that releases before the table had.
    @Test func theOlderNamesAreKept() {
        let older = [
            "max_queue_length", "default_task_timeout", "default_max_retries", "scheduler_interval_ms",
            "cleanup_interval", "completed_task_retention", "max_finished", "lease", "heartbeat", "assign_timeout",
            "max_deliveries", "retry_delay", "retry_delay_max", "retry_jitter_percent", "log_max_entries",
        ]
        #expect(Set(older).isSubset(of: Setting.ofReplicas.flatMap(\.names)))
    }

    @Test(arguments: Place.allCases)
    func twoNamesWithDifferentValuesAreRefused(place: Place) async throws {
        for setting in Setting.ofReplicas {
            for alias in setting.aliases {
                let message = await refusal([(setting.name, "1s"), (alias, "2s")], in: place)
                #expect(message?.contains(setting.name) == true && message?.contains(alias) == true, "\(message ?? "")")
                #expect(message?.contains("1s and 2s") == true, "\(message ?? "")")
                let same = try await settings([(setting.name, "2s"), (alias, "2000ms")], in: place)
                #expect(same.values[setting]?.value == .duration(2000))
            }
        }
    }

    @Test func precedenceDecidesBetweenNamesInDifferentPlaces() async throws {
        let retention = Setting.named("retention")
        let environment = ["SWITCHYARD_RETENTION": "2h"]
        let flag = try await EffectiveSettings(flags: ["completed_task_retention": "1h"], environment: environment)
        #expect(flag.values[retention]?.value == .duration(3_600_000))
        #expect(flag.values[retention]?.origin == .flag("--completed-task-retention"))
        try await withFile(#"{"retention":"3h","completed_task_retention":"4h"}"#) { path in
            // What a flag or a variable overrides is not checked.
            let variable = try await EffectiveSettings(flags: [:], file: path, environment: environment)
            #expect(variable.values[retention]?.value == .duration(7_200_000))
            #expect(variable.values[retention]?.origin == .environment("SWITCHYARD_RETENTION"))
        }
    }

    @Test(
        arguments: Place.allCases,
        [("90", 90_000), ("1.5", 1500), ("500ms", 500), ("5m", 300_000), ("0.5h", 1_800_000)])
    func aDurationHasOneFormEverywhere(place: Place, form: (String, Int)) async throws {
        let settings = try await settings([("assign_timeout", form.0)], in: place)
        #expect(settings.schedulerConfig.assignTimeout == .milliseconds(form.1))
    }

    @Test(arguments: Place.allCases)
    func whatIsNoDurationIsRefusedByName(place: Place) async {
        let bad = [
            "-1", "nan", "inf", "0.0001", "1.0005", "0.5ms", "36501d", "5w", "1 s", "s",
            String(repeating: "9", count: 40), "2h", "99ms", "0",
        ]
        for text in bad {
            let message = await refusal([("assign_timeout", text)], in: place)
            #expect(message?.contains("assign_timeout") == true, "\(text): \(message ?? "accepted")")
            #expect(message?.contains("expected") == true, "\(text): \(message ?? "accepted")")
        }
        for text in ["-1", "1.5", "many", "99999999999999999999", "0"] {
            let message = await refusal([("max_queue_length", text)], in: place)
            #expect(message?.contains("max_queue_length") == true, "\(text): \(message ?? "accepted")")
        }
    }

    @Test(arguments: ["[1]", "{}", "1e300", "-1e300", "1e-9"])
    func aMemberOfTheFileWithAnotherTypeIsRefused(value: String) async throws {
        try await withFile("{\"lease\":\(value)}") { path in
            let failure = await #expect(throws: Failure.self) {
                try await EffectiveSettings(flags: [:], file: path, environment: [:])
            }
            #expect(failure?.message?.contains("lease (file") == true, "\(failure?.message ?? "")")
        }
    }

    @Test func theHelpShowsOneNameOfEachSetting() {
        let help = SwitchyardCommand.helpMessage(for: Serve.self, includeHidden: false, columns: 200)
        let hidden = SwitchyardCommand.helpMessage(for: Serve.self, includeHidden: true, columns: 200)
        for setting in Setting.ofReplicas {
            #expect(help.contains("\(setting.flag) <"), "\(setting.name)")
            if let ofQueue = setting.ofQueue {
                #expect(help.contains("(\(ofQueue.bounds); default \(ofQueue.text(ofQueue.defaultValue)))"))
            }
            for alias in setting.aliases {
                #expect(!help.contains("\(Setting.flag(alias)) <"), "\(alias)")
                #expect(hidden.contains("\(Setting.flag(alias)) <"), "\(alias)")
            }
        }
    }

    // MARK: queue set

    @Test(arguments: [
        (["retention=1h"], #"{"retention_seconds":3600}"#),
        (["retention_seconds=90"], #"{"retention_seconds":90}"#),
        (["retention_ms=1500"], #"{"retention_seconds":1.5}"#),
        (["completed_task_retention=2d"], #"{"retention_seconds":172800}"#),
        (["default_timeout=500ms", "max_queue_length=5"], #"{"default_timeout_seconds":0.5,"max_queue_length":5}"#),
        (["aging=10m", "draining=true", "paused=0"], #"{"aging_seconds":600,"draining":true,"paused":false}"#),
        (["retention=1h", "retention_seconds=3600"], #"{"retention_seconds":3600}"#),
        (["of_a_newer_server=5"], #"{"of_a_newer_server":5}"#),
    ])
    func queueSetTakesEveryName(arguments: [String], body: String) throws {
        #expect(try SetQueue.body(arguments) == body)
    }

    @Test(arguments: [
        (["retention=1h", "retention_seconds=90"], ["retention and retention_seconds", "1h and 90s"]),
        (["retention=366d"], ["retention: expected 0s to 365d"]),
        (["retention=-1"], ["retention: expected a duration"]),
        (["lease=0.0001"], ["lease: expected whole milliseconds"]),
        (["max_queue_length=5m"], ["max_queue_length: expected a whole number"]),
        (["retry_jitter_percent=101"], ["retry_jitter_percent: expected 0 to 100"]),
        (["draining=maybe"], ["draining: expected true or false"]),
        (["of_a_newer_server=x"], ["of_a_newer_server"]),
    ])
    func queueSetSaysWhatIsWrong(arguments: [String], words: [String]) {
        let failure = #expect(throws: Failure.self) { try SetQueue.body(arguments) }
        for word in words { #expect(failure?.message?.contains(word) == true, "\(failure?.message ?? "")") }
    }

    // MARK: Sizes

    @Test func memoryHasAUnit() throws {
        func submit(_ arguments: [String]) throws -> String {
            let submit = try #require(
                try SwitchyardCommand.parseAsRoot(["submit"] + arguments + ["--", "true"]) as? Submit)
            return try submit.task.body(
                command: submit.command, queue: "q", id: submit.task.id, rejectIfNoWorkers: false)
        }
        for arguments in [
            ["--memory", "1.5G"], ["--memory", "1536"], ["--memory-mb", "1536"],
            ["--memory", "1536M", "--memory-mb=1536"],
        ] {
            #expect(try submit(arguments).contains(#""resources":{"memory_mb":1536}"#), "\(arguments)")
        }
        for arguments in [
            ["--memory", "0"], ["--memory=-1G"], ["--memory", "1K"], ["--memory", "9999T"], ["--memory", "4X"],
            ["--memory", "1G", "--memory-mb", "1000"],
        ] {
            let error = #expect(throws: (any Error).self, "\(arguments)") { try submit(arguments) }
            #expect(error.map { SwitchyardCommand.message(for: $0) }?.contains("--memory") == true)
        }
        let worker = try #require(
            try SwitchyardCommand.parseAsRoot(["worker", "--memory", "4G", "--memory-mb", "4096"]) as? RunWorker)
        #expect(worker.memory?.value == 4096)
        for arguments in [["--memory", "0"], ["--memory", "4G", "--memory-mb", "4"], ["--memory", "x"]] {
            #expect(throws: (any Error).self) { try SwitchyardCommand.parseAsRoot(["worker"] + arguments) }
        }
    }
}

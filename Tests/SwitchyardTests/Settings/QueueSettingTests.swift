import Foundation
import RedisClient
import SwitchyardTesting
import Testing

@testable import Switchyard

/// The table of settings, its agreement with the functions in Redis, and the documentation that it renders.
@Suite struct QueueSettingTests {
    /// The settings that Redis has.
    private static let stored = QueueSetting.all.filter { $0.scope != .replica }

    @Test func redisHasTheSameSettingsAndDefaults() async throws {
        try await TestQueue.run { queue in
            var settings = try await queue.handle.configure([])
            for name in ["instance", "database"] { settings[name] = nil }
            #expect(settings.keys.sorted() == Self.stored.map(\.storedName).sorted())
            for setting in Self.stored {
                #expect(settings[setting.storedName] == setting.defaultValue, "\(setting.name)")
            }
        }
    }

    @Test func redisHasTheSameBounds() async throws {
        try await TestQueue.run { queue in
            for setting in Self.stored {
                for value in [setting.range.lowerBound - 1, setting.range.upperBound + 1] {
                    let error = await #expect(throws: (any Error).self) {
                        try await queue.call("configure", .string(setting.storedName), .integer(Int64(value)))
                    }
                    let expected =
                        "\(setting.storedName): expected a whole number from \(setting.range.lowerBound) "
                        + "to \(setting.range.upperBound), found"
                    #expect(error.map { "\($0)".contains(expected) } == true, "\(setting.name): \(error as Any)")
                }
            }
        }
    }

    @Test func eachSettingOfAReplicaHasItsOwnProperty() {
        var config = SchedulerConfig()
        let settings = QueueSetting.all.filter(\.isOfReplica)
        for (index, setting) in settings.enumerated() { setting.set(1000 + index, in: &config) }
        #expect(settings.map { $0.value(in: config) } == settings.indices.map { 1000 + $0 })
        #expect(Mirror(reflecting: config).children.count == settings.count, "a property is in no entry of the table")
        #expect(QueueSetting.all.filter { !$0.isOfReplica }.allSatisfy { $0.value(in: config) == nil })
    }

    @Test func theDefaultsAreThoseOfTheTable() {
        let config = SchedulerConfig()
        for setting in QueueSetting.all where setting.isOfReplica {
            #expect(setting.value(in: config) == setting.defaultValue, "\(setting.name)")
        }
        #expect(config.changedSettings.isEmpty)
        for setting in QueueSetting.all { #expect(setting.range.contains(setting.defaultValue), "\(setting.name)") }
    }

    @Test func noNameMeansTwoSettings() {
        let names = QueueSetting.all.flatMap { Set([$0.name, $0.storedName, $0.field] + $0.aliases) }
        #expect(Set(names).count == names.count)
        for setting in QueueSetting.all {
            for name in [setting.name, setting.storedName, setting.field] + setting.aliases {
                #expect(QueueSetting.named(name)?.name == setting.name)
            }
        }
        #expect(QueueSetting.named("retention_minutes") == nil)
    }

    @Test(arguments: [
        ("0", 0), ("90", 90_000), ("1.5", 1500), (".5", 500), ("0.001", 1), ("500ms", 500), ("1.5s", 1500),
        ("5m", 300_000), ("0.5h", 1_800_000), ("2d", 172_800_000), ("36500d", 3_153_600_000_000), ("007", 7000),
        ("1.000000", 1000), ("3153600000", 3_153_600_000_000), ("0ms", 0),
    ])
    func aDurationHasAUnitOrIsInSeconds(text: String, milliseconds: Int) throws {
        #expect(try DurationText.duration(text).milliseconds == milliseconds)
        let again = DurationText.text(.milliseconds(milliseconds))
        #expect(try DurationText.duration(again).milliseconds == milliseconds, "\(again)")
    }

    @Test(arguments: [
        "", ".", "s", "ms", "-1", "+1", "1e3", "nan", "inf", "infinity", "0x10", "1 s", " 1", "1.2.3", "5w", "5M",
        "١", "1,5", "0.0001", "0.5ms", "1.0005s", "36501d", "3153600000.001", "99999999999999999999",
        String(repeating: "9", count: 31), String(repeating: "9", count: 400), "1d2h", "1\u{0}",
    ])
    func whatIsNoDurationIsRefused(text: String) {
        #expect(throws: TextRefusal.self) { try DurationText.duration(text) }
    }

    @Test func aDurationMayBeANumber() throws {
        #expect(try DurationText.duration(0.1).milliseconds == 100)
        #expect(try DurationText.duration(31_536_000.001).milliseconds == 31_536_000_001)
        #expect(try DurationText.duration(500, plain: .milliseconds).milliseconds == 500)
        #expect(try DurationText.duration("500", plain: .milliseconds).milliseconds == 500)
        #expect(try DurationText.duration("0.5s", plain: .milliseconds).milliseconds == 500)
        for number in [-1, -0.001, 0.0001, 1e-300, 1e300, .infinity, .nan, 3_153_600_001] {
            #expect(throws: TextRefusal.self, "\(number)") { try DurationText.duration(number) }
        }
    }

    @Test(arguments: [
        ("0", 0), ("512", 512), ("512M", 512), ("4G", 4096), ("4g", 4096), ("1.5G", 1536), ("1GB", 1024),
        ("2GiB", 2048), ("1T", 1_048_576), ("2048K", 2), ("0.5T", 524_288), ("1000000000", 1_000_000_000),
    ])
    func aSizeHasABinaryUnitOrIsInMiB(text: String, mebibytes: Int) throws {
        #expect(try SizeText.mebibytes(text) == mebibytes)
    }

    @Test(arguments: [
        "", "G", "-1", "-4G", "1e3", "nan", "4 G", "4P", "4X", "1.2.3G", "0.5", "1K", "1.0001G", "1000000001", "2000T",
        String(repeating: "9", count: 400), "4GG", "4iB",
    ])
    func whatIsNoSizeIsRefused(text: String) {
        #expect(throws: TextRefusal.self) { try SizeText.mebibytes(text) }
    }

    // MARK: The documentation

    /// The section "All settings" of Operations.md, below its heading.
    private static var section: String {
        let rows = QueueSetting.all.map { setting in
            let flag = setting.isOfReplica ? "`--\(setting.name.replacing("_", with: "-"))`" : ""
            let field = setting.scope == .queue ? "`\(setting.field)`" : ""
            let stored = setting.scope == .replica ? "" : "`\(setting.storedName)`"
            let aliases = setting.aliases.map { "`\($0)`" }.joined(separator: ", ")
            let help = setting.help + (aliases.isEmpty ? "" : " Older name: \(aliases).")
            let values = "\(setting.text(setting.defaultValue)) | \(setting.summary)"
            return "| \(flag) | \(field) | \(stored) | \(values) | \(help) |"
        }
        return """
            | flag | HTTP field | in Redis | default | type and bounds | meaning |
            |---|---|---|---|---|---|

            """ + rows.joined(separator: "\n") + "\n"
    }

    private static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../../Sources/Switchyard/Switchyard.docc/Operations.md").standardized

    /// `SWITCHYARD_TEST_REFRESH=1` writes the section instead.
    @Test func theDocumentationShowsTheTable() throws {
        let page = try String(contentsOf: Self.page, encoding: .utf8)
        let start = try #require(page.range(of: "## All settings\n\n")).upperBound
        let end = page.range(of: "\n## ", range: start..<page.endIndex)?.lowerBound ?? page.endIndex
        if ProcessInfo.processInfo.environment["SWITCHYARD_TEST_REFRESH"] == "1" {
            try page.replacingCharacters(in: start..<end, with: Self.section)
                .write(to: Self.page, atomically: true, encoding: .utf8)
        } else {
            #expect(page[start..<end] == Self.section, "the section should be:\n\(Self.section)")
        }
    }
}

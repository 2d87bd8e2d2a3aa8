import Foundation
import JSON
import NIOCore
import Testing

@testable import RedisClient
@testable import Switchyard
@testable import SwitchyardHTTP

/// Reads damaged texts of people, files and clients: none traps, and what is accepted means the same when it is
/// written and read again.
@Suite("Fuzz: texts", .serialized)
struct TextFuzzTests {
    /// Calls `body`, which may refuse the input, but only with an error of the type `Refusal`.
    private static func read<Value, Refusal: Error>(_: Refusal.Type, _ body: () throws -> Value) throws -> Value? {
        do { return try body() } catch is Refusal { return nil }
    }

    // MARK: JSON

    private static func json(_ input: inout FuzzInput) -> [UInt8] {
        switch input.below(12) {
        case 0: input.bytes(input.below(60))
        case 1: Array(String(repeating: input.pick(["[", "{\"a\":", "[[", "-", "\\u"]), count: input.below(400)).utf8)
        case 2: Array("{\"a\":\(input.number()),\"\(input.text())\":[\(input.number())]}".utf8)
        default: input.changed(Array(FuzzExamples.json.utf8))
        }
    }

    @Test func jsonIsWrittenAsItWasRead() async throws {
        try await Fuzz.run("json", share: 0.5) { input in
            guard let value = try Self.read(JSONReader.Failure.self, { try JSONReader.read(Self.json(&input)) }) else {
                return
            }
            try expectEqual(try JSONReader.read(value.bytes), value, "the value")
            try expectEqual(try JSONReader.read(value.canonical.bytes), value.canonical, "the canonical value")
        }
    }

    @Test func bodies() async throws {
        try await Fuzz.run("bodies", share: 0.25) { input in
            let bytes = Self.json(&input)
            if let value = try Self.read(JSONReader.Failure.self, { try JSONReader.read(bytes) }) {
                try Self.accept { _ = try TaskInput(value) }
                try await Self.acceptBatch(JSONValue.array([value, value]).bytes)
                let batch: JSONValue = ["tasks": .array([value]), "on_complete": value]
                try await Self.acceptBatch(batch.bytes)
                try Self.accept {
                    _ = try ScheduleInput(["cron": .string(input.pick(FuzzExamples.crons)), "task": value])
                }
            }
            try await Self.acceptBatch(bytes + [0x0A] + bytes, .lines)
        }
    }

    /// Calls `body`, which may refuse a body with one of the errors that become a response 400.
    private static func acceptBatch(_ body: [UInt8], _ type: BodyType = .json) async throws {
        var reader = BatchReader(type, key: "key", longestTask: 1 << 20)
        do {
            try await reader.feed(ByteBuffer(bytes: body))
            _ = try await reader.finish()
        } catch is Problem {} catch SchedulerError.invalidInput {}
    }

    private static func accept(_ body: () throws -> Void) throws {
        do { try body() } catch is Problem {} catch SchedulerError.invalidInput {}
    }

    @Test func changesOfSettings() async throws {
        try await Fuzz.run("changes of settings") { input in
            var members: [JSONValue.Member] = []
            for setting in QueueSetting.all where input.oneIn(4) {
                let values: [JSONValue] = [
                    .string(input.text()), .number(input.oneIn(2) ? "1e18" : "\(input.below(100))"), .bool(true), .null,
                    .number("-9223372036854775808"), .number("9223372036854775807"), .number("0.0004"),
                    .number("1e400"),
                ]
                members.append(JSONValue.Member(name: setting.field, value: input.pick(values)))
            }
            guard let changes = try Self.read(Problem.self, { try Settings.changes(.object(members)) }) else { return }
            for (name, value) in changes {
                let setting = QueueSetting.all.first { $0.storedName == name }
                guard setting?.range.contains(value) == true else {
                    throw FuzzFailure(description: "\(name) may not be \(value)")
                }
            }
        }
    }

    // MARK: Times

    @Test func cronExpressions() async throws {
        try await Fuzz.run("cron", share: 0.3) { input in
            let text = input.changed(input.pick(FuzzExamples.crons), alphabet: "0123456789*/,-L@ monsunja\t\u{0}é")
            guard let cron = try Self.read(SchedulerError.self, { try CronExpression(text) }) else { return }
            let zone = try TimeZone.named(input.pick(FuzzExamples.zones))
            let start = Date(timeIntervalSince1970: Double(input.below(4_000_000_000)) + 0.5)
            guard let first = cron.next(after: start, in: zone) else { return }
            guard first > start else { throw FuzzFailure(description: "\(text): \(first) is not after \(start)") }
            // Nothing lies between: the search from just before the time finds it too.
            try expectEqual(cron.next(after: first.addingTimeInterval(-1), in: zone), first, text)
        }
    }

    @Test func timeZones() async throws {
        try await Fuzz.run("zones") { input in
            let text = input.changed(input.pick(FuzzExamples.zones), alphabet: "/.+-_ \u{0}Aaé0")
            _ = try Self.read(SchedulerError.self) { try TimeZone.named(text) }
        }
    }

    @Test func timesOfRFC3339() async throws {
        try await Fuzz.run("times") { input in
            let text = input.changed("2026-02-28T23:59:59.999+13:45", alphabet: "0123456789-:+TtZz. \u{0}٣")
            if let date = RFC3339.date(text) {
                let written = RFC3339.text(date)
                try expectEqual(RFC3339.date(written).map(RFC3339.text), written, text)
            }
            let numbers = [-1e300, 1e300, .infinity, -.infinity, .nan, 1e11, -1e11, Double(input.below(1 << 40))]
            _ = RFC3339.text(Date(timeIntervalSince1970: input.pick(numbers)))
            if let date = Date(milliseconds: input.pick(numbers) * 1000) { _ = RFC3339.text(date) }
        }
    }

    @Test func durations() async throws {
        try await Fuzz.run("durations") { input in
            let example = input.pick(["90", "1.5s", "500ms", "5m", "2h", "1d"])
            let text = input.changed(example, alphabet: "0123456789.smhd-e ")
            let plain = input.pick([DurationText.PlainUnit.seconds, .milliseconds])
            if let duration = try Self.read(TextRefusal.self, { try DurationText.duration(text, plain: plain) }) {
                try expectEqual(try DurationText.duration(DurationText.text(duration)), duration, text)
            }
            let number = Double(input.number()) ?? 1e19
            if let duration = try Self.read(TextRefusal.self, { try DurationText.duration(number, plain: plain) }) {
                guard (.zero...DurationText.maximum).contains(duration) else {
                    throw FuzzFailure(description: "\(number) is \(duration)")
                }
            }
        }
    }

    @Test func sizes() async throws {
        try await Fuzz.run("sizes") { input in
            let example = input.pick(["512", "512M", "1.5G", "2TiB", "1024k"])
            let text = input.changed(example, alphabet: "0123456789.kmgtib-e ")
            guard let size = try Self.read(TextRefusal.self, { try SizeText.mebibytes(text) }) else { return }
            try expectEqual(try SizeText.mebibytes("\(size)"), size, text)
            guard Resources.megabytes.contains(size) else { throw FuzzFailure(description: "\(text) is \(size)") }
        }
    }

    // MARK: Names

    @Test func requirementsAndLabels() async throws {
        try await Fuzz.run("labels") { input in
            let example = input.pick(["gpu", "os=linux", "os!=mac|bsd", "os in (linux, mac)", "a=b|a"])
            let text = input.changed(example, alphabet: "ab=!|,() in.:-_\u{0}é")
            if let one = try Self.read(SchedulerError.self, { try Requirement.normalized(text, field: "requires") }) {
                try expectEqual(try Requirement.normalized(one, field: "requires"), one, text)
            }
            let name = Demand.canonicalName(text + "," + input.text())
            try expectEqual(Demand.canonicalName(name), name, text)
            var resources = Resources(cpu: Double(input.number()), memoryMB: Int(input.number()))
            resources.custom[input.text()] = Double(input.number())
            if try Self.read(SchedulerError.self, { try resources.check() }) != nil {
                let fields = try ReplyFields(
                    .array(resources.arguments.flatMap { [input.string($0.name), input.string($0.value)] }))
                let read = Resources(fields)
                guard abs((read.cpu ?? 0) - (resources.cpu ?? 0)) < 1e-6, read.memoryMB == resources.memoryMB else {
                    throw FuzzFailure(description: "\(resources) is read as \(read)")
                }
            }
        }
    }

    @Test func names() async throws {
        try await Fuzz.run("names") { input in
            let text = input.oneIn(2) ? input.text() : input.changed("task-1.a:b_c", alphabet: "aZ09._:- /{}\u{0}\n")
            if let name = try Self.read(SchedulerError.self, { try Name.validate(text, field: "id") }) {
                guard name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
                    throw FuzzFailure(description: "accepted \(Name.shown(text))")
                }
            }
            guard Name.shown(text).utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F || $0 > 0x7F }) else {
                throw FuzzFailure(description: "shown as it is: \(Array(text.utf8))")
            }
        }
    }

    // MARK: Addresses

    @Test func urlsOfRedis() async throws {
        try await Fuzz.run("urls") { input in
            let text = input.changed(input.pick(FuzzExamples.urls), alphabet: "redis:/@?=&%,[].0123456789\u{0}é")
            _ = try Self.read(RedisError.self) { try RedisConfiguration(url: text) }
        }
    }

    @Test func percentEncodings() async throws {
        try await Fuzz.run("percent") { input in
            let text = input.changed("a%20b%2Fc%00%C3%A9", alphabet: "%0123456789abcdefABCDEFxyz+/\u{0}é")
            guard let decoded = try Self.read(Problem.self, { try PercentEncoding.decoded(text, field: "id") }) else {
                return
            }
            let encoded = decoded.utf8.map { "%" + String($0 + 0, radix: 16).leftPadded }.joined()
            try expectEqual(try PercentEncoding.decoded(encoded, field: "id"), decoded, text)
        }
    }

    // MARK: Bytes of Redis

    @Test func bytesOfRedis() async throws {
        try await Fuzz.run("resp") { input in
            var bytes: [UInt8] = []
            for _ in 0..<(1 + input.below(6)) { bytes += Array(input.pick(FuzzExamples.resp).utf8) }
            if !input.oneIn(3) { bytes = input.changed(bytes) }
            let whole = try Self.values(in: [bytes])
            var pieces: [[UInt8]] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                let length = 1 + input.below(8)
                pieces.append(Array(rest.prefix(length)))
                rest = rest.dropFirst(length)
            }
            // However the bytes are cut, they mean the same.
            try expectEqual(try Self.values(in: pieces), whole, "\(bytes)")
        }
    }

    private static func values(in pieces: [[UInt8]]) throws -> [RESPValue] {
        let reader = HiredisReader(endpoint: "fuzz")
        var values: [RESPValue] = []
        for piece in pieces {
            guard
                try Self.read(RedisError.self, { try reader.feed(ByteBuffer(bytes: piece)) { values.append($0) } })
                    != nil
            else { break }
        }
        return values
    }
}

extension String {
    fileprivate var leftPadded: String { count < 2 ? "0" + self : self }
}

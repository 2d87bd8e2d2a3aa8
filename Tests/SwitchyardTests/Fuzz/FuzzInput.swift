import Foundation
import NIOCore
import SwitchyardTesting

@testable import RedisClient

/// Makes the inputs of a fuzz target from a seed: mostly valid examples with a few changes, and sometimes noise.
struct FuzzInput {
    private var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<max(1, bound), using: &generator) }
    mutating func oneIn(_ chances: Int) -> Bool { below(chances) == 0 }
    mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }
    mutating func shuffle<Value>(_ values: inout [Value]) { values.shuffle(using: &generator) }

    // MARK: Numbers and texts

    static let numbers = [
        "0", "1", "-1", "2", "9", "1000", "1767225600000", "1767225600123456", "-1767225600000", "99999999999999",
        "100000000000001", "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
        "18446744073709551615", "340282366920938463463374607431768211456", "1e3", "1e308", "1e400", "-1e400", "1.5",
        "-0", "-0.0", "+5", "007", "0x10", "1_000", " 1", "1 ", "nan", "-nan", "inf", "-inf", "Infinity", "", "1,5",
        "٣", "1\u{0}", "4.9e-324", "0.1",
    ]
    static let words = [
        "", " ", "x", "pending", "running", "completed", "failed", "critical", "normal", "schedule", "retry", "a\nb",
        "a\r\nb", "\u{0}", "\u{7F}", "a,b,,c", "a=b", "=", "=1", "gpu=1,,x=nan", "k!=v|w", "k in (a, b)", "{}", "[]",
        "[\"a\"]", "{\"a\":\"b\"}", "[1]", "{\"a\":1}", "null", "\"", "\\", "\u{202E}", "e\u{301}", "👩‍👩‍👧", "ﷺ",
        "\u{FEFF}", "%00", "%2F", "%", "+", "../..", "<b>", "'; --", "attempt:1", "Europe/Berlin", "* * * * *",
    ]

    mutating func number() -> String {
        oneIn(3) ? "\(Int64.random(in: .min ... .max, using: &generator))" : pick(Self.numbers)
    }

    mutating func text() -> String {
        switch below(8) {
        case 0: number()
        case 1: String(repeating: pick(Self.words), count: below(40))
        case 2: String(decoding: bytes(below(40)), as: UTF8.self)
        case 3: pick(Self.words) + pick(Self.words)
        default: pick(Self.words)
        }
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    /// Changes a text in a few places: characters of the alphabet are put in, taken out, doubled or replaced.
    mutating func changed(_ text: String, alphabet: String) -> String {
        var characters = Array(text.unicodeScalars)
        let letters = Array(alphabet.unicodeScalars)
        for _ in 0..<below(4) {
            let at = below(characters.count)
            switch below(4) {
            case 0: characters.insert(pick(letters), at: min(at, characters.count))
            case 1 where !characters.isEmpty: characters.remove(at: at)
            case 2 where !characters.isEmpty: characters[at] = pick(letters)
            case 3:
                let piece = Array((oneIn(2) ? number() : pick(Self.words)).unicodeScalars)
                characters.insert(contentsOf: piece, at: min(at, characters.count))
            default: break
            }
        }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: characters)
        return String(view)
    }

    /// Changes bytes in a few places.
    mutating func changed(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<below(5) {
            let at = below(bytes.count)
            switch below(5) {
            case 0: bytes.insert(UInt8(below(256)), at: min(at, bytes.count))
            case 1 where !bytes.isEmpty: bytes.remove(at: at)
            case 2 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8(below(8))
            case 3: bytes.insert(contentsOf: Array(number().utf8), at: min(at, bytes.count))
            case 4 where !bytes.isEmpty: bytes.removeLast(below(bytes.count))
            default: break
            }
        }
        return bytes
    }

    // MARK: Values of Redis

    /// A value as Redis sends it for a field of a hash: any bytes.
    mutating func field() -> RESPValue {
        switch below(10) {
        case 0, 1, 2, 3, 4: string(number())
        case 5: .bulkString(ByteBuffer(bytes: bytes(below(60))))
        case 6 where oneIn(200): string(String(repeating: "9", count: 100_000))
        default: string(text())
        }
    }

    mutating func string(_ text: String) -> RESPValue { .bulkString(ByteBuffer(string: text)) }

    /// Any value, as only a broken server sends it.
    mutating func value(depth: Int = 3) -> RESPValue {
        switch below(depth > 0 ? 8 : 6) {
        case 0: .null
        case 1: .integer(Int64.random(in: .min ... .max, using: &generator))
        case 2: .simpleString(text())
        case 3: .error(.server(text(), endpoint: "fuzz"))
        case 4, 5: field()
        default: .array((0..<below(5)).map { _ in value(depth: depth - 1) })
        }
    }

    /// An example reply of names and values with a few changes.
    mutating func reply(_ example: FuzzExamples.Pairs) -> RESPValue {
        var pairs = example
        if oneIn(3) { shuffle(&pairs) }
        for _ in 0..<(1 + below(5)) where !pairs.isEmpty {
            let at = below(pairs.count)
            switch below(8) {
            case 0: pairs.remove(at: at)
            case 1: pairs.append((pairs[at].name, field()))
            case 2: pairs[at].name = field()
            case 3: pairs[at].value = value()
            default: pairs[at].value = field()
            }
        }
        var values: [RESPValue] = []
        values.reserveCapacity(2 * pairs.count)
        for pair in pairs {
            values.append(pair.name)
            values.append(pair.value)
        }
        if oneIn(50), !values.isEmpty { values.removeLast() }
        return oneIn(100) ? value() : .array(values)
    }
}

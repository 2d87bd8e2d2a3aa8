import Foundation
import NIOCore
import RedisClient

/// The pairs of a function's reply, by name. Times are in milliseconds since 1970, durations in milliseconds.
///
/// A reply has a few dozen pairs, and each is read at most once. A linear search by the hashes of the names costs a
/// tenth of building a dictionary.
struct ReplyFields {
    private let pairs: [RESPValue]
    /// The hash of each name in `pairs`, in order.
    private let hashes: [UInt32]

    init(_ reply: RESPValue) throws(SchedulerError) {
        guard let pairs = reply.array, pairs.count % 2 == 0 else {
            throw .internal(message: "a function returned \(reply) where pairs were expected", redisAway: false)
        }
        self.init(pairs: pairs)
    }

    /// - Parameter pairs: names and values, alternating.
    init(pairs: [RESPValue]) {
        self.pairs = pairs
        hashes = stride(from: 0, to: pairs.count, by: 2).map { Self.hash(ofName: pairs[$0]) }
    }

    /// All names, in the order of the reply.
    var names: [String] {
        stride(from: 0, to: pairs.count, by: 2).compactMap { pairs[$0].string }
    }

    /// All pairs whose values are numbers.
    var numbers: [String: Int] {
        Dictionary(
            names.compactMap { name in optionalInt(name).map { (name, $0) } }, uniquingKeysWith: { first, _ in first })
    }

    subscript(name: String) -> RESPValue? {
        var name = name
        return name.withUTF8 { wanted in
            let hash = Self.hash(UnsafeRawBufferPointer(wanted))
            for index in hashes.indices.reversed() where hashes[index] == hash {
                if case .bulkString(let found) = pairs[2 * index],
                    found.withUnsafeReadableBytes({ $0.elementsEqual(wanted) })
                {
                    return pairs[2 * index + 1]
                }
            }
            return nil
        }
    }

    /// FNV-1a.
    private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        bytes.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    }

    /// Returns 0 for a value that is not a string. The subscript also compares the name, so it never finds such a pair.
    private static func hash(ofName value: RESPValue) -> UInt32 {
        guard case .bulkString(let name) = value else { return 0 }
        return name.withUnsafeReadableBytes(hash)
    }

    func string(_ name: String) -> String? {
        // A worker may have written bytes that are not UTF-8. They are replaced, so that the rest can be shown.
        guard let value = self[name] else { return nil }
        return value.string ?? value.bytes.map { String(decoding: $0.readableBytesView, as: UTF8.self) }
    }

    func bytes(_ name: String) -> ByteBuffer? { self[name]?.bytes }
    // A number out of its range counts as absent.
    func optionalInt(_ name: String, in range: NumberRange = .any) -> Int? { range.number(self[name], field: name) }
    func int(_ name: String) -> Int { optionalInt(name) ?? 0 }
    func count(_ name: String) -> Int { optionalInt(name, in: .count) ?? 0 }
    func flag(_ name: String) -> Bool { string(name) == "1" }
    func optionalDuration(_ name: String) -> Duration? {
        optionalInt(name, in: .duration).map { .milliseconds($0) }
    }
    func duration(_ name: String) -> Duration { optionalDuration(name) ?? .zero }

    func date(_ name: String) -> Date? {
        guard let milliseconds = optionalInt(name, in: .time), milliseconds > 0 else { return nil }
        return Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }

    func double(_ name: String) -> Double? { string(name).flatMap(Double.init).flatMap { $0.isFinite ? $0 : nil } }
    /// The words of a list that is separated by commas.
    func words(_ name: String) -> [String] { (string(name) ?? "").split(separator: ",").map(String.init) }

    /// A list that is stored as JSON; empty if the value is not such a list.
    func list(_ name: String) -> [String] { json([String].self, name) ?? [] }
    func map(_ name: String) -> [String: String] { json([String: String].self, name) ?? [:] }

    func json<Value: Decodable>(_ type: Value.Type, _ name: String) -> Value? {
        guard let text = string(name) else { return nil }
        return try? JSONDecoder().decode(type, from: Data(text.utf8))
    }
}

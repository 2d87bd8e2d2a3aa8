import Foundation
import NIOCore
import RedisClient

/// The pairs of a function's reply, by name. Times are milliseconds since 1970, durations milliseconds.
struct ReplyFields {
    private var values: [String: RESPValue] = [:]

    init(_ reply: RESPValue) throws(SchedulerError) {
        guard let pairs = reply.array, pairs.count % 2 == 0 else {
            throw .internal(message: "a function answered \(reply) where pairs were expected", redisAway: false)
        }
        values.reserveCapacity(pairs.count / 2)
        for index in stride(from: 0, to: pairs.count, by: 2) {
            if let name = pairs[index].string { values[name] = pairs[index + 1] }
        }
    }

    var names: Dictionary<String, RESPValue>.Keys { values.keys }
    subscript(name: String) -> RESPValue? { values[name] }

    func string(_ name: String) -> String? {
        // What is not UTF-8 was written by somebody else's worker: shown, with its bad bytes replaced.
        guard let value = values[name] else { return nil }
        return value.string ?? value.bytes.map { String(decoding: $0.readableBytesView, as: UTF8.self) }
    }

    func bytes(_ name: String) -> ByteBuffer? { values[name]?.bytes }
    func int(_ name: String) -> Int { optionalInt(name) ?? 0 }
    func optionalInt(_ name: String) -> Int? { values[name]?.int.map { Int($0) } }
    func flag(_ name: String) -> Bool { string(name) == "1" }
    func duration(_ name: String) -> Duration { .milliseconds(int(name)) }

    func date(_ name: String) -> Date? {
        guard let milliseconds = values[name]?.int, milliseconds > 0 else { return nil }
        return Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }

    func double(_ name: String) -> Double? { string(name).flatMap(Double.init) }
    /// Words separated by commas.
    func words(_ name: String) -> [String] { (string(name) ?? "").split(separator: ",").map(String.init) }

    /// A list kept as JSON; what is no such list counts as empty.
    func list(_ name: String) -> [String] { json([String].self, name) ?? [] }
    func map(_ name: String) -> [String: String] { json([String: String].self, name) ?? [:] }

    func json<Value: Decodable>(_ type: Value.Type, _ name: String) -> Value? {
        guard let text = string(name) else { return nil }
        return try? JSONDecoder().decode(type, from: Data(text.utf8))
    }
}

import Foundation
import RedisClient
import Switchyard
import SwitchyardTesting

/// A Redis whose functions read the time from a key, which the test sets: an hour passes in seconds.
///
/// Only the functions do that. Redis itself expires keys by its own clock, so the virtual time is in the future.
struct VirtualTime: Sendable {
    private static let key = "switchyard-clock"

    /// µs since 1970 at the beginning: 2040-01-01, which is within the range of scores.
    static let start: Int64 = 2_208_988_800_000_000

    struct LibraryHasNoClock: Error, CustomStringConvertible {
        let count: Int
        var description: String {
            "the library is expected to read the clock by call('TIME') in one place, and has \(count)"
        }
    }

    /// Returns the library, or the one that the environment selects (``TestLibrary``), changed to read the time from
    /// the key.
    /// - Throws: ``LibraryHasNoClock``
    static func library() throws -> String {
        let text = try TestLibrary.text() ?? FunctionLibrary.source
        let pattern = /(?:redis\.)?call\('TIME'\)/
        let count = text.matches(of: pattern).count
        guard count == 1 else { throw LibraryHasNoClock(count: count) }
        // The form of TIME's reply: seconds, and the µs of the second.
        let clock = """
            (function(us) return { string.sub(us, 1, -7), tostring(tonumber(string.sub(us, -6))) } end)\
            (redis.call('GET', '\(key)'))
            """
        // A version that nothing replaces.
        return text.replacing(pattern, with: clock).replacing(/local VERSION = \d+/, with: "local VERSION = 1000000")
    }

    /// Replaces the library of a server by one that reads the time from the key.
    static func begin(on redis: TestRedis) async throws {
        _ = try await redis.client.send(set(to: 0))
        _ = try await redis.client.send(RedisCommand("FUNCTION", "LOAD", "REPLACE", .string(library())))
    }

    /// The command that sets the time, in ms since the beginning.
    static func set(to milliseconds: Int) -> RedisCommand {
        RedisCommand("SET", .string(key), .string("\(start + Int64(milliseconds) * 1000)"))
    }
}

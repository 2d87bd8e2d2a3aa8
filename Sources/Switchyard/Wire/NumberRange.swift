import Foundation
import Logging
import RedisClient
import Synchronization

// The ranges of the numbers that are read from Redis. Something else may have written any number there. One out of its
// range is dropped, as if the field were absent, with a warning: without the ranges a sum, a product or a conversion
// would trap.

/// The numbers that a field may have.
struct NumberRange: Sendable {
    let values: ClosedRange<Int64>

    /// Numbers that are added up: counts of tasks, slots, bytes. The counts of all partitions of all queues that a
    /// replica serves add up to less than 2^63.
    static let count = NumberRange(values: -1_000_000_000_000...1_000_000_000_000)
    /// Milliseconds since 1970, up to about the year 5138.
    static let time = NumberRange(values: -100_000_000_000_000...100_000_000_000_000)
    /// Milliseconds of a duration, up to about 100 years.
    static let duration = NumberRange(values: 0...Int64(DurationText.maximum.milliseconds))
    /// All other numbers, such as microseconds since 1970.
    static let any = NumberRange(values: -100_000_000_000_000_000...100_000_000_000_000_000)

    /// Returns the number of a value; nil if it has none in this range.
    /// - Parameter field: names the value in the warning.
    func number(_ value: RESPValue?, field: @autoclosure () -> String) -> Int? {
        guard let value, let number = value.int else { return nil }
        guard values.contains(number) else {
            DroppedNumbers.warn(field: field(), "\(number)")
            return nil
        }
        return Int(number)
    }
}

/// Warns of numbers that were dropped, once for each field: they are read again and again.
enum DroppedNumbers {
    private static let logger = Logger(label: "switchyard.wire")
    private static let fields = Mutex<Set<String>>([])
    /// Limit on the fields that are remembered: the names of most come from this program, but those of settings and
    /// of details come from Redis.
    private static let maxFields = 1000

    /// The fields of which a number was dropped.
    static var seen: Set<String> { fields.withLock { $0 } }

    static func warn(field: String, _ found: String) {
        guard fields.withLock({ $0.count < maxFields && $0.insert(field).inserted }) else { return }
        logger.warning(
            "dropped a number that is out of range: something else has written to the keys of a queue",
            metadata: ["field": "\(Name.shown(field))", "found": "\(Name.shown(found))"])
    }
}

extension Date {
    /// A time in milliseconds since 1970; nil if it is out of the range of times that are read.
    package init?(milliseconds: Double, field: @autoclosure () -> String = "a time") {
        let times = NumberRange.time.values
        // False also for NaN.
        guard milliseconds >= Double(times.lowerBound), milliseconds <= Double(times.upperBound) else {
            DroppedNumbers.warn(field: field(), "\(milliseconds)")
            return nil
        }
        self.init(timeIntervalSince1970: milliseconds / 1000)
    }

    /// Milliseconds since 1970; saturates at the bounds of the times that are read.
    package var milliseconds: Int64 {
        let times = NumberRange.time.values
        let milliseconds = (timeIntervalSince1970 * 1000).rounded()
        guard milliseconds > Double(times.lowerBound) else { return times.lowerBound }
        return milliseconds < Double(times.upperBound) ? Int64(milliseconds) : times.upperBound
    }
}

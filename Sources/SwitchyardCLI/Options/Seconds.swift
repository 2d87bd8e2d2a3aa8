import ArgumentParser
import JSON
import Switchyard

/// A duration as an argument, as ``DurationText`` reads it: `90`, `1.5`, `500ms`, `5m`, `2h`, `1d`.
struct Seconds: ExpressibleByArgument, Sendable, Equatable {
    var value: Double

    init(value: Double) { self.value = value }

    init?(argument: String) {
        // ArgumentParser shows the argument and the flag. Seconds(transforming:) says what is wrong with it.
        try? self.init(transforming: argument)
    }

    /// For `transform`, which shows the message of the error.
    /// - Throws: `ValidationError`.
    init(transforming argument: String) throws {
        do {
            value = Double(try DurationText.duration(argument).milliseconds) / 1000
        } catch let error as TextRefusal {
            throw ValidationError("expected \(error.expected), found \(Name.shown(argument))")
        }
    }

    var defaultValueDescription: String { JSONValue(value).text }

    /// The number of seconds as JSON.
    var json: JSONValue { JSONValue(value) }

    /// A century: longer than any process runs, and within the range of every clock and timer.
    private static let longest = 100 * 365.25 * 86_400

    /// The duration, to the millisecond and at most a century.
    var duration: Duration {
        .milliseconds(Int64((min(Self.longest, max(0, value)) * 1000).rounded()))
    }
}

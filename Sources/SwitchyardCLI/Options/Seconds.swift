import ArgumentParser
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

    var defaultValueDescription: String { JSONValue.number(value).text }

    /// The number of seconds as JSON.
    var json: String { value == value.rounded() ? "\(Int(value))" : "\(value)" }
}

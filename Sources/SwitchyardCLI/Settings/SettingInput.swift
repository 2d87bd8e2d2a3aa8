import JSON
import Switchyard

/// The value of a setting as a person gave it: as text, or in the JSON file also as a number or as true or false.
enum SettingInput: Sendable {
    case text(String)
    case whole(Int)
    case number(Double)
    case flag(Bool)
    /// A value of the JSON file that the setting cannot have.
    case other

    fileprivate var shown: String? {
        switch self {
        case .text(let text): Name.shown(text)
        case .whole(let number): "\(number)"
        case .number(let number): JSONValue(number).text
        case .flag(let isSet): "\(isSet)"
        case .other: nil
        }
    }
}

extension Setting {
    /// Reads a value and checks its range.
    /// - Parameters:
    ///   - name: the name under which the value was given. Plain numbers are milliseconds if it ends with `_ms`, and
    ///     bytes if it ends with `_bytes`; else they are seconds, and MiB.
    ///   - label: what a message calls the value.
    /// - Throws: ``Failure`` with the label, what was expected and what was found.
    func value(of input: SettingInput, named name: String, label: String) throws(Failure) -> Value {
        func refusal(_ expected: String) -> Failure {
            Failure(.usage, "\(label): expected \(expected)" + (input.shown.map { ", found \($0)" } ?? ""))
        }
        let value: Value
        do {
            value = try parsed(
                input, plain: name.hasSuffix("_ms") ? .milliseconds : .seconds, isPlainBytes: name.hasSuffix("_bytes"))
        } catch {
            throw refusal(error.expected)
        }
        if let range, let number = value.number, !range.contains(number) {
            throw refusal(ofQueue?.bounds ?? "\(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private func parsed(
        _ input: SettingInput, plain: DurationText.PlainUnit, isPlainBytes: Bool
    ) throws(TextRefusal) -> Value {
        switch (kind, input) {
        case (.text, .text(let text)): return .text(text)
        case (.count, .text(let text)):
            guard let number = Int(text) else { throw TextRefusal(expected: "a whole number") }
            return .count(number)
        case (.count, .whole(let number)): return .count(number)
        case (.duration, .text(let text)):
            return .duration(try DurationText.duration(text, plain: plain).milliseconds)
        case (.duration, .number(let number)):
            return .duration(try DurationText.duration(number, plain: plain).milliseconds)
        case (.size, .text(let text)): return .size(try SizeText.bytes(text, isPlainBytes: isPlainBytes))
        case (.size, .whole(let number)):
            return .size(try SizeText.bytes("\(number)", isPlainBytes: isPlainBytes))
        case (.flag, .text(let text)):
            guard let isSet = Self.flags[text.lowercased()] else { throw TextRefusal(expected: "true or false") }
            return .flag(isSet)
        case (.flag, .flag(let isSet)): return .flag(isSet)
        case (.text, _): throw TextRefusal(expected: "text")
        case (.count, _): throw TextRefusal(expected: "a whole number")
        case (.duration, _): throw TextRefusal(expected: "a duration: a number of seconds, or text such as \"5m\"")
        case (.size, _): throw TextRefusal(expected: "a size: a number of MiB, or text such as \"512M\"")
        case (.flag, _): throw TextRefusal(expected: "true or false")
        }
    }

    private static let flags = ["true": true, "yes": true, "1": true, "false": false, "no": false, "0": false]
}

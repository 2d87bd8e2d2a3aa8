import Foundation
import JSON
import Switchyard

/// Reads the members of a JSON object that a client sent, each as the type that its reader expects. An error names the
/// member, what was expected and what was found. Null counts as absent; if a name repeats, its last member counts.
struct Fields {
    /// The prefix of each name in messages, such as `tasks[3].`; may be empty.
    let path: String
    private let members: [JSONValue.Member]

    /// - Throws: a ``Problem`` if `value` is not an object, or has a member whose name is not in `known`.
    init(_ value: JSONValue, path: String = "", known: Set<String>) throws {
        guard case .object(let members) = value else {
            let name = path.isEmpty ? "body" : String(path.dropLast())
            throw Problem.badRequest(name, "expected an object, found \(value.shown)")
        }
        self.path = path
        for member in members where !known.contains(member.name) {
            throw Problem.badRequest(
                path + Self.printable(member.name),
                "expected no such field (known here: \(known.sorted().joined(separator: ", ")))")
        }
        self.members = members
    }

    /// The value as it was sent, including null.
    subscript(name: String) -> JSONValue? {
        // Objects have about a dozen members: comparing their names costs less than hashing them.
        members.last { $0.name == name }?.value
    }

    private func given(_ name: String) -> JSONValue? {
        guard let value = self[name], value != .null else { return nil }
        return value
    }

    func problem(_ name: String, _ expected: String, found: JSONValue) -> Problem {
        .badRequest(path + name, "expected \(expected), found \(found.shown)")
    }

    /// Reads a text without NUL: a process's arguments and environment cannot hold one.
    func text(_ name: String) throws -> String? {
        guard let value = given(name) else { return nil }
        return try Self.text(value, name: path + name)
    }

    /// Reads a text as ``text(_:)`` does; it must not be empty.
    func word(_ name: String) throws -> String? {
        guard let text = try text(name) else { return nil }
        guard !text.isEmpty else { throw problem(name, "a text that is not empty", found: .string(text)) }
        return text
    }

    /// Reads a text that must be a valid ``Name``.
    func name(_ name: String) throws -> String? {
        guard let value = given(name) else { return nil }
        guard case .string(let text) = value else { throw problem(name, "a text", found: value) }
        return try Name.validate(text, field: path + name)
    }

    func texts(_ name: String) throws -> [String] {
        guard let value = given(name) else { return [] }
        guard case .array(let values) = value else { throw problem(name, "an array of texts", found: value) }
        return try values.enumerated().map { try Self.text($1, name: "\(path)\(name)[\($0)]") }
    }

    func map(_ name: String) throws -> [String: String] {
        guard let value = given(name) else { return [:] }
        guard case .object(let members) = value else { throw problem(name, "an object of texts", found: value) }
        var map: [String: String] = [:]
        for member in members {
            guard !member.name.isEmpty, !member.name.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 })
            else {
                throw problem(name, "names that are not empty and hold neither = nor NUL", found: .string(member.name))
            }
            map[member.name] = try Self.text(member.value, name: "\(path)\(name).\(Self.printable(member.name))")
        }
        return map
    }

    func choice<Word: RawRepresentable<String> & CaseIterable>(_ name: String, _ type: Word.Type) throws -> Word? {
        guard let value = given(name) else { return nil }
        guard case .string(let text) = value, let word = Word(rawValue: text) else {
            let expected = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw problem(name, "one of \(expected)", found: value)
        }
        return word
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let value = given(name) else { return nil }
        guard case .number(let text) = value, let number = Self.integer(text), range.contains(number) else {
            throw problem(name, "a whole number from \(range.lowerBound) to \(range.upperBound)", found: value)
        }
        return number
    }

    func decimal(_ name: String, in range: ClosedRange<Double>) throws -> Double? {
        guard let value = given(name) else { return nil }
        guard let number = Self.decimal(value, in: range) else {
            throw problem(name, "a number from \(range.lowerBound) to \(range.upperBound)", found: value)
        }
        return number
    }

    static func decimal(_ value: JSONValue, in range: ClosedRange<Double>) -> Double? {
        guard case .number(let text) = value, let number = Double(text), range.contains(number) else { return nil }
        return number
    }

    /// Reads a number of seconds, rounded to the millisecond.
    func seconds(_ name: String, milliseconds range: ClosedRange<Int>) throws -> Duration? {
        guard let value = given(name) else { return nil }
        guard case .number(let text) = value, let seconds = Double(text), seconds.isFinite,
            case let milliseconds = (seconds * 1000).rounded(), abs(milliseconds) < 1e15,
            range.contains(Int(milliseconds))
        else {
            let least = JSONValue(.milliseconds(range.lowerBound)).shown
            let most = JSONValue(.milliseconds(range.upperBound)).shown
            throw problem(name, "a number of seconds from \(least) to \(most)", found: value)
        }
        return .milliseconds(Int(milliseconds))
    }

    func date(_ name: String) throws -> Date? {
        guard let value = given(name) else { return nil }
        guard case .string(let text) = value, let date = RFC3339.date(text), date.timeIntervalSince1970 >= 0 else {
            throw problem(name, "an RFC 3339 time since 1970 such as 2026-01-31T12:00:00Z", found: value)
        }
        return date
    }

    func flag(_ name: String) throws -> Bool? {
        guard let value = given(name) else { return nil }
        guard case .bool(let flag) = value else { throw problem(name, "true or false", found: value) }
        return flag
    }

    private static func text(_ value: JSONValue, name: String) throws -> String {
        guard case .string(let text) = value else {
            throw Problem.badRequest(name, "expected a text, found \(value.shown)")
        }
        guard !text.utf8.contains(0) else {
            throw Problem.badRequest(name, "expected a text without NUL, which no process argument can hold, found one")
        }
        return text
    }

    /// Accepts `2`, and also `2.0` and `2e0`, which are the same number.
    private static func integer(_ text: String) -> Int? {
        if let number = Int(text) { return number }
        guard let number = Double(text), number.rounded() == number, abs(number) < 9e15 else { return nil }
        return Int(number)
    }

    /// Returns a name that a client chose in a form that is safe to print.
    static func printable(_ name: String) -> String {
        String(Name.shown(name).filter { $0 != "\"" })
    }
}

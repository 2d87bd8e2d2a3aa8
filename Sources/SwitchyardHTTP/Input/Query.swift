import Hummingbird
import Switchyard

/// The query parameters of a request. An unknown or repeated parameter is refused.
struct Query {
    private var values: [String: String] = [:]

    /// - Parameter known: the names that the route accepts.
    init(_ request: Request, _ known: Set<String> = []) throws {
        for part in (request.uri.query ?? "").split(separator: "&") {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = try Self.decoded(sides[0], field: "query")
            guard known.contains(name) else {
                let expected = known.isEmpty ? "none" : known.sorted().joined(separator: ", ")
                throw Problem.badRequest(
                    name.isEmpty ? "query" : name, "expected no such query parameter (known here: \(expected))")
            }
            guard values[name] == nil else { throw Problem.badRequest(name, "expected once, found twice") }
            values[name] = try Self.decoded(sides.count > 1 ? sides[1] : "", field: name)
        }
    }

    subscript(name: String) -> String? { values[name] }

    func flag(_ name: String) throws -> Bool {
        switch values[name] {
        case nil, "0", "false": false
        case "1", "true", "": true
        case .some(let text): throw Problem.badRequest(name, "expected 1 or 0, found \(Name.shown(text))")
        }
    }

    func integer(_ name: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let text = values[name] else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw Problem.badRequest(
                name,
                "expected a whole number from \(range.lowerBound) to \(range.upperBound), found \(Name.shown(text))")
        }
        return number
    }

    /// Reads seconds from 0 to `most`, rounded to the millisecond.
    func seconds(_ name: String, most: Duration) throws -> Duration? {
        guard let text = values[name] else { return nil }
        guard let number = Double(text), number >= 0, number <= most.seconds else {
            throw Problem.badRequest(
                name, "expected seconds from 0 to \(Int(most.seconds)), found \(Name.shown(text))")
        }
        return .milliseconds(Int((number * 1000).rounded()))
    }

    func word<Word: RawRepresentable<String> & CaseIterable>(_ name: String, _ type: Word.Type) throws -> Word? {
        guard let text = values[name] else { return nil }
        guard let word = Word(rawValue: text) else {
            let expected = Word.allCases.map(\.rawValue).joined(separator: ", ")
            throw Problem.badRequest(name, "expected one of \(expected), found \(Name.shown(text))")
        }
        return word
    }

    private static func decoded(_ text: Substring, field: String) throws -> String {
        try PercentEncoding.decoded(text.replacing("+", with: " "), field: field)
    }
}

extension API {
    /// Returns a name in the path, such as `:id` of `/scheduler/task/:id`, percent-decoded and validated.
    func name(_ context: ClientContext, _ parameter: String, field: String) throws -> String {
        let text = try PercentEncoding.decoded(context.parameters[parameter[...]] ?? "", field: field)
        return try Name.validate(text, field: field)
    }
}

enum PercentEncoding {
    static func decoded(_ text: some StringProtocol, field: String) throws -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
                throw Problem.badRequest(field, "expected two hexadecimal digits after each %")
            }
            bytes.append(high << 4 | low)
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Problem.badRequest(field, "expected percent-encoded UTF-8")
        }
        return text
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) }
    }
}

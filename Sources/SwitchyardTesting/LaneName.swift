/// The name of a lane or a class taken apart: our own reading of what its text means, next to that of the functions.
public struct LaneName: Sendable, Equatable {
    /// At most `limit` tasks of `key` run at once.
    public struct Concurrency: Sendable, Equatable {
        public var key: String
        public var limit: Int
    }

    /// `perSecond` tasks of `key` start in a second, `burst` of them at once.
    public struct Rate: Sendable, Equatable {
        public var key: String
        public var perSecond: Double
        public var burst: Int
    }

    /// Resource → amount.
    public private(set) var amounts: [String: Double] = [:]
    /// The name without gates: what the tasks ask of a worker.
    public let base: String
    /// The gates of a lane.
    public private(set) var concurrency: Concurrency?
    public private(set) var rate: Rate?
    /// The workers of a class take only tasks that require one of these labels; empty: any task.
    public private(set) var only: Set<String> = []
    /// The requirements of a lane, or the labels of a class.
    private var tokens: [String] = []

    public init(_ name: String) {
        var base: [String] = []
        for token in name.split(separator: ",").map(String.init) {
            let parts = token.dropFirst().split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            switch token.first {
            case "+":
                amounts[parts[0]] = parts.count == 2 ? Double(parts[1]) : nil
                base.append(token)
            case "@": concurrency = Concurrency(key: Self.unescaped(parts[0]), limit: Int(parts.last ?? "") ?? 0)
            case "~":
                let numbers = (parts.last ?? "").split(separator: "/")
                rate = Rate(
                    key: Self.unescaped(parts[0]), perSecond: numbers.first.flatMap { Double($0) } ?? 0,
                    burst: numbers.last.flatMap { Int($0) } ?? 0)
            case "!": only.insert(String(token.dropFirst()))
            default:
                base.append(token)
                tokens.append(token)
            }
        }
        self.base = base.joined(separator: ",")
    }

    public var hasGates: Bool { concurrency != nil || rate != nil }

    /// The keys of a class's labels.
    public var labels: Set<String> { Set(tokens.map { String($0.prefix { $0 != "=" }) }) }

    /// Whether workers of this class have what `lane` asks for, and an empty one has the room.
    public func serves(_ lane: LaneName) -> Bool {
        lane.tokens.allSatisfy(meets) && lane.fits(amounts) && (only.isEmpty || lane.tokens.contains(where: isWanted))
    }

    /// Whether a task of this lane fits into what is left of a worker's capacity.
    public func fits(_ room: [String: Double]) -> Bool {
        amounts.allSatisfy { $0.value <= (room[$0.key] ?? 0) + 1e-9 }
    }

    /// Whether a requirement asks for one of the labels to which this class is restricted.
    private func isWanted(_ requirement: String) -> Bool {
        !requirement.contains("!=") && only.contains(String(requirement.prefix { $0 != "=" }))
    }

    /// Whether the labels of this class meet one requirement.
    private func meets(_ requirement: String) -> Bool {
        if let range = requirement.range(of: "!=") {
            let values = requirement[range.upperBound...].split(separator: "|")
            return !values.contains { tokens.contains("\(requirement[..<range.lowerBound])=\($0)") }
        }
        if let equals = requirement.firstIndex(of: "=") {
            let values = requirement[requirement.index(after: equals)...].split(separator: "|")
            return values.contains { tokens.contains("\(requirement[...equals])\($0)") }
        }
        return tokens.contains { $0 == requirement || $0.hasPrefix(requirement + "=") }
    }

    /// A key as its caller chose it: in a name, `%`, `,`, `=` and the space are percent-encoded.
    private static func unescaped(_ text: String) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
                bytes.append(code)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

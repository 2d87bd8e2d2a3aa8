/// The parsed name of a lane or a worker class. It is parsed independently of the Lua functions, so that tests can
/// compare the two.
package struct LaneName: Sendable, Equatable {
    /// A concurrency limit: at most `limit` tasks of `key` run at once.
    package struct Concurrency: Sendable, Equatable {
        /// The name of the limit; tasks with the same key share it.
        package var key: String
        /// How many of its tasks may run at once.
        package var limit: Int
    }

    /// A rate limit: `perSecond` tasks of `key` start in a second, with bursts of up to `burst`.
    package struct Rate: Sendable, Equatable {
        /// The name of the rate; tasks with the same key share it.
        package var key: String
        /// Starts in a second.
        package var perSecond: Double
        /// The most starts at once, after a pause.
        package var burst: Int
    }

    /// Resource → amount: what a task of the lane needs, or what a worker of the class has.
    package private(set) var amounts: [String: Double] = [:]
    /// The name without gates and without the restriction of ``only``: the requirements and resources of a lane, or the
    /// labels and resources of a class.
    package let base: String
    /// The concurrency limit that gates the lane, if any.
    package private(set) var concurrency: Concurrency?
    /// The rate limit that gates the lane, if any.
    package private(set) var rate: Rate?
    /// The workers of the class take only tasks that require one of these labels. Empty: any task.
    package private(set) var only: Set<String> = []
    /// The requirements of a lane, or the labels of a class.
    private var tokens: [String] = []

    /// Parses `name`. Amounts and limits that are no numbers become absent or 0.
    package init(_ name: String) {
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

    /// Whether the lane has a concurrency limit or a rate.
    package var hasGates: Bool { concurrency != nil || rate != nil }

    /// The keys of the class's labels, without their values.
    package var labels: Set<String> { Set(tokens.map { String($0.prefix { $0 != "=" }) }) }

    /// Whether workers of this class meet the requirements of `lane`, and an idle one has enough capacity for its
    /// tasks.
    package func serves(_ lane: LaneName) -> Bool {
        lane.tokens.allSatisfy(meets) && lane.fits(amounts) && (only.isEmpty || lane.tokens.contains(where: isWanted))
    }

    /// Whether a task of this lane fits into `room`, the free capacity of a worker.
    package func fits(_ room: [String: Double]) -> Bool {
        amounts.allSatisfy { $0.value <= (room[$0.key] ?? 0) + 1e-9 }
    }

    /// Whether a requirement names one of the labels to which this class is restricted.
    private func isWanted(_ requirement: String) -> Bool {
        !requirement.contains("!=") && only.contains(String(requirement.prefix { $0 != "=" }))
    }

    /// Whether the labels of this class meet `requirement`.
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

    /// Decodes a key. In the name of a lane, `%`, `,`, `=` and the space in a key are percent-encoded.
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

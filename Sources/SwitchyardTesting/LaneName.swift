/// The name of a lane or a class taken apart: our own reading of what its text means, next to that of the functions.
public struct LaneName: Sendable, Equatable {
    /// Resource → amount.
    public private(set) var amounts: [String: Double] = [:]
    private var tokens: [String] = []

    public init(_ name: String) {
        for token in name.split(separator: ",").map(String.init) {
            guard token.hasPrefix("+") else {
                tokens.append(token)
                continue
            }
            let parts = token.dropFirst().split(separator: "=")
            amounts[String(parts[0])] = parts.count == 2 ? Double(parts[1]) : nil
        }
    }

    /// Whether workers of this class have what `lane` asks for, and an empty one has the room.
    public func serves(_ lane: LaneName) -> Bool {
        lane.tokens.allSatisfy(meets) && lane.amounts.allSatisfy { $0.value <= amounts[$0.key] ?? 0 }
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
}

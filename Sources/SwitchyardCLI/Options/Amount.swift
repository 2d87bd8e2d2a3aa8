import ArgumentParser
import Foundation
import Switchyard

/// An amount of a countable resource as an argument: `gpu=2`, `license_x=0.5`.
struct Amount: ExpressibleByArgument, Sendable, Equatable {
    var name: String
    var value: Double

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, (try? Name.validate(parts[0], field: "resource")) != nil,
            let value = Self.number(parts[1])
        else { return nil }
        name = parts[0]
        self.value = value
    }

    /// Parses decimal digits and a point only: Double(…) also accepts "nan", "inf" and hexadecimal.
    static func number(_ text: String) -> Double? {
        guard !text.isEmpty, text.count <= 15,
            text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") })
        else { return nil }
        return Double(text)
    }

    /// Returns a message if a name occurs twice or has its own flag (`cpu`, `memory_mb`); else nil.
    static func problem(in amounts: [Amount]) -> String? {
        var seen: Set<String> = []
        for amount in amounts {
            if amount.name == "cpu" || amount.name == "memory_mb" {
                return "--resource: \(amount.name) has a flag of its own"
            }
            if !seen.insert(amount.name).inserted { return "--resource: \(amount.name) is given twice" }
        }
        return nil
    }
}

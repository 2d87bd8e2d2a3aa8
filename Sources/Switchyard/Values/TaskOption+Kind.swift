// The texts that follow from the type of an option.

extension TaskOption.Kind {
    /// The type and the bounds, for the documentation.
    public var summary: String {
        switch self {
        case .key: "key, 1 to 200 bytes"
        case .text(_, let maxBytes): "text, at most \(maxBytes) bytes"
        case .number(_, let range): "number, \(range.lowerBound.plainText) to \(range.upperBound.plainText)"
        case .integer(_, let range): "whole number, \(range.lowerBound) to \(range.upperBound)"
        case .duration(_, let range, _):
            "seconds, \((Double(range.lowerBound) / 1000).plainText) to \((Double(range.upperBound) / 1000).plainText)"
        case .flag: "flag"
        case .taskIDs(_, let maximum): "task ids, at most \(maximum)"
        case .requirements: "requirements, at most 900 bytes in all"
        case .amounts:
            "number, \(Resources.amounts.lowerBound.plainText) to \(Resources.amounts.upperBound.plainText)"
        }
    }

    var standardDisplay: TaskOption.Display {
        switch self {
        case .taskIDs, .requirements, .amounts: .hidden
        default: .row
        }
    }

    var standardValueName: String {
        switch self {
        case .key: "key"
        case .text, .flag: "text"
        case .number: "number"
        case .integer: "n"
        case .duration: "duration"
        case .taskIDs: "id"
        case .requirements: "requirement"
        case .amounts: "name=amount"
        }
    }
}

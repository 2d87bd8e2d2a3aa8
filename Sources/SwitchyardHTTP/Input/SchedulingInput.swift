import JSON
import Switchyard

// The options of a task that decide when, where and in which order it runs.

extension SchedulingOptions {
    /// The names of the fields of a submission that are options.
    static let known = Set(TaskOption.all.filter { !$0.isResource }.map(\.name)).union(["resources"])

    init(_ fields: Fields) throws {
        var options = SchedulingOptions()
        options.resources = try Resources(fields["resources"] ?? .null, path: "\(fields.path)resources")
        for option in TaskOption.all where !option.isResource && fields[option.name] != nil {
            try option.read(fields, into: &options)
        }
        self = try options.checked(path: fields.path)
    }
}

extension TaskOption {
    fileprivate func read(_ fields: Fields, into options: inout SchedulingOptions) throws {
        switch kind {
        case .key(let property): options[keyPath: property] = try fields.word(name)
        case .text(let property, _): options[keyPath: property] = try fields.text(name)
        case .number(let property, let range): options[keyPath: property] = try fields.decimal(name, in: range)
        case .integer(let property, let range): options[keyPath: property] = try fields.integer(name, in: range)
        case .duration(let property, let range, _):
            options[keyPath: property] = try fields.seconds(name, milliseconds: range)
        case .flag(let property): options[keyPath: property] = try fields.flag(name) ?? false
        case .taskIDs(let property, _), .requirements(let property):
            options[keyPath: property] = try fields.texts(name)
        case .amounts: break
        }
    }
}

extension Resources {
    /// Reads `{"cpu":0.5,"memory_mb":512,"gpu":1}`. Any other name is a custom resource of the workers.
    init(_ value: JSONValue, path: String) throws {
        self.init()
        if value == .null { return }
        guard case .object(let members) = value else {
            throw Problem.badRequest(path, "expected an object of numbers, found \(value.shown)")
        }
        for member in members where member.value != .null {
            let field = "\(path).\(Fields.printable(member.name))"
            guard let amount = Fields.decimal(member.value, in: Self.amounts(of: member.name)) else {
                let range = Self.amounts(of: member.name)
                throw Problem.badRequest(
                    field,
                    "expected a number from \(Int(range.lowerBound)) to \(Int(range.upperBound)), "
                        + "found \(member.value.shown)")
            }
            switch member.name {
            case "cpu": cpu = amount
            case "memory_mb":
                guard let whole = Int(exactly: amount) else {
                    throw Problem.badRequest(field, "expected a whole number, found \(member.value.shown)")
                }
                memoryMB = whole
            default: custom[member.name] = amount
            }
        }
    }

    private static func amounts(of name: String) -> ClosedRange<Double> {
        name == "memory_mb" ? Double(megabytes.lowerBound)...Double(megabytes.upperBound) : amounts
    }
}
